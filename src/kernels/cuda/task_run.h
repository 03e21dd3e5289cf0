/* task_run.h - the launchers of tasks: small work on the step's state in device memory. Their
 * attributes are read on the host, and travel with the launch. */
#ifndef QUERN_KERNELS_CUDA_TASK_RUN_H
#define QUERN_KERNELS_CUDA_TASK_RUN_H

#include "map.h"

/* F32, F64, I32 or I64, and the 16-bit reals. */
static inline __device__ double task_value(const quern_view &view, int64_t i) {
    switch ((int)view.dtype) {
    case QUERN_F32: return (double)((const float *)view.data)[i];
    case QUERN_F16: return (double)(float)((const __half *)view.data)[i];
    case QUERN_BF16: return (double)(float)((const __nv_bfloat16 *)view.data)[i];
    case QUERN_I32: return (double)((const int32_t *)view.data)[i];
    case QUERN_I64: return (double)((const int64_t *)view.data)[i];
    default: return ((const double *)view.data)[i];
    }
}

/* Task is derived from its struct in ../task.h and has run(), which one thread calls. */
template <typename Task> __global__ void task_kernel(Task task) { task.run(); }

template <typename Task> quern_status task_run(const quern_kernel_args *args, const Task &task) {
    return launch(args->stream, {dim3(1), dim3(1), 0}, task_kernel<Task>, task);
}

#endif
