/* binary.h - the launchers of an op on two broadcasting inputs.
 *
 * An op's file defines, before it includes binary_rows.h through each_real.h,
 *   VALUE(a, b)                 y
 *   GRADIENT_A(g, a, b, y)      the term of ga for one gy = g
 *   GRADIENT_B(g, a, b, y)      the term of gb
 * in terms of REAL and REAL_NAME, and hands BINARY_OP to the functions below. What an op's row does
 * not list under "reads" must not appear in its gradients: it may be gone by then.
 * ga and gb are sums of their terms over the axes that were broadcast (reduce.h). Where both are g
 * (BINARY_OP_PASSING) they may be one buffer, and gy's.
 * Cost: 2 reads and 1 write an element, a gradient as many reads as its term has factors.
 * Deterministic: yes; the order of the sums is fixed by the shapes. */
#ifndef QUERN_KERNELS_CPU_BINARY_H
#define QUERN_KERNELS_CPU_BINARY_H

#include "reduce.h"
#include "vector_math.h"

typedef struct binary_op { /* [0]: F32, [1]: F64 */
    walk_function forward[2], gradient[2][2];
    bool passes[2]; /* ga, gb is g: nothing is done where it lies there already */
} binary_op;

#define BINARY_OP_PASSING(a, b)                                                                    \
    {                                                                                              \
        {forward_row_f32, forward_row_f64},                                                        \
            {{gradient_a_row_f32, gradient_a_row_f64}, {gradient_b_row_f32, gradient_b_row_f64}},  \
            {a, b},                                                                                \
    }
#define BINARY_OP BINARY_OP_PASSING(false, false)

QUERN_MUST_CHECK quern_status binary_plan(quern_kernel_plan *plan);
void binary_forward(const quern_kernel_args *args, const binary_op *op);
void binary_backward(const quern_kernel_args *args, const binary_op *op);

#endif
