/* driver.h - every CUDA runtime call that this module makes, as one table of functions.
 *
 * Nothing in this folder calls cuda…() directly: it writes cuda_driver.cudaMalloc(…). The shipped
 * module holds the table of driver.c, which is the runtime linked into it statically; the runtime
 * looks for libcuda.so.1 when it is first called, so that the module loads on a machine without a
 * driver and can say so. The tests link another definition of the same table, a device that
 * lives in host memory (tests/kernels/cuda/fake_device.h), and so run every path of this folder
 * without a GPU. Kernels are launched through the table as well: launch.h. */
#ifndef QUERN_KERNELS_CUDA_DRIVER_H
#define QUERN_KERNELS_CUDA_DRIVER_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, parameters): functions that return a cudaError_t. */
/* clang-format off */
#define CUDA_DRIVER_LIST(X)                                                                        \
    X(cudaDriverGetVersion, (int *version))                                                        \
    X(cudaRuntimeGetVersion, (int *version))                                                       \
    X(cudaGetDeviceCount, (int *count))                                                            \
    X(cudaGetDevice, (int *device))                                                                \
    X(cudaSetDevice, (int device))                                                                 \
    X(cudaGetDeviceProperties, (struct cudaDeviceProp *properties, int device))                    \
    X(cudaMemGetInfo, (size_t *free_bytes, size_t *total_bytes))                                   \
    X(cudaGetLastError, (void))                                                                    \
    X(cudaMalloc, (void **pointer, size_t bytes))                                                  \
    X(cudaFree, (void *pointer))                                                                   \
    X(cudaHostAlloc, (void **pointer, size_t bytes, unsigned int flags))                           \
    X(cudaFreeHost, (void *pointer))                                                               \
    X(cudaStreamCreateWithFlags, (cudaStream_t *stream, unsigned int flags))                       \
    X(cudaStreamDestroy, (cudaStream_t stream))                                                    \
    X(cudaStreamSynchronize, (cudaStream_t stream))                                                \
    X(cudaStreamWaitEvent, (cudaStream_t stream, cudaEvent_t event, unsigned int flags))           \
    X(cudaEventCreateWithFlags, (cudaEvent_t *event, unsigned int flags))                          \
    X(cudaEventDestroy, (cudaEvent_t event))                                                       \
    X(cudaEventRecord, (cudaEvent_t event, cudaStream_t stream))                                   \
    X(cudaEventSynchronize, (cudaEvent_t event))                                                   \
    X(cudaEventQuery, (cudaEvent_t event))                                                         \
    X(cudaEventElapsedTime, (float *milliseconds, cudaEvent_t start, cudaEvent_t end))             \
    X(cudaMemcpyAsync, (void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,        \
                        cudaStream_t stream))                                                      \
    X(cudaMemsetAsync, (void *to, int value, size_t bytes, cudaStream_t stream))                   \
    X(cudaLaunchKernel, (const void *function, dim3 grid, dim3 block, void **arguments,            \
                         size_t shared_bytes, cudaStream_t stream))                                \
    X(cudaStreamBeginCapture, (cudaStream_t stream, enum cudaStreamCaptureMode mode))              \
    X(cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t *graph))                             \
    X(cudaGraphInstantiate, (cudaGraphExec_t *executable, cudaGraph_t graph,                       \
                             unsigned long long flags))                                            \
    X(cudaGraphUpload, (cudaGraphExec_t executable, cudaStream_t stream))                          \
    X(cudaGraphLaunch, (cudaGraphExec_t executable, cudaStream_t stream))                          \
    X(cudaGraphExecDestroy, (cudaGraphExec_t executable))                                          \
    X(cudaGraphDestroy, (cudaGraph_t graph))                                                       \
    X(cudaProfilerStart, (void))                                                                   \
    X(cudaProfilerStop, (void))
/* clang-format on */

typedef struct cuda_driver_table {
#define X(name, parameters) cudaError_t(*name) parameters;
    CUDA_DRIVER_LIST(X)
#undef X
    const char *(*cudaGetErrorName)(cudaError_t code);
    const char *(*cudaGetErrorString)(cudaError_t code);
} cuda_driver_table;

extern const cuda_driver_table cuda_driver;

#ifdef __cplusplus
}
#endif
#endif
