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
