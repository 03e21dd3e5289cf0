/* pool2d.h - the windows of a pool: what max_pool2d and avg_pool2d share. A plane is one channel of
 * one image. cuDNN is not used for pooling: of row-major planes it computes forward only in its
 * fall-back engine and the gradient of a maximum not at all. Forward has a thread for each y,
 * backward one for each x, which reads the windows that saw it: nothing is cleared first, and
 * nobody adds to what another writes. Where the channels are innermost (../layout.h) a thread has
 * 16 bytes of them, if their number allows. */
#ifndef QUERN_KERNELS_CUDA_POOL2D_H
#define QUERN_KERNELS_CUDA_POOL2D_H

#include "../layout.h"
#include "map.h"

#include <type_traits>

/* `channels` elements lie together at each pixel of `images`: 1 of row-major planes. */
struct pool_shape {
    int64_t images, channels, h, w, oh, ow;
    quern_pool2d_desc desc;

    __host__ __device__ int64_t size(int axis) const { return axis == 0 ? h : w; }
    __host__ __device__ int64_t count(int axis) const { return axis == 0 ? oh : ow; }
};

static inline pool_shape pool_shape_of(const quern_kernel_args *args) {
    const int64_t *x = args->in[0].dim, *y = args->out[0].dim;
    const bool last = layout_is_channels_last(&args->in[0]);
    return {last ? x[0] : x[0] * x[1],
            last ? x[1] : 1,
            x[2],
            x[3],
            y[2],
            y[3],
            *(const quern_pool2d_desc *)args->attributes};
}

/* A pack of one pixel: of which image, where in it, and which of the pixel's channels. */
struct pool_place {
    int64_t image, row, column, channel;
};

template <int WIDTH>
__device__ pool_place pool_place_of(const pool_shape &p, int64_t pack, int64_t rows,
                                    int64_t columns) {
    const int64_t packs = p.channels / WIDTH;
    const bool narrow = p.images * p.channels * (p.h * p.w + p.oh * p.ow) <= UINT32_MAX;
    const int64_t pixel = launch_divide(pack, packs, narrow);
    const int64_t line = launch_divide(pixel, columns, narrow);
    const int64_t image = launch_divide(line, rows, narrow);
    return {image, line - image * rows, pixel - line * columns, (pack - pixel * packs) * WIDTH};
}

/* Where channel `channel` of pixel (row, column) lies in images of `rows` by `columns`. */
static inline __device__ int64_t pool_offset(const pool_shape &p, const pool_place &at,
                                             int64_t rows, int64_t columns, int64_t row,
                                             int64_t column) {
    return ((at.image * rows + row) * columns + column) * p.channels + at.channel;
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
    const bool narrow = reach <= UINT32_MAX;
    const int64_t missed = reach - p.desc.window[axis] + 1; /* the first start that still sees it */
    const int64_t first = missed > 0 ? launch_divide(missed + stride - 1, stride, narrow) : 0;
    const int64_t stop = launch_divide(reach, stride, narrow) + 1;
    return {first, stop < p.count(axis) ? stop : p.count(axis)};
}

/* f(width) for buffers of packs of `channels`, aligned or not. */
template <typename F, typename T, typename... More>
quern_status pool_dispatch(const pool_shape &p, F f, const T *first, const More *...more) {
    constexpr int WIDTH = pack_width<T>();
    if (p.channels % WIDTH == 0 && (pack_aligned<WIDTH>(first) && ... && pack_aligned<WIDTH>(more)))
        return f(std::integral_constant<int, WIDTH>());
    return f(std::integral_constant<int, 1>());
}

/* Every element of a pack of pixel `at` computed as a real: values[j] = x[j]. */
template <int WIDTH, typename T>
__device__ void pool_read(const T *from, real<T> (&values)[WIDTH]) {
    const pack<WIDTH, T> p = pack_load<WIDTH>(from);
    for (int j = 0; j < WIDTH; j++) values[j] = (real<T>)p.at[j];
}

template <int WIDTH, typename To, typename V>
__device__ void pool_write(To *to, const V (&values)[WIDTH]) {
    pack<WIDTH, To> p;
    for (int j = 0; j < WIDTH; j++) p.at[j] = (To)values[j];
    *reinterpret_cast<pack<WIDTH, To> *>(to) = p;
}

/* gx[at] + what it is to be added to, or nothing. */
template <int WIDTH, typename T>
__device__ void pool_begin(bool add, const T *gx, real<T> (&sums)[WIDTH]) {
    if (add)
        pool_read(gx, sums);
    else
        for (int j = 0; j < WIDTH; j++) sums[j] = 0;
}

#endif
