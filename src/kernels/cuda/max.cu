/* max - y = largest x over the axes;  gx = gy / (number of equals) where x = y, else 0.
 * NaN counts as the largest, as in PyTorch (amax). Of nothing: -infinity.
 * Shapes, cost, order: reduce_op.h. */
#include "reduce_op.h"

static quern_status forward(const quern_kernel_args *args) {
    return reduce_forward<FOLD_MAX>(args, 1);
}

const quern_kernel quern_cuda_max = {reduce_plan_extreme, forward, reduce_share, NULL};
