/* linear_pair.h - the kernels of linear_relu_linear and linear_gelu_linear: two layers and what is
 * between them.
 *   h = f(u), u = x W^T + b;  y = h W2^T + b2
 * With gu = (gy W2) f'(u):  gx = gu W;  gW = gu^T x;  gb = column sums of gu;
 *                           gW2 = gy^T h;  gb2 = column sums of gy.
 * Shapes   x (..., in), W (hidden, in), b (hidden) or absent, W2 (out, hidden), b2 (out) or absent,
 *          y (..., out); below, rows = all of "...".
 * Saved    h, and u (of gelu) or a bit a number (of relu, where the library makes that mask).
 * Cost     2 rows in hidden + 2 rows hidden out flops forward, twice that backward. Where cuBLASLt
 *          has the epilogues, nothing else: f rides on the first product, its slope and gb on the
 *          product that makes gu, each bias gradient on a weight's. */
#ifndef QUERN_KERNELS_CUDA_LINEAR_PAIR_H
#define QUERN_KERNELS_CUDA_LINEAR_PAIR_H

#include "linear_layer.h"

QUERN_MUST_CHECK quern_status linear_pair_plan(quern_kernel_plan *plan, const char *op,
                                               linear_activation activation);
QUERN_MUST_CHECK quern_status linear_pair_forward(const quern_kernel_args *args);
QUERN_MUST_CHECK quern_status linear_pair_backward(const quern_kernel_args *args);
void linear_pair_drop(void *plan);

/* The kernel `quern_cuda_<op>`. */
#define LINEAR_PAIR_KERNEL(op, activation)                                                         \
    static quern_status plan(quern_kernel_plan *plan) {                                            \
        return linear_pair_plan(plan, #op, activation);                                            \
    }                                                                                              \
    const quern_kernel quern_cuda_##op = {plan, linear_pair_forward, linear_pair_backward,         \
                                          linear_pair_drop}

#endif
