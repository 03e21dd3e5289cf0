/* linear_chain.h - a fused op as the two ops that it stands for, one after the other:
 *   h = first(x, W, b), h (..., out of W);  y = second(h, further inputs)
 * The CPU's reference: fused is unfused, bit for bit and in every type, since h is what the first
 * would have stored. What is gained is h's name alone; the kernels are those of the ops. (In a
 * whole program of 16 bits three or more gradients of one parameter may be added in another order.)
 * Saved for backward: h, and what the two save. Without a backward pass h lies in scratch. */
#ifndef QUERN_KERNELS_CPU_LINEAR_CHAIN_H
#define QUERN_KERNELS_CPU_LINEAR_CHAIN_H

#include "../kernel.h"

/* first has three inputs. The fused op's attributes are those of whichever has some. */
typedef struct linear_chain {
    quern_op_id first, second;
} linear_chain;

QUERN_MUST_CHECK quern_status linear_chain_plan(quern_kernel_plan *plan, linear_chain ops);
QUERN_MUST_CHECK quern_status linear_chain_forward(const quern_kernel_args *args, linear_chain ops);
QUERN_MUST_CHECK quern_status linear_chain_backward(const quern_kernel_args *args,
                                                    linear_chain ops);

/* The kernel `quern_cpu_<op>` of a chain. */
#define LINEAR_CHAIN_KERNEL(op, first, second)                                                     \
    static const linear_chain chain = {QUERN_OP_ID_##first, QUERN_OP_ID_##second};                 \
    static quern_status plan(quern_kernel_plan *plan) { return linear_chain_plan(plan, chain); }   \
    static quern_status forward(const quern_kernel_args *args) {                                   \
        return linear_chain_forward(args, chain);                                                  \
    }                                                                                              \
    static quern_status backward(const quern_kernel_args *args) {                                  \
        return linear_chain_backward(args, chain);                                                 \
    }                                                                                              \
    const quern_kernel quern_cpu_##op = {plan, forward, backward, NULL}

#endif
