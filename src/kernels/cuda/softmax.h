/* softmax.h - the launchers of softmax and log_softmax along one axis.
 *
 * With m = max x and s = sum e^(x - m) over a row, an op's file defines a struct with
 *   prepare(s)            what finish needs of s
 *   finish(shifted, p)    y, from x - m
 *   term(g, y)            what backward sums over the row, giving t
 *   gradient(g, y, t)     gx
 * and ends in SOFTMAX_KERNEL. Along the last axis a warp or a block works on a row, 16 bytes at a
 * time; along another, a thread, so that neighbouring threads read neighbouring elements.
 * m and s come from one pass: a thread that meets a larger element scales what it has summed
 * (Milakov & Gimelshein 2018).
 * Cost: forward reads x twice, the second time from cache where a row is short, and writes y
 * (floor: one read, one write); backward reads y and gy twice, again the second time from cache,
 * and writes gx (floor: two reads, one write).
 * Deterministic: yes, fixed order. Input and output may be the same buffer. */
#ifndef QUERN_KERNELS_CUDA_SOFTMAX_H
#define QUERN_KERNELS_CUDA_SOFTMAX_H

#include "axis.h"
#include "function.h"

/* The largest element so far and the sum of e^(x - largest). Nothing: -infinity and 0. NaN is
 * never the largest, but the sum becomes NaN, as it does where infinity is. */
template <typename R> struct softmax_sum {
    R largest, sum;

    __device__ void add(R x) {
        if (x > largest) {
            sum = sum * scale(largest, x) + ((R)1 + (x - x));
            largest = x;
        } else {
            sum += x == -(R)INFINITY ? (R)0 : quick_exp(x - largest);
        }
    }
    /* The same of several at once, with one scaling. */
    template <int WIDTH> __device__ void add(const R (&x)[WIDTH]) {
        R top = largest;
        for (int j = 0; j < WIDTH; j++) top = x[j] > top ? x[j] : top;
        if (top > largest) sum *= scale(largest, top);
        largest = top;
        const R base = top == -(R)INFINITY ? (R)0 : top; /* e^(-infinity - 0) is 0 */
        for (int j = 0; j < WIDTH; j++) sum += quick_exp(x[j] - base);
    }
    static __device__ R scale(R from, R to) {
        return from == -(R)INFINITY ? (R)0 : quick_exp(from - to);
    }
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

template <typename Op, typename R> struct softmax_value_op : map_op {
    R largest, prepared;
    __device__ R operator()(int64_t, R x) const { return Op::finish(x - largest, prepared); }
};

template <typename Op, typename R> struct softmax_gradient_op : map_op {
    R total;
    __device__ R operator()(int64_t, R g, R y) const { return Op::gradient(g, y, total); }
};

/* Contiguous rows. */
template <int GROUP, int WIDTH, typename Op, typename T>
__global__ void softmax_forward_rows(int64_t rows, int64_t length, const T *x, T *y) {
    typedef real<T> R;
    softmax_value_op<Op, R> op = {};
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        const T *from = x + row * length;
        softmax_sum<R> all = softmax_sum<R>::nothing();
        group_packs<GROUP, WIDTH>(from, length,
                                  [&](int64_t, const R(&value)[WIDTH]) { all.add(value); });
        all = group_fold<GROUP>(all, softmax_add());
        op.largest = all.largest;
        op.prepared = Op::prepare(all.sum);
        group_map<GROUP, WIDTH>(length, op, false, y + row * length, from);
    }
}

template <int GROUP, int WIDTH, typename Op, typename T>
__global__ void softmax_backward_rows(int64_t rows, int64_t length, const T *y, const T *gy, T *gx,
                                      bool add) {
    typedef real<T> R;
    softmax_gradient_op<Op, R> op = {};
    for (int64_t row = group_index<GROUP>(); row < rows; row += group_count<GROUP>()) {
        const T *g = gy + row * length, *v = y + row * length;
        R total = 0;
        LAUNCH_AHEAD
        for (int64_t i = (int64_t)group_lane<GROUP>() * WIDTH; i < length; i += GROUP * WIDTH) {
            const pack<WIDTH, T> gs = pack_load<WIDTH>(g + i), vs = pack_load<WIDTH>(v + i);
            for (int j = 0; j < WIDTH; j++) total += Op::term((R)gs.at[j], (R)vs.at[j]);
        }
        op.total = group_sum<GROUP>(total);
        group_map<GROUP, WIDTH>(length, op, add, gx + row * length, g, v);
    }
}

/* Rows whose elements are s.inner apart, a thread each. */
template <typename Op, typename T>
__global__ void softmax_forward_kernel(axis_split s, const T *x, T *y) {
    typedef real<T> R;
    const int64_t step = s.inner;
    for (int64_t row = launch_index(); row < axis_rows(s); row += launch_stride()) {
        const int64_t start = axis_row_start(s, row);
        softmax_sum<R> all = softmax_sum<R>::nothing();
        for (int64_t i = 0; i < s.length; i++) all.add((R)x[start + i * step]);
        const R prepared = Op::prepare(all.sum);
        for (int64_t i = 0; i < s.length; i++) {
            const int64_t at = start + i * step;
            y[at] = (T)Op::finish((R)x[at] - all.largest, prepared);
        }
    }
}

template <typename Op, typename T>
__global__ void softmax_backward_kernel(axis_split s, const T *y, const T *gy, T *gx, bool add) {
    typedef real<T> R;
    const int64_t step = s.inner;
    for (int64_t row = launch_index(); row < axis_rows(s); row += launch_stride()) {
        const int64_t start = axis_row_start(s, row);
        R total = 0;
        for (int64_t i = 0; i < s.length; i++)
            total += Op::term((R)gy[start + i * step], (R)y[start + i * step]);
        for (int64_t i = 0; i < s.length; i++) {
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
        const T *from = (const T *)x->data;
        T *to = (T *)args->out[0].data;
        if (s.inner > 1)
            return launch(args->stream, launch_over(s.outer * s.inner),
                          softmax_forward_kernel<Op, T>, s, from, to);
        return group_dispatch(
            s.length, from,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(s.outer),
                              softmax_forward_rows<GROUP, WIDTH, Op, T>, s.outer, s.length, from,
                              to);
            },
            to);
    });
}

template <typename Op> quern_status softmax_backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    const axis_split s = axis_split_of(gx, ((const quern_axis_desc *)args->attributes)->axis);
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *y = (const T *)args->out[0].data, *gy = (const T *)args->grad_out[0].data;
        T *to = (T *)gx->data;
        const bool add = args->accumulate[0];
        if (s.inner > 1)
            return launch(args->stream, launch_over(s.outer * s.inner),
                          softmax_backward_kernel<Op, T>, s, y, gy, to, add);
        return group_dispatch(
            s.length, y,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(s.outer),
                              softmax_backward_rows<GROUP, WIDTH, Op, T>, s.outer, s.length, y, gy,
                              to, add);
            },
            gy, to);
    });
}

#define SOFTMAX_KERNEL(op)                                                                         \
    { real_plan, softmax_forward<op>, softmax_backward<op>, NULL }

#endif
