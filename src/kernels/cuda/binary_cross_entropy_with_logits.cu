/* binary_cross_entropy_with_logits - loss = sum max(z, 0) - z t + log(1 + e^-|z|).
 * gz = (sigmoid(z) - t) g;  gt = -z g.
 * Shapes   z, t (any), equal; t in [0, 1]; loss (). Cost, order: pair_loss.h. */
#include "function.h"
#include "pair_loss.h"

namespace {

struct loss : pair_loss {
    template <typename R> static __device__ R value(R z, R t, R) {
        return (z > 0 ? z : (R)0) - z * t + log1p(exp(-fabs(z)));
    }
    template <typename R> static __device__ R slope(R z, R t, R) { return sigmoid(z) - t; }
    template <typename R> static __device__ R target_slope(R z, R, R) { return -z; }
};

} // namespace

const quern_kernel quern_cuda_binary_cross_entropy_with_logits = PAIR_LOSS_KERNEL(loss);
