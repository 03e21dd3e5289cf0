/* scale - y = factor x + offset;  gx = factor gy. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef quern_scale_desc attributes;
    static constexpr unary_reads READS = READS_G;
    template <typename R> static __device__ R value(R x, const attributes &p) {
        return (R)p.factor * x + (R)p.offset;
    }
    template <typename R> static __device__ R gradient(R g, R, const attributes &p) {
        return (R)p.factor * g;
    }
};

} // namespace

const quern_kernel quern_cuda_scale = UNARY_KERNEL(op);
