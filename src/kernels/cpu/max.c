/* max - y = largest x over the axes;  gx = gy / (number of equals) where x = y, else 0.
 * NaN counts as the largest, as in PyTorch (amax). Of nothing: -infinity.
 * Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    reduce_op_forward(args, REDUCE_MAX, 1.0);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    reduce_op_share(args);
    return QUERN_OK;
}

const quern_kernel quern_cpu_max = {
    .plan = reduce_op_plan_extreme, .forward = forward, .backward = backward};
