/* sigmoid - y = 1 / (1 + e^-x);  gx = gy y (1 - y).
 * Computed from e^-|x|, so that neither tail overflows or cancels. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_Y;
    template <typename R> static __device__ R value(R x, const attributes &) { return sigmoid(x); }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g * (v * ((R)1 - v));
    }
};

} // namespace

const quern_kernel quern_cuda_sigmoid = UNARY_KERNEL(op);
