/* linear.h - the products of a linear layer, for linear and linear_relu. */
#ifndef QUERN_KERNELS_CUDA_LINEAR_H
#define QUERN_KERNELS_CUDA_LINEAR_H

#include "library/product.h"

QUERN_MUST_CHECK quern_status cuda_linear_plan(quern_kernel_plan *plan, const char *op, bool relu);
void cuda_linear_drop(void *plan);

/* y = x weight^T + bias, then max(y, 0) where the plan says relu. */
QUERN_MUST_CHECK quern_status cuda_linear_forward(const quern_kernel_args *args);

/* The wanted gradients from gy (rows, out); scratch has what cuda_linear_plan asked for. */
QUERN_MUST_CHECK quern_status cuda_linear_backward(const quern_kernel_args *args, const void *gy,
                                                   void *scratch);

#endif
