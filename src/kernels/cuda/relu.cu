/* relu - y = max(x, 0);  gx = gy where y > 0, else 0: at x = 0 the gradient is 0.
 * NaN passes through, forward and backward: a broken value must not be hidden.
 * Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_Y;
    template <typename R> static __device__ R value(R x, const attributes &) {
        return x <= 0 ? (R)0 : x;
    }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return v <= 0 ? (R)0 : g;
    }
};

} // namespace

const quern_kernel quern_cuda_relu = UNARY_KERNEL(op);
