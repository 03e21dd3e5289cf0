/* log_softmax - y = x - log sum e^x along an axis;  gx = gy - e^y sum gy.
 * Shapes, cost, order: softmax.h. */
#include "softmax.h"

namespace {

struct op {
    template <typename R> static __device__ R prepare(R sum) { return log(sum); }
    template <typename R> static __device__ R finish(R shifted, R logarithm) {
        return shifted - logarithm;
    }
    template <typename R> static __device__ R term(R g, R) { return g; }
    template <typename R> static __device__ R gradient(R g, R y, R total) {
        return g - exp(y) * total;
    }
};

} // namespace

const quern_kernel quern_cuda_log_softmax = SOFTMAX_KERNEL(op);
