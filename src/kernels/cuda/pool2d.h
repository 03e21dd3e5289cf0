/* pool2d.h - the windows of a pool: what max_pool2d and avg_pool2d share. A plane is one channel of
 * one image. cuDNN is not used for pooling: of row-major planes it computes forward only in its
 * fall-back engine and the gradient of a maximum not at all, and turning them around would cost
 * more than the pool. Forward has a thread for each y, backward one for each x, which reads the
 * windows that saw it: nothing is cleared first, and nobody adds to what another writes. */
#ifndef QUERN_KERNELS_CUDA_POOL2D_H
#define QUERN_KERNELS_CUDA_POOL2D_H

#include "real.h"

struct pool_shape {
    int64_t planes, h, w, oh, ow;
    quern_pool2d_desc desc;

    __host__ __device__ int64_t size(int axis) const { return axis == 0 ? h : w; }
    __host__ __device__ int64_t count(int axis) const { return axis == 0 ? oh : ow; }
};

static inline pool_shape pool_shape_of(const quern_kernel_args *args) {
    const int64_t *x = args->in[0].dim, *y = args->out[0].dim;
    return {x[0] * x[1], x[2], x[3], y[2], y[3], *(const quern_pool2d_desc *)args->attributes};
}

struct pool_span {
    int64_t first, stop;
};

/* The part of window `at` that lies inside the image, along one axis. */
static inline __device__ pool_span pool_pixels(const pool_shape &p, int axis, int64_t at) {
    const int64_t start = at * p.desc.stride[axis] - p.desc.padding[axis];
    const int64_t stop = start + p.desc.window[axis];
    return {start > 0 ? start : 0, stop < p.size(axis) ? stop : p.size(axis)};
}

/* The windows that saw pixel `at`, along one axis. */
static inline __device__ pool_span pool_windows(const pool_shape &p, int axis, int64_t at) {
    const int64_t reach = at + p.desc.padding[axis], stride = p.desc.stride[axis];
    const int64_t missed = reach - p.desc.window[axis] + 1; /* the first start that still sees it */
    const int64_t first = missed > 0 ? (missed + stride - 1) / stride : 0;
    const int64_t stop = reach / stride + 1;
    return {first, stop < p.count(axis) ? stop : p.count(axis)};
}

#endif
