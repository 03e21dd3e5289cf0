/* table.c - filled from the tables that name ops, tasks and rules. A missing one stops the link, as
 * it does on the CPU. */
#include "table.h"

#include "../op_row.h"

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cuda_##name;
#include <quern/ops.def>
#undef QUERN_OP

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    [QUERN_OP_ID_##name] = ((flags)&ALIAS) != 0 ? NULL : &quern_cuda_##name,
const quern_kernel *const cuda_kernels[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};
#undef QUERN_OP

#define X(name) extern quern_status quern_cuda_task_##name(const quern_kernel_args *args);
TASK_LIST(X)
#undef X

#define X(name) [TASK_##name] = quern_cuda_task_##name,
const quern_kernel_function cuda_tasks[TASK_COUNT] = {TASK_LIST(X)};
#undef X

#define X(constant, name, states, reads)                                                           \
    extern quern_status quern_cuda_update_##name(const quern_kernel_args *args);
QUERN_OPTIMIZER_LIST(X)
#undef X

#define X(constant, name, states, reads) [QUERN_OPTIMIZER_##constant] = quern_cuda_update_##name,
const quern_kernel_function cuda_update_rules[QUERN_OPTIMIZER_COUNT] = {QUERN_OPTIMIZER_LIST(X)};
#undef X
