/* tolerances.h - every tolerance of the kernel tests, by name, with its reason.
 *
 * F32 against F64: |a - b| <= tolerance * max(1, max |b|) over a tensor. One unit in the last place
 * of F32 at 1 is 1.2e-7. A tolerance that grows is a commit that says why. */
#ifndef QUERN_TESTS_KERNELS_TOLERANCES_H
#define QUERN_TESTS_KERNELS_TOLERANCES_H

#define TOL_EXACT 0.0        /* copies and comparisons: the same values in both types */
#define TOL_ROUND_F32 2.5e-7 /* one or two rounded operations */
#define TOL_FUNCTION_F32                                                                           \
    1e-6                 /* an elementary function (vector_math.h: up to 6 ulp), then products */
#define TOL_SUM_F32 2e-6 /* sums of some thousand terms, accumulated in F64 or in lanes */
#define TOL_PRODUCT_F32 1e-5     /* sums of products, k <= 4096, accumulated in F32 */
#define TOL_NORM_F32 2e-5        /* mean and variance, then a division by the deviation */
#define TOL_DIFFERENCES 1e-7     /* DESIGN 9.1: analytic against central differences, F64 */
#define TOL_ACCUMULATE_F64 1e-12 /* g0 + 2 g in two steps: roundings of a sum of order 10 */
#define TOL_ACCUMULATE_F32 1e-6  /* the same in F32 */

/* A CUDA kernel against the CPU's in F64 on the same inputs. F32: the op's row above, as for the
 * CPU's own F32, and at least TOL_ROUND_F32, because nvcc contracts to FMA. */
#define TOL_CUDA_F64 1e-12   /* sums in another order, elementary functions of another library */
#define TOL_CUDA_F16 2e-3    /* 4 roundings to 11 bits: y, then what backward makes of it */
#define TOL_CUDA_BF16 1.6e-2 /* the same to 8 bits */

/* A whole small network in 16 bits against F32, |a - b| <= tolerance * max |b| over a tensor: a
 * handful of roundings to 11 or 8 bits, and ReLUs near zero and maxima of pools that fall on the
 * other side. */
#define TOL_NETWORK_F16 1e-2
#define TOL_NETWORK_BF16 1e-1
/* The same gradient summed in windows cut otherwise, each part rounded to 16 bits on its way. */
#define TOL_WINDOW_F16 2e-3
#define TOL_WINDOW_BF16 1.6e-2

#endif
