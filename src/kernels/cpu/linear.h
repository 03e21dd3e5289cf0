/* linear.h - the three products of a linear layer, for linear and linear_relu. */
#ifndef QUERN_KERNELS_CPU_LINEAR_H
#define QUERN_KERNELS_CPU_LINEAR_H

#include "../kernel.h"

QUERN_MUST_CHECK quern_status linear_plan(quern_kernel_plan *plan);

/* y = x weight^T + bias, then max(y, 0) where `relu`. */
void linear_forward(const quern_kernel_args *args, bool relu);

/* The wanted gradients from gy, which holds rows x out elements. */
void linear_backward(const quern_kernel_args *args, const void *gy);

#endif
