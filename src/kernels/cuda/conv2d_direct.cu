/* conv2d_direct.cu - the kernels of conv2d_direct.h. Cost: c / groups r s multiplications and as
 * many uncoalesced reads for each y or gx, n oh ow for each weight's gradient. */
#include "conv2d_direct.h"

#include "channels.h"

namespace {

/* Where y (i, j) and the weight's (r, s) meet in x; false: in the padding. */
__device__ bool meet(const conv2d_shape &p, int64_t i, int64_t j, int64_t r, int64_t s, int64_t *h,
                     int64_t *w) {
    *h = i * p.stride[0] - p.padding[0] + r * p.dilation[0];
    *w = j * p.stride[1] - p.padding[1] + s * p.dilation[1];
    return *h >= 0 && *h < p.h && *w >= 0 && *w < p.w;
}

/* The y that the weight's (r) takes x's (h) to, along one axis; false: none. */
__device__ bool target(int64_t at, int64_t tap, int64_t stride, int64_t padding, int64_t dilation,
                       int64_t count, int64_t *out) {
    const int64_t reach = at + padding - tap * dilation;
    *out = reach / stride;
    return reach >= 0 && reach % stride == 0 && *out < count;
}

/* A pixel of images, and where it lies in them. */
struct pixel {
    int64_t n, c, h, w;
};

__device__ int64_t offset_of(bool last, int64_t channels, int64_t height, int64_t width,
                             const pixel &at) {
    return last ? ((at.n * height + at.h) * width + at.w) * channels + at.c
                : ((at.n * channels + at.c) * height + at.h) * width + at.w;
}

/* The pixel that lies at this offset. */
__device__ pixel pixel_at(bool last, int64_t channels, int64_t height, int64_t width, int64_t at) {
    if (last)
        return {at / channels / width / height, at % channels, at / channels / width % height,
                at / channels % width};
    return {at / width / height / channels, at / width / height % channels, at / width % height,
            at % width};
}

__device__ int64_t offset_in_x(const conv2d_shape &p, const pixel &at) {
    return offset_of(p.last, p.c, p.h, p.w, at);
}
__device__ int64_t offset_in_y(const conv2d_shape &p, const pixel &at) {
    return offset_of(p.last, p.k, p.oh, p.ow, at);
}

template <typename T> __device__ void put(T *to, double value, bool add) {
    typedef real<T> R;
    *to = (T)(add ? (R)*to + (R)value : (R)value);
}

template <typename T>
__global__ void forward_kernel(conv2d_shape p, int64_t count, const T *x, const T *weight, bool add,
                               T *y) {
    const int64_t channels = p.c / p.groups, per_group = p.k / p.groups;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const pixel y_at = pixel_at(p.last, p.k, p.oh, p.ow, at);
        const int64_t k = y_at.c, first = k / per_group * channels;
        double sum = 0;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < p.r * p.s; t++) {
                int64_t h, w;
                if (!meet(p, y_at.h, y_at.w, t / p.s, t % p.s, &h, &w)) continue;
                sum += (double)(real<T>)x[offset_in_x(p, {y_at.n, first + c, h, w})] *
                       (double)(real<T>)weight[(k * channels + c) * p.r * p.s + t];
            }
        put(y + at, sum, add);
    }
}

template <typename T>
__global__ void data_kernel(conv2d_shape p, int64_t count, const T *gy, const T *weight, bool add,
                            T *gx) {
    const int64_t channels = p.c / p.groups, per_group = p.k / p.groups;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const pixel x_at = pixel_at(p.last, p.c, p.h, p.w, at);
        const int64_t c = x_at.c, group = c / channels;
        double sum = 0;
        for (int64_t k = group * per_group; k < (group + 1) * per_group; k++)
            for (int64_t t = 0; t < p.r * p.s; t++) {
                int64_t i, j;
                if (!target(x_at.h, t / p.s, p.stride[0], p.padding[0], p.dilation[0], p.oh, &i) ||
                    !target(x_at.w, t % p.s, p.stride[1], p.padding[1], p.dilation[1], p.ow, &j))
                    continue;
                sum += (double)(real<T>)gy[offset_in_y(p, {x_at.n, k, i, j})] *
                       (double)(real<T>)weight[(k * channels + c % channels) * p.r * p.s + t];
            }
        put(gx + at, sum, add);
    }
}

