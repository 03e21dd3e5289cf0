/* huber - loss = sum (|d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)), d = p - t.
 * gp = d g within delta, delta sign(d) g outside;  gt = -gp.
 * Shapes   p, t (any), equal; loss (). Cost, order: pair_loss.h. */
#include "pair_loss.h"

namespace {

struct loss {
    static double parameter(const quern_kernel_args *args) {
        return (double)((const quern_huber_desc *)args->attributes)->delta;
    }
    template <typename R> static __device__ R value(R p, R t, R delta) {
        const R d = p - t, a = fabs(d);
        return a > delta ? delta * (a - delta / 2) : d * d / 2;
    }
    template <typename R> static __device__ R slope(R p, R t, R delta) {
        const R d = p - t;
        return d > delta ? delta : (d < -delta ? -delta : d);
    }
    template <typename R> static __device__ R target_slope(R p, R t, R delta) {
        return -slope(p, t, delta);
    }
};

} // namespace

const quern_kernel quern_cuda_huber = PAIR_LOSS_KERNEL(loss);
