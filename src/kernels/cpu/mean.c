/* mean - y = sum of x over the axes / n;  gx = gy / n.
 * The mean of nothing is NaN, as in PyTorch. Accumulated in F64 also for F32.
 * Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    const int64_t terms = reduce_op_terms(&args->in[0], &args->out[0]);
    reduce_op_forward(args, REDUCE_SUM, 1.0 / (double)terms);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const int64_t terms = reduce_op_terms(&args->in[0], &args->grad_out[0]);
    reduce_op_spread(args, 1.0 / (double)terms);
    return QUERN_OK;
}

const quern_kernel quern_cpu_mean = {
    .plan = reduce_op_plan, .forward = forward, .backward = backward};
