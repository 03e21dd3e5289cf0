/* kernel.h - the kernel contract, as include/quern/kernel.h installs it, and what the backends'
 * own files share beyond it: the built-in ops' numbers and their attribute structs. */
#ifndef QUERN_KERNELS_KERNEL_H
#define QUERN_KERNELS_KERNEL_H

#include <quern/kernel.h>
#include <quern/op_desc.h>

#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula) QUERN_OP_ID_##name,
typedef enum quern_op_id {
#include <quern/ops.def>
    QUERN_OP_ID_COUNT
} quern_op_id;
#undef QUERN_OP

#endif
