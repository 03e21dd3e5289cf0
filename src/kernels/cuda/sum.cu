/* sum - y = sum of x over the axes;  gx = gy.
 * The sum of nothing is 0. Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    return reduce_forward<FOLD_SUM>(args, 1);
}

static quern_status backward(const quern_kernel_args *args) { return reduce_spread(args, 1); }

const quern_kernel quern_cuda_sum = {reduce_plan, forward, backward, NULL};