/* A block to a weight. */
template <typename T>
__global__ void filter_kernel(conv2d_shape p, int64_t count, const T *gy, const T *x, bool add,
                              T *gw) {
    const int64_t channels = p.c / p.groups, per_group = p.k / p.groups;
    const int64_t terms = p.n * p.oh * p.ow;
    for (int64_t at = blockIdx.x; at < count; at += gridDim.x) {
        const int64_t s = at % p.s, r = at / p.s % p.r, c = at / p.s / p.r % channels;
        const int64_t k = at / p.s / p.r / channels, channel = k / per_group * channels + c;
        double sum = 0;
        for (int64_t t = threadIdx.x; t < terms; t += LAUNCH_THREADS) {
            const int64_t j = t % p.ow, i = t / p.ow % p.oh, n = t / p.ow / p.oh;
            int64_t h, w;
            if (!meet(p, i, j, r, s, &h, &w)) continue;
            sum += (double)(real<T>)gy[offset_in_y(p, {n, k, i, j})] *
                   (double)(real<T>)x[offset_in_x(p, {n, channel, h, w})];
        }
        sum = group_sum<LAUNCH_THREADS>(sum);
        if (threadIdx.x == 0) put(gw + at, sum, add);
    }
}

template <typename T> struct bias_op {
    const T *bias;
    typedef real<T> numbers;
    __device__ numbers of(int64_t c) const { return (numbers)bias[c]; }
    static __device__ numbers value(numbers of_channel, numbers y) { return y + of_channel; }
};

channels_shape channels_of_y(const conv2d_shape *p) { return {p->n, p->k, p->oh * p->ow, p->last}; }

} // namespace

quern_status conv2d_direct(quern_stream *stream, const conv2d_shape *p, conv2d_pass pass,
                           conv2d_data data, bool add) {
    const int64_t y = p->n * p->k * p->oh * p->ow, x = p->n * p->c * p->h * p->w;
    const int64_t weight = p->k * (p->c / p->groups) * p->r * p->s;
    return real_dispatch(p->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        T *of_x = (T *)data.x, *of_weight = (T *)data.weight, *of_y = (T *)data.y;
        if (pass == CONV2D_FORWARD)
            return launch(stream, launch_over(y), forward_kernel<T>, *p, y, of_x, of_weight, add,
                          of_y);
        if (pass == CONV2D_DATA)
            return launch(stream, launch_over(x), data_kernel<T>, *p, x, of_y, of_weight, add,
                          of_x);
        return launch(stream, group_shape<LAUNCH_THREADS>(weight), filter_kernel<T>, *p, weight,
                      of_y, of_x, add, of_weight);
    });
}

quern_status conv2d_add_bias(quern_stream *stream, const conv2d_shape *p, void *y,
                             const void *bias) {
    return real_dispatch(p->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const bias_op<T> op = {(const T *)bias};
        return channels_map(stream, channels_of_y(p), op, false, (T *)y, (const T *)y);
    });
}

size_t conv2d_sum_scratch(const conv2d_shape *p) {
    return fold_scratch_bytes(p->n * p->k * p->oh * p->ow);
}

quern_status conv2d_sum_bias(quern_stream *stream, const conv2d_shape *p, void *gb, const void *gy,
                             bool add, void *scratch) {
    return real_dispatch(p->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return fold_run<FOLD_SUM>(stream, channels_walk(channels_of_y(p), 1, 2), fold_self(),
                                  fold_into((T *)gb, 1, add), scratch, (const T *)gy);
    });
}
