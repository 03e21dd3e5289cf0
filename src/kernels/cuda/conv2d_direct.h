/* conv2d_direct.h - hand-written kernels beside cuDNN's convolutions: what belongs to the bias, and
 * every convolution by its definition, for shapes and pointers that cuDNN has no engine for. Those
 * are slow and right. Deterministic: every value has one writer, who adds in a fixed order. */
#ifndef QUERN_KERNELS_CUDA_CONV2D_DIRECT_H
#define QUERN_KERNELS_CUDA_CONV2D_DIRECT_H

#include "../kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct conv2d_shape {
    quern_dtype dtype;
    int64_t n, c, h, w; /* x (n, c, h, w) */
    int64_t k, r, s;    /* weight (k, c / groups, r, s) */
    int64_t oh, ow;     /* y (n, k, oh, ow) */
    int64_t stride[2], padding[2], dilation[2], groups;
    bool last; /* x and y have their channels innermost (../layout.h); the weight never has */
} conv2d_shape;

typedef enum conv2d_pass {
    CONV2D_FORWARD, /* y from x and weight */
    CONV2D_DATA,    /* x's gradient from y's and weight */
    CONV2D_FILTER,  /* weight's gradient from x and y's */
    CONV2D_PASSES,
} conv2d_pass;

typedef struct conv2d_data { /* the pass writes one of them and reads the others */
    void *x, *weight, *y;
} conv2d_data;

/* The pass's result, or added to what is there. */
QUERN_MUST_CHECK quern_status conv2d_direct(quern_stream *stream, const conv2d_shape *shape,
                                            conv2d_pass pass, conv2d_data data, bool accumulate);

/* y += bias of its channel. */
QUERN_MUST_CHECK quern_status conv2d_add_bias(quern_stream *stream, const conv2d_shape *shape,
                                              void *y, const void *bias);

/* gb = the channels' sums of gy, or += where `accumulate`. */
QUERN_MUST_CHECK quern_status conv2d_sum_bias(quern_stream *stream, const conv2d_shape *shape,
                                              void *gb, const void *gy, bool accumulate,
                                              void *scratch);
size_t conv2d_sum_scratch(const conv2d_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
