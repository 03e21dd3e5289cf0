/* clamp - y = min(max(x, low), high);  gx = gy where low <= x <= high, else 0.
 * NaN passes through forward and gets no gradient. The borders themselves belong to the inside, as
 * in PyTorch. Shapes and cost: unary.h. */
#include "unary.h"

namespace {

struct op {
    typedef quern_clamp_desc attributes;
    static constexpr unary_reads READS = READS_X;
    template <typename R> static __device__ R value(R x, const attributes &p) {
        return x < (R)p.low ? (R)p.low : (x > (R)p.high ? (R)p.high : x);
    }
    template <typename R> static __device__ R gradient(R g, R v, const attributes &p) {
        return v >= (R)p.low && v <= (R)p.high ? g : (R)0;
    }
};

} // namespace

const quern_kernel quern_cuda_clamp = UNARY_KERNEL(op);
