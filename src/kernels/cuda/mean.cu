/* mean - y = sum of x over the axes / n;  gx = gy / n.
 * The mean of nothing is NaN, as in PyTorch. Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    const int64_t terms = reduce_terms(&args->in[0], &args->out[0]);
    return reduce_forward<FOLD_SUM>(args, 1.0 / (double)terms);
}

static quern_status backward(const quern_kernel_args *args) {
    const int64_t terms = reduce_terms(&args->in[0], &args->grad_out[0]);
    return reduce_spread(args, 1.0 / (double)terms);
}

const quern_kernel quern_cuda_mean = {reduce_plan, forward, backward, NULL};
