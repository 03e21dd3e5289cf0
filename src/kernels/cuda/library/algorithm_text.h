/* algorithm_text.h - an algorithm of cuBLASLt as text: its 64 opaque bytes in hex. */
#ifndef QUERN_KERNELS_CUDA_ALGORITHM_TEXT_H
#define QUERN_KERNELS_CUDA_ALGORITHM_TEXT_H

#include "cublaslt.h"

enum { ALGORITHM_TEXT = 2 * (int)sizeof(cublasLtMatmulAlgo_t) };

/* ALGORITHM_TEXT characters, without an end. */
void algorithm_text_write(const cublasLtMatmulAlgo_t *algorithm, char *to);
/* False: they are not hexadecimal. Stops at the first that is not, so `text` may end earlier. */
bool algorithm_text_read(const char *text, cublasLtMatmulAlgo_t *out);

#endif
