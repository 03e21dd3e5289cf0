/* linear_activated.h - the kernels of linear, linear_relu and linear_gelu: one layer and its f.
 * gx = gu W;  gW = gu^T x;  gb = column sums of gu;  gu = gy f'(u).
 * Shapes   x (..., in), W (out, in), b (out) or absent, y (..., out); below, rows = all of "...".
 * Saved    u where f is gelu. Of relu y says where it was above zero.
 * Cost     2 rows in out flops a product; gu a pass over gy and y or u, into scratch (gy is not
 *          ours to change). */
#ifndef QUERN_KERNELS_CUDA_LINEAR_ACTIVATED_H
#define QUERN_KERNELS_CUDA_LINEAR_ACTIVATED_H

#include "linear_layer.h"

QUERN_MUST_CHECK quern_status linear_activated_plan(quern_kernel_plan *plan, const char *op,
                                                    linear_activation activation);
QUERN_MUST_CHECK quern_status linear_activated_forward(const quern_kernel_args *args);
QUERN_MUST_CHECK quern_status linear_activated_backward(const quern_kernel_args *args,
                                                        linear_activation activation);
void linear_activated_drop(void *plan);

/* The kernel `quern_cuda_<op>`. */
#define LINEAR_ACTIVATED_KERNEL(op, activation)                                                    \
    static quern_status plan(quern_kernel_plan *plan) {                                            \
        return linear_activated_plan(plan, #op, activation);                                       \
    }                                                                                              \
    static quern_status backward(const quern_kernel_args *args) {                                  \
        return linear_activated_backward(args, activation);                                        \
    }                                                                                              \
    const quern_kernel quern_cuda_##op = {plan, linear_activated_forward, backward,                \
                                          linear_activated_drop}

#endif
