/* neg - y = -x;  gx = -gy. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef unary_plain attributes;
    static constexpr unary_reads READS = READS_G;
    template <typename R> static __device__ R value(R x, const attributes &) { return -x; }
    template <typename R> static __device__ R gradient(R g, R, const attributes &) { return -g; }
};

} // namespace

const quern_kernel quern_cuda_neg = UNARY_KERNEL(op);
