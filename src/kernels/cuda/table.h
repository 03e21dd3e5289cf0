/* table.h - every CUDA kernel, task and update rule by its number. It names no header of CUDA: the
 * tests link the same table with the kernels that they compile for the host. */
#ifndef QUERN_KERNELS_CUDA_TABLE_H
#define QUERN_KERNELS_CUDA_TABLE_H

#include "../kernel.h"
#include "../task.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const quern_kernel *const cuda_kernels[QUERN_OP_ID_COUNT];
extern const quern_kernel_function cuda_tasks[TASK_COUNT];
extern const quern_kernel_function cuda_update_rules[QUERN_OPTIMIZER_COUNT];

#ifdef __cplusplus
}
#endif
#endif
