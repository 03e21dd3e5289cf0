/* channels.h - what belongs to a channel (axis 1) of images or vectors (N, C, ...): the walk of
 * sums over everything but the channel, and the launch of kernels that go through a channel's
 * elements. Row-major, these lie in planes, a plane being one channel of one image; channels last
 * (../layout.h) in columns, of which neighbouring ones make a pack. */
#ifndef QUERN_KERNELS_CUDA_CHANNELS_H
#define QUERN_KERNELS_CUDA_CHANNELS_H

#include "../layout.h"
#include "fold.h"

struct channels_shape {
    int64_t images, channels, area;
    bool last; /* channels last */
};

static inline channels_shape channels_of(const quern_view *x) {
    channels_shape s = {x->dim[0], x->dim[1], 1, layout_is_channels_last(x)};
    for (int32_t i = 2; i < x->rank; i++) s.area *= x->dim[i];
    return s;
}

/* How far a channel's first element is from the next one's. */
static inline int64_t channels_step(const channels_shape &s) { return s.last ? 1 : s.area; }

/* Operand 0, the target, has a number a channel; the next `whole` are like x; the rest, up to
 * `operands` in all, have a number a channel, `step` apart. */
static inline walk channels_walk(const channels_shape &s, int32_t whole, int32_t operands,
                                 int64_t step = 1) {
    const int32_t channel = s.last ? 2 : 1, pixel = s.last ? 1 : 2;
    walk w = {3, operands, s.images * s.channels * s.area, {s.images}, {}};
    w.dim[channel] = s.channels;
    w.dim[pixel] = s.area;
    for (int32_t o = 0; o < operands; o++) {
        const bool is_whole = o > 0 && o <= whole;
        w.stride[o][0] = is_whole ? s.channels * s.area : 0;
        w.stride[o][channel] = is_whole ? channels_step(s) : (o > 0 ? step : 1);
        w.stride[o][pixel] = is_whole ? (s.last ? s.channels : 1) : 0;
    }
    walk_axes_close(&w);
    return w;
}

/* An op over the elements of channels: of(c), the numbers that it keeps of a channel, and
 * value(those, values…). Here with those of one channel, or of a pack's. */
template <typename Op> struct channels_one : map_op {
    typename Op::numbers of;
    template <typename... R> __device__ auto operator()(int64_t, R... values) const {
        return Op::value(of, values...);
    }
};

template <int WIDTH, typename Op> struct channels_pack : map_op { typename Op::numbers of[WIDTH]; };

template <int WIDTH, typename Op> struct map_part<WIDTH, channels_pack<WIDTH, Op>> {
    const channels_pack<WIDTH, Op> &op;
    __device__ map_part(const channels_pack<WIDTH, Op> &whole, int64_t) : op(whole) {}
    template <typename... R> __device__ auto operator()(int j, R... values) const {
        return Op::value(op.of[j], values...);
    }
};

template <int GROUP, int WIDTH, typename Op, typename T, typename... In>
__global__ void channels_planes(channels_shape s, Op op, bool add, T *out, const In *...in) {
    channels_one<Op> one = {};
    const int64_t planes = s.images * s.channels;
    for (int64_t plane = group_index<GROUP>(); plane < planes; plane += group_count<GROUP>()) {
        one.of = op.of(plane % s.channels);
        group_map<GROUP, WIDTH>(s.area, one, add, out + plane * s.area, in + plane * s.area...);
    }
}

/* A thread keeps to a pack of channels, whose numbers it reads once, and goes through pixels. */
template <int WIDTH, typename Op, typename T, typename... In>
__global__ void channels_columns(channels_shape s, Op op, bool add, T *out, const In *...in) {
    channels_pack<WIDTH, Op> lanes = {};
    const int64_t packs = s.channels / WIDTH, total = launch_stride();
    const int64_t abreast = total > packs ? total / packs : 1; /* pixels */
    for (int64_t t = launch_index(); t < abreast * packs; t += total) {
        const int64_t pixel = t / packs, column = t % packs * WIDTH;
        for (int j = 0; j < WIDTH; j++) lanes.of[j] = op.of(column + j);
        map_range<WIDTH>(lanes, pixel * s.channels + column, abreast * s.channels,
                         s.images * s.area * s.channels, add, out, in...);
    }
}

/* Planes shorter than a warp get a thread each. */
constexpr int64_t CHANNELS_SHORT_PLANE = 32;

/* f(group, width) for the planes of all these buffers. */
template <typename F, typename T, typename... More>
quern_status channels_dispatch(const channels_shape &s, const T *first, F f, const More *...more) {
    if (s.area < CHANNELS_SHORT_PLANE) return f(group_constant<1>(), group_constant<1>());
    return group_dispatch(s.area, first, f, more...);
}

/* out = the op of in…, or added to it; all of this shape. */
template <typename Op, typename T, typename... In>
quern_status channels_map(quern_stream *stream, const channels_shape &s, const Op &op, bool add,
                          T *out, const In *...in) {
    constexpr int PACK = pack_width<T>();
    const int64_t count = s.images * s.channels * s.area;
    if (s.last && s.channels % PACK == 0 &&
        (pack_aligned<PACK>(out) && ... && pack_aligned<PACK>(in)))
        return launch(stream, launch_over(count / PACK), channels_columns<PACK, Op, T, In...>, s,
                      op, add, out, in...);
    if (s.last)
        return launch(stream, launch_over(count), channels_columns<1, Op, T, In...>, s, op, add,
                      out, in...);
    return channels_dispatch(
        s, out,
        [&](auto group, auto width) {
            constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
            return launch(stream, group_shape<GROUP>(s.images * s.channels),
                          channels_planes<GROUP, WIDTH, Op, T, In...>, s, op, add, out, in...);
        },
        in...);
}

#endif
