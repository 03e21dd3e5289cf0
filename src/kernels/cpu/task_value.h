/* task_value.h - what the tasks read from small views, whatever the dtype. */
#ifndef QUERN_KERNELS_CPU_TASK_VALUE_H
#define QUERN_KERNELS_CPU_TASK_VALUE_H

#include "cpu.h"

/* F32, F64, I32 or I64. */
static inline double task_value(const quern_view *view, int64_t i) {
    switch (view->dtype) {
    case QUERN_F32: return (double)((const float *)view->data)[i];
    case QUERN_I32: return (double)((const int32_t *)view->data)[i];
    case QUERN_I64: return (double)((const int64_t *)view->data)[i];
    default: return ((const double *)view->data)[i];
    }
}

#define X(name) quern_status quern_cpu_task_##name(const quern_kernel_args *args);
TASK_LIST(X)
#undef X

#endif
