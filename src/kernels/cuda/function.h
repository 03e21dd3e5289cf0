/* function.h - elementary functions beyond the device's own, for float and double; the formulas of
 * ../cpu/vector_math.h in the device's exp, erfc and so on. */
#ifndef QUERN_KERNELS_CUDA_FUNCTION_H
#define QUERN_KERNELS_CUDA_FUNCTION_H

#include "real.h"

/* e^x with an error of |x| 2^-24 of itself (of F64's own in F64), in half of exp's instructions:
 * where every element of a row of BF16 has one, they would be what takes the time. */
static inline __device__ float quick_exp(float x) { return exp2f(x * 1.44269504f); }
static inline __device__ double quick_exp(double x) { return exp(x); }

/* 1 / (1 + e^-x), without cancellation on either side. */
template <typename R> __device__ R sigmoid(R x) {
    const R e = exp(-fabs(x));
    return (x < 0 ? e : (R)1) / ((R)1 + e);
}

/* The standard normal distribution function; both tails are accurate relative to themselves. */
template <typename R> __device__ R normal_cdf(R x) {
    return (R)0.5 * erfc(x * (R)-0.70710678118654752440);
}

template <typename R> __device__ R normal_density(R x) {
    return (R)0.39894228040143267794 * exp((R)-0.5 * x * x);
}

#endif
