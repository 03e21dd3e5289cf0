/* nvtx_seen.h - what the injected profiler (nvtx_injection.h) has seen so far, in this process. The
 * executable names it in its environment before anything of NVTX is called: NVTX looks once. */
#ifndef QUERN_TESTS_KERNELS_CUDA_NVTX_SEEN_H
#define QUERN_TESTS_KERNELS_CUDA_NVTX_SEEN_H

const char *nvtx_seen(void);
int nvtx_seen_count(const char *part);

#endif
