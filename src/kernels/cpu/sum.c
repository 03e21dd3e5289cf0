/* sum - y = sum of x over the axes;  gx = gy of its y.
 * The sum of nothing is 0. Accumulated in F64 also for F32.
 * Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    reduce_op_forward(args, REDUCE_SUM, 1.0);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    reduce_op_spread(args, 1.0);
    return QUERN_OK;
}

const quern_kernel quern_cpu_sum = {
    .plan = reduce_op_plan, .forward = forward, .backward = backward};
