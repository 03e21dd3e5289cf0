/* half_kernel.h - every CPU kernel in BF16 and F16, from its F32 one: half_kernel.c. */
#ifndef QUERN_KERNELS_CPU_HALF_KERNEL_H
#define QUERN_KERNELS_CPU_HALF_KERNEL_H

#include "../kernel.h"

/* The parts of a kernel of `wide`'s op that takes views of any real type: with no 16-bit view among
 * them wide itself. */
QUERN_MUST_CHECK quern_status half_plan(quern_kernel_plan *plan, const quern_kernel *wide);
QUERN_MUST_CHECK quern_status half_forward(const quern_kernel_args *args, const quern_kernel *wide);
QUERN_MUST_CHECK quern_status half_backward(const quern_kernel_args *args,
                                            const quern_kernel *wide);

#endif
