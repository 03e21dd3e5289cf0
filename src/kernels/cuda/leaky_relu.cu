/* leaky_relu - y = x > 0 ? x : slope x;  gx = gy (x > 0 ? 1 : slope).
 * At x = 0 the gradient is slope gy, as in PyTorch. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef quern_leaky_relu_desc attributes;
    static constexpr unary_reads READS = READS_X;
    template <typename R> static __device__ R value(R x, const attributes &p) {
        return x > 0 ? x : (R)p.slope * x;
    }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &p) {
        return v > 0 ? g : (R)p.slope * g;
    }
};

} // namespace

const quern_kernel quern_cuda_leaky_relu = UNARY_KERNEL(op);
