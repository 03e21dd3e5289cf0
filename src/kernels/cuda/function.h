/* function.h - elementary functions beyond the device's own, for float and double; the formulas of
 * ../cpu/vector_math.h in the device's exp, erfc and so on. */
#ifndef QUERN_KERNELS_CUDA_FUNCTION_H
#define QUERN_KERNELS_CUDA_FUNCTION_H

#include "real.h"

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
