/* silu - y = x s, s = 1 / (1 + e^-x);  gx = gy s (1 + x (1 - s)).
 * Source: Hendrycks & Gimpel 2016, section 2. At -infinity forward is NaN (-infinity times 0), as
 * in PyTorch. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_X;
    template <typename R> static __device__ R value(R x, const attributes &) {
        return x * sigmoid(x);
    }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g * sigmoid(v) * ((R)1 + v * ((R)1 - sigmoid(v)));
    }
};

} // namespace

const quern_kernel quern_cuda_silu = UNARY_KERNEL(op);
