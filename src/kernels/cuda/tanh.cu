/* tanh - y = tanh x;  gx = gy (1 - y^2). Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_Y;
    template <typename R> static __device__ R value(R x, const attributes &) { return tanh(x); }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &) {
        return g * ((R)1 - v * v);
    }
};

} // namespace

const quern_kernel quern_cuda_tanh = UNARY_KERNEL(op);
