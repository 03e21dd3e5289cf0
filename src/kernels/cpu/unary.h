/* unary.h - the launchers of an op that maps each element by itself.
 *
 * An op's file defines, before it includes this header,
 *   VALUE(x)         y for one x
 *   GRADIENT(g, v)   gx for one gy = g, where v is x or y, whichever BACKWARD_READS names
 *   BACKWARD_READS   in or out
 *   ATTRIBUTES       optional: its desc's type; both macros then see it as p
 * in terms of REAL and REAL_NAME (each_real.h), and ends in UNARY_KERNEL.
 * Cost: forward reads 1 and writes 1 value an element, backward reads 2 and writes 1.
 * Deterministic: yes, no reduction. Input and output (gy and gx) may be the same buffer. */
#ifndef QUERN_KERNELS_CPU_UNARY_H
#define QUERN_KERNELS_CPU_UNARY_H

#include "cpu.h"
#include "real.h"
#include "vector_math.h"

#define REAL_FILE "unary_loops.h"
#include "each_real.h"
#undef REAL_FILE

static quern_status forward(const quern_kernel_args *args) {
    quern_kernel_args local = *args;
    cpu_parallel(args->stream, args->out[0].count, REAL_PICK(args->in[0].dtype, forward_chunk),
                 &local);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    quern_kernel_args local = *args;
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    cpu_parallel(args->stream, args->grad_in[0].count,
                 REAL_PICK(args->grad_in[0].dtype, backward_chunk), &local);
    return QUERN_OK;
}

#define UNARY_KERNEL                                                                               \
    { .plan = real_plan, .forward = forward, .backward = backward }

#endif
