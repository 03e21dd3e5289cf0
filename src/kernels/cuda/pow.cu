/* pow - y = a^b;  ga = gy b a^(b - 1), 0 where b is 0;  gb = gy y ln a, 0 where a is 0 and b >= 0.
 * A negative a with a b that is not an integer gives NaN.
 * Shapes broadcast as in NumPy. Cost, order of sums: binary.h. */
#include "binary.h"

namespace {

struct op {
    template <typename R> static __device__ R value(R a, R b) { return pow(a, b); }
    template <typename R> static __device__ R gradient_a(R g, R a, R b, R) {
        return b == 0 ? (R)0 : g * (b * pow(a, b - (R)1));
    }
    template <typename R> static __device__ R gradient_b(R g, R a, R b, R y) {
        return a == 0 && b >= 0 ? (R)0 : g * (y * log(a));
    }
};

} // namespace

const quern_kernel quern_cuda_pow = BINARY_KERNEL(op);
