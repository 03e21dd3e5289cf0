/* softmax - y = e^x / sum e^x along an axis;  gx = y (gy - sum gy y).
 * A row of -infinity only is NaN, as in PyTorch. Shapes, cost, order: softmax.h. */
#include "softmax.h"

namespace {

struct op {
    template <typename R> static __device__ R prepare(R sum) { return (R)1 / sum; }
    template <typename R> static __device__ R finish(R shifted, R inverse) {
        return quick_exp(shifted) * inverse;
    }
    template <typename R> static __device__ R term(R g, R y) { return g * y; }
    template <typename R> static __device__ R gradient(R g, R y, R total) {
        return y * (g - total);
    }
};

} // namespace

const quern_kernel quern_cuda_softmax = SOFTMAX_KERNEL(op);
