/* gelu.h - gelu over a buffer, for the ops that it is fused into. Each buffer is read or written
 * once; `to` may be one of the others. */
#ifndef QUERN_KERNELS_CUDA_GELU_H
#define QUERN_KERNELS_CUDA_GELU_H

#include "../kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* to = gelu(x). */
QUERN_MUST_CHECK quern_status gelu_values(quern_stream *stream, quern_dtype dtype, int64_t count,
                                          const quern_gelu_desc *desc, const void *x, void *to);
/* to = g gelu'(x). */
QUERN_MUST_CHECK quern_status gelu_gradients(quern_stream *stream, quern_dtype dtype, int64_t count,
                                             const quern_gelu_desc *desc, const void *x,
                                             const void *g, void *to);

#ifdef __cplusplus
}
#endif
#endif
