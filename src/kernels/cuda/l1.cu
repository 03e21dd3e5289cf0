/* l1 - loss = sum |p - t|;  gp = sign(p - t) g, 0 where equal;  gt = -gp.
 * Shapes   p, t (any), equal; loss (). Cost, order: pair_loss.h. */
#include "pair_loss.h"

namespace {

struct loss : pair_loss {
    template <typename R> static __device__ R value(R p, R t, R) { return fabs(p - t); }
    template <typename R> static __device__ R slope(R p, R t, R) {
        const R d = p - t;
        return d > 0 ? (R)1 : (d < 0 ? (R)-1 : d); /* 0, or NaN */
    }
    template <typename R> static __device__ R target_slope(R p, R t, R none) {
        return -slope(p, t, none);
    }
};

} // namespace

const quern_kernel quern_cuda_l1 = PAIR_LOSS_KERNEL(loss);
