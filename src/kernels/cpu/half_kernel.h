/* half_kernel.h - a CPU kernel in BF16 and F16, from its F32 one: half_kernel.c. */
#ifndef QUERN_KERNELS_CPU_HALF_KERNEL_H
#define QUERN_KERNELS_CPU_HALF_KERNEL_H

#include "../kernel.h"

/* The parts of a kernel of `wide`'s op that takes views of any real type: with no 16-bit view among
 * them wide itself. */
QUERN_MUST_CHECK quern_status half_plan(quern_kernel_plan *plan, const quern_kernel *wide);
QUERN_MUST_CHECK quern_status half_forward(const quern_kernel_args *args, const quern_kernel *wide);
QUERN_MUST_CHECK quern_status half_backward(const quern_kernel_args *args,
                                            const quern_kernel *wide);

/* The kernel `name` in all real types, from `wide`, which has a backward pass or not. */
#define HALF_KERNEL(storage, name, wide, has_backward)                                             \
    static quern_status HALF_UNUSED name##_plan(quern_kernel_plan *plan) {                         \
        return half_plan(plan, &(wide));                                                           \
    }                                                                                              \
    static quern_status HALF_UNUSED name##_forward(const quern_kernel_args *args) {                \
        return half_forward(args, &(wide));                                                        \
    }                                                                                              \
    static quern_status HALF_UNUSED name##_backward(const quern_kernel_args *args) {               \
        return half_backward(args, &(wide));                                                       \
    }                                                                                              \
    storage const quern_kernel HALF_UNUSED name = {name##_plan, name##_forward,                    \
                                                   (has_backward) ? name##_backward : NULL, NULL}

#define HALF_UNUSED __attribute__((unused)) /* an alias's, a fused op's */

#endif
