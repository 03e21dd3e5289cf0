/* log - y = ln x;  gx = gy / x.
 * ln 0 is -infinity, ln of a negative number NaN, as in IEEE 754. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_X;
    template <typename R> static __device__ R value(R x, const attributes &) { return log(x); }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g / v;
    }
};

} // namespace

const quern_kernel quern_cuda_log = UNARY_KERNEL(op);
