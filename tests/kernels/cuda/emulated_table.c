/* emulated_table.c - the kernels, tasks and rules that were compiled for the host, by number: NULL
 * for what no .cu file holds, because a library of NVIDIA's computes it. */
#include "emulation_control.h"

#include "kernels/op_row.h"

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cuda_##name __attribute__((weak));
#include <quern/ops.def>
#undef QUERN_OP

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    [QUERN_OP_ID_##name] = ((flags)&ALIAS) != 0 ? NULL : &quern_cuda_##name,
const quern_kernel *const emulation_kernels[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};
#undef QUERN_OP

#define X(name) extern quern_status quern_cuda_task_##name(const quern_kernel_args *args);
TASK_LIST(X)
#undef X
#define X(name) [TASK_##name] = quern_cuda_task_##name,
const quern_kernel_function emulation_tasks[TASK_COUNT] = {TASK_LIST(X)};
#undef X

#define X(name, states, reads)                                                                     \
    extern quern_status quern_cuda_update_##name(const quern_kernel_args *args);
QUERN_OPTIMIZER_LIST(X)
#undef X
#define X(name, states, reads) [QUERN_OPTIMIZER_##name] = quern_cuda_update_##name,
const quern_kernel_function emulation_update_rules[QUERN_OPTIMIZER_COUNT] = {
    QUERN_OPTIMIZER_LIST(X)};
#undef X
