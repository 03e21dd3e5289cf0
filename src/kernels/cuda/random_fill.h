/* random_fill.h - seeded numbers to measure with: uniform in [-1, 1), F32, F64, BF16 or F16.
 * Deterministic: yes, number i is random_u32 of (seed, i). */
#ifndef QUERN_KERNELS_CUDA_RANDOM_FILL_H
#define QUERN_KERNELS_CUDA_RANDOM_FILL_H

#include "../kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

QUERN_MUST_CHECK quern_status random_fill(quern_stream *stream, quern_dtype dtype, void *to,
                                          int64_t count, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
