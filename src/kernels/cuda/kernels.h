/* kernels.h - the constants and functions that the .cu files define, with the names that table.c
 * looks for: quern_cuda_<op>, quern_cuda_task_<name>, quern_cuda_update_<rule>. */
#ifndef QUERN_KERNELS_CUDA_KERNELS_H
#define QUERN_KERNELS_CUDA_KERNELS_H

#include "../kernel.h"
#include "../task.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cuda_##name;
#include <quern/ops.def>
#undef QUERN_OP

#define X(name) quern_status quern_cuda_task_##name(const quern_kernel_args *args);
TASK_LIST(X)
#undef X

#define X(constant, name, states, reads)                                                           \
    quern_status quern_cuda_update_##name(const quern_kernel_args *args);
QUERN_OPTIMIZER_LIST(X)
#undef X

#ifdef __cplusplus
}
#endif
#endif
