/* conv2d.h - the two ways a convolution is computed, and the shape they share. */
#ifndef QUERN_KERNELS_CPU_CONV2D_H
#define QUERN_KERNELS_CPU_CONV2D_H

#include "../kernel.h"

typedef struct conv_shape {
    quern_dtype dtype;
    int64_t n, c, h, w; /* x (n, c, h, w) */
    int64_t k, r, s;    /* weight (k, c / groups, r, s) */
    int64_t oh, ow;     /* y (n, k, oh, ow) */
    int64_t stride[2], padding[2], dilation[2], groups;
} conv_shape;

conv_shape conv_shape_of(const quern_kernel_args *args);

/* conv2d_product.c: columns of windows, then BLAS products. Any shape, F32 and F64. */
QUERN_MUST_CHECK quern_status conv_product_plan(quern_kernel_plan *plan, const conv_shape *shape);
void conv_product_forward(const quern_kernel_args *args, const conv_shape *shape);
void conv_product_backward(const quern_kernel_args *args, const conv_shape *shape);

/* conv2d_lanes.c: eight images at once, for few channels, where a product is too narrow. */
bool conv_lanes_suits(const conv_shape *shape);
QUERN_MUST_CHECK quern_status conv_lanes_plan(quern_kernel_plan *plan, const conv_shape *shape);
void conv_lanes_forward(const quern_kernel_args *args, const conv_shape *shape);
void conv_lanes_backward(const quern_kernel_args *args, const conv_shape *shape);

/* Elements the caller lays one after another in scratch; false when the bytes do not fit. Each
 * part starts on 64 bytes. */
bool conv_reserve(size_t *bytes, int64_t count, int64_t each, size_t element_bytes);

#endif
