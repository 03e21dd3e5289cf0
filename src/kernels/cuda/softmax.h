/* softmax.h - the launchers of softmax and log_softmax along one axis.
 *
 * With m = max x and s = sum e^(x - m) over a row, an op's file defines a struct with
 *   prepare(s)            what finish needs of s
 *   finish(shifted, p)    y, from x - m
 *   term(g, y)            what backward sums over the row, giving t
 *   gradient(g, y, t)     gx
 * and ends in SOFTMAX_KERNEL. Along the last axis a warp or a block works on a row; along another,
 * a thread, so that neighbouring threads read neighbouring elements.
 * m and s come from one pass: a thread that meets a larger element scales what it has summed
 * (Milakov & Gimelshein 2018).
 * Cost: forward reads x twice, the second time mostly from cache, and writes y; backward reads y
 * and gy twice and writes gx. Deterministic: yes, fixed order. Input and output may be the same
 * buffer. */
#ifndef QUERN_KERNELS_CUDA_SOFTMAX_H
#define QUERN_KERNELS_CUDA_SOFTMAX_H

#include "axis.h"

/* The largest element so far and the sum of e^(x - largest). Nothing: -infinity and 0. NaN is
 * never the largest, but the sum becomes NaN, as it does where infinity is. */
template <typename R> struct softmax_sum {
    R largest, sum;

    __device__ void add(R x) {
        if (x > largest) {
            sum = sum * scale(largest, x) + ((R)1 + (x - x));
            largest = x;
        } else {
            sum += x == -(R)INFINITY ? (R)0 : exp(x - largest);
        }
    }
    static __device__ R scale(R from, R to) { return from == -(R)INFINITY ? (R)0 : exp(from - to); }
    static __device__ softmax_sum nothing() { return {-(R)INFINITY, 0}; }
};

struct softmax_add {
    template <typename R>
    __device__ softmax_sum<R> operator()(softmax_sum<R> a, softmax_sum<R> b) const {
        const R largest = a.largest > b.largest ? a.largest : b.largest;
        return {largest, a.sum * softmax_sum<R>::scale(a.largest, largest) +
                             b.sum * softmax_sum<R>::scale(b.largest, largest)};
    }
};

template <int GROUP, typename Op, typename T>
__global__ void softmax_forward_kernel(axis_split s, const T *x, T *y) {
    typedef real<T> R;
    const int64_t step = s.inner;
    for (int64_t row = group_index<GROUP>(); row < axis_rows(s); row += group_count<GROUP>()) {
        const int64_t start = axis_row_start(s, row);
        softmax_sum<R> all = softmax_sum<R>::nothing();
        for (int64_t i = group_lane<GROUP>(); i < s.length; i += GROUP)
            all.add((R)x[start + i * step]);
        all = group_fold<GROUP>(all, softmax_add());
        const R prepared = Op::prepare(all.sum);
        for (int64_t i = group_lane<GROUP>(); i < s.length; i += GROUP) {
            const int64_t at = start + i * step;
            y[at] = (T)Op::finish((R)x[at] - all.largest, prepared);
        }
    }
}

template <int GROUP, typename Op, typename T>
__global__ void softmax_backward_kernel(axis_split s, const T *y, const T *gy, T *gx, bool add) {
    typedef real<T> R;
    const int64_t step = s.inner;
    for (int64_t row = group_index<GROUP>(); row < axis_rows(s); row += group_count<GROUP>()) {
        const int64_t start = axis_row_start(s, row);
        R total = 0;
        for (int64_t i = group_lane<GROUP>(); i < s.length; i += GROUP)
            total += Op::term((R)gy[start + i * step], (R)y[start + i * step]);
        total = group_sum<GROUP>(total);
        for (int64_t i = group_lane<GROUP>(); i < s.length; i += GROUP) {
            const int64_t at = start + i * step;
            const R g = Op::gradient((R)gy[at], (R)y[at], total);
            gx[at] = (T)(add ? (R)gx[at] + g : g);
        }
    }
}

template <typename Op> quern_status softmax_forward(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0];
    const axis_split s = axis_split_of(x, ((const quern_axis_desc *)args->attributes)->axis);
    return real_dispatch(x->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return axis_dispatch(s, [&](auto group) {
            constexpr int GROUP = decltype(group)::value;
            return launch(args->stream, group_shape<GROUP>(s.outer * s.inner),
                          softmax_forward_kernel<GROUP, Op, T>, s, (const T *)x->data,
                          (T *)args->out[0].data);
        });
    });
}

template <typename Op> quern_status softmax_backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    const axis_split s = axis_split_of(gx, ((const quern_axis_desc *)args->attributes)->axis);
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return axis_dispatch(s, [&](auto group) {
            constexpr int GROUP = decltype(group)::value;
            return launch(args->stream, group_shape<GROUP>(s.outer * s.inner),
                          softmax_backward_kernel<GROUP, Op, T>, s, (const T *)args->out[0].data,
                          (const T *)args->grad_out[0].data, (T *)gx->data, args->accumulate[0]);
        });
    });
}

#define SOFTMAX_KERNEL(op)                                                                         \
    { real_plan, softmax_forward<op>, softmax_backward<op>, NULL }

#endif
