/* mse - loss = sum (p - t)^2;  gp = 2 (p - t) g;  gt = -gp.
 * Shapes   p, t (any), equal; loss (). Cost, order: pair_loss.h. */
#include "pair_loss.h"

namespace {

struct loss : pair_loss {
    template <typename R> static __device__ R value(R p, R t, R) { return (p - t) * (p - t); }
    template <typename R> static __device__ R slope(R p, R t, R) { return 2 * (p - t); }
    template <typename R> static __device__ R target_slope(R p, R t, R) { return 2 * (t - p); }
};

} // namespace

const quern_kernel quern_cuda_mse = PAIR_LOSS_KERNEL(loss);
