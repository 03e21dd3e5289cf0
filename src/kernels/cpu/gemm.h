/* gemm.h - matrix products of F32 or F64 on the stream's threads.
 *
 * C = op(A) op(B), row-major, op = transpose where asked; C (m, n), op(A) (m, k), op(B) (k, n).
 * With `accumulate`, C += op(A) op(B). Then, while a tile is still in cache, bias is added to every
 * row and relu clamps at zero. A batch of products lies *_step elements apart.
 *
 * C is cut into fixed tiles of the shape alone; one tile is one call of a serial BLAS, whose result
 * does not depend on the thread it runs on. Deterministic: yes. No BLAS setting is touched. */
#ifndef QUERN_KERNELS_CPU_GEMM_H
#define QUERN_KERNELS_CPU_GEMM_H

#include "../kernel.h"

typedef struct gemm {
    quern_dtype dtype;
    bool transpose_a, transpose_b, accumulate;
    int64_t m, n, k;
    const void *a, *b;
    void *c;
    int64_t a_pitch, b_pitch, c_pitch; /* elements from row to row, as stored */
    int64_t batch;                     /* products; 0 means 1 */
    int64_t a_step, b_step, c_step;    /* elements from product to product */
    const void *bias;                  /* (n), or NULL */
    bool relu;
} gemm;

/* UNSUPPORTED when a dimension or a pitch does not fit the BLAS's 32-bit integers. */
QUERN_MUST_CHECK quern_status gemm_check(int64_t m, int64_t n, int64_t k);

/* One product, on the calling thread. The batch is not looked at. */
void gemm_serial(const gemm *g);

/* All products of the batch, tile by tile, on the stream's threads. */
void gemm_parallel(quern_stream *stream, const gemm *g);

#endif
