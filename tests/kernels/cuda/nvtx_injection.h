/* nvtx_injection.h - what the injected library exports beside its entry: all that it saw. */
#ifndef QUERN_TESTS_KERNELS_CUDA_NVTX_INJECTION_H
#define QUERN_TESTS_KERNELS_CUDA_NVTX_INJECTION_H

#include <stdbool.h>

#define NVTX_NOTES_BYTES (1 << 20)
#define NVTX_NOTES_ENTRY "nvtx_notes"
typedef const char *(*nvtx_notes_entry)(void);

#endif
