/* table.c - every CUDA kernel, task and update rule in its slot, from the tables that name them.
 *
 * KERNEL_MAY_BE_MISSING is defined while kernels are still being added: a name that no file of
 * this folder defines is then a NULL in its slot, and the program that needs it is refused by name
 * (UNSUPPORTED). Without that line a missing kernel stops the link, as it does on the CPU. */
#include "cuda.h"

#include "../op_row.h"

#define KERNEL_MAY_BE_MISSING __attribute__((weak))

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cuda_##name KERNEL_MAY_BE_MISSING;
#include <quern/ops.def>
#undef QUERN_OP

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    [QUERN_OP_ID_##name] = ((flags)&ALIAS) != 0 ? NULL : &quern_cuda_##name,
const quern_kernel *const cuda_kernels[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};
#undef QUERN_OP

#define X(name)                                                                                    \
    extern quern_status quern_cuda_task_##name(const quern_kernel_args *args) KERNEL_MAY_BE_MISSING;
TASK_LIST(X)
#undef X

#define X(name) [TASK_##name] = quern_cuda_task_##name,
const quern_kernel_function cuda_tasks[TASK_COUNT] = {TASK_LIST(X)};
#undef X

#define X(name, states, reads)                                                                     \
    extern quern_status quern_cuda_update_##name(const quern_kernel_args *args)                    \
        KERNEL_MAY_BE_MISSING;
QUERN_OPTIMIZER_LIST(X)
#undef X

#define X(name, states, reads) [QUERN_OPTIMIZER_##name] = quern_cuda_update_##name,
const quern_kernel_function cuda_update_rules[QUERN_OPTIMIZER_COUNT] = {QUERN_OPTIMIZER_LIST(X)};
#undef X
