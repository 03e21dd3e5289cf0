/* nvtx.h - the trace of a run as NVTX ranges. Needs no GPU and no driver. */
#ifndef QUERN_KERNELS_CUDA_NVTX_H
#define QUERN_KERNELS_CUDA_NVTX_H

#include "../cuda.h"

/* Safe from any thread; the ranges of each thread nest by themselves. */
quern_trace_sink nvtx_sink(void);
void nvtx_name_stream(cudaStream_t stream, const char *name);

#endif
