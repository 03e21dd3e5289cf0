/* rows.h - hand-written kernels beside the products: what an epilogue does where the library has
 * none. A matrix is (rows, columns), row-major, of F32, F64, BF16 or F16.
 * Deterministic: yes, sums in the order of fold.h. */
#ifndef QUERN_KERNELS_CUDA_ROWS_H
#define QUERN_KERNELS_CUDA_ROWS_H

#include "../kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rows_shape {
    quern_dtype dtype;
    int64_t rows, columns;
} rows_shape;

/* y += bias (columns; may be NULL), then max(y, 0) where `relu`. */
QUERN_MUST_CHECK quern_status rows_finish(quern_stream *stream, rows_shape shape, void *y,
                                          const void *bias, bool relu);

/* to = y > 0 ? gy : 0; to may be gy. */
QUERN_MUST_CHECK quern_status rows_mask(quern_stream *stream, rows_shape shape, void *to,
                                        const void *gy, const void *y);

/* sums (columns) = the column sums of gy, or += where `accumulate`; F32 where `wide`, though gy is
 * of 16 bits. */
QUERN_MUST_CHECK quern_status rows_sum(quern_stream *stream, rows_shape shape, void *sums,
                                       bool wide, const void *gy, bool accumulate, void *scratch);
size_t rows_sum_scratch(rows_shape shape);

#ifdef __cplusplus
}
#endif
#endif
