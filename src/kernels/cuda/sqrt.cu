/* sqrt - y = sqrt x;  gx = gy / (2 y), infinite at 0. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_Y;
    template <typename R> static __device__ R value(R x, const attributes &) { return sqrt(x); }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g / ((R)2 * v);
    }
};

} // namespace

const quern_kernel quern_cuda_sqrt = UNARY_KERNEL(op);
