/* exp - y = e^x;  gx = gy y. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_Y;
    template <typename R> static __device__ R value(R x, const attributes &) { return exp(x); }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g * v;
    }
};

} // namespace

const quern_kernel quern_cuda_exp = UNARY_KERNEL(op);
