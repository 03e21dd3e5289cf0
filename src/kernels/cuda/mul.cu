/* mul - y = a b;  ga = gy b, gb = gy a.
 * Shapes broadcast as in NumPy. Cost, order of sums: binary.h. */
#include "binary.h"

namespace {

struct op {
    template <typename R> static __device__ R value(R a, R b) { return a * b; }
    template <typename R> static __device__ R gradient_a(R g, R, R b, R) { return g * b; }
    template <typename R> static __device__ R gradient_b(R g, R a, R, R) { return g * a; }
};

} // namespace

const quern_kernel quern_cuda_mul = BINARY_KERNEL(op);
