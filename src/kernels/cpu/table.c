/* table.c - every CPU kernel, task and update rule in its slot, from the tables that name them:
 * one that is missing stops the link. Aliases (ALIAS in ops.def) run no kernel: their slot is
 * NULL. A slot holds the op's kernel with half_kernel.h around it, which gives it the 16-bit
 * types; a fused op has them by itself, since it rounds where the ops that it stands for do. */
#include "cpu.h"

#include "../op_row.h"
#include "half_kernel.h"

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    extern const quern_kernel quern_cpu_##name;
#include <quern/ops.def>
#undef QUERN_OP

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    HALF_KERNEL(static, any_##name, quern_cpu_##name, ((flags)&NO_GRADIENT) == 0);
#include <quern/ops.def>
#undef QUERN_OP

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    [QUERN_OP_ID_##name] = ((flags)&ALIAS) != 0   ? NULL                                           \
                           : ((flags)&FUSED) != 0 ? &quern_cpu_##name                              \
                                                  : &any_##name,
const quern_kernel *const cpu_kernels[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};
#undef QUERN_OP

#define X(name) extern quern_status quern_cpu_task_##name(const quern_kernel_args *args);
TASK_LIST(X)
#undef X

#define X(name) [TASK_##name] = quern_cpu_task_##name,
const quern_kernel_function cpu_tasks[TASK_COUNT] = {TASK_LIST(X)};
#undef X

#define X(constant, name, states, reads)                                                           \
    extern quern_status quern_cpu_update_##name(const quern_kernel_args *args);
QUERN_OPTIMIZER_LIST(X)
#undef X

#define X(constant, name, states, reads) [QUERN_OPTIMIZER_##constant] = quern_cpu_update_##name,
const quern_kernel_function cpu_update_rules[QUERN_OPTIMIZER_COUNT] = {QUERN_OPTIMIZER_LIST(X)};
#undef X
