/* channels.h - what belongs to a channel (axis 1) of images or vectors (N, C, ...): the walk of
 * sums over everything but the channel, and the launch of kernels that go through planes, a plane
 * being one channel of one image. */
#ifndef QUERN_KERNELS_CUDA_CHANNELS_H
#define QUERN_KERNELS_CUDA_CHANNELS_H

#include "fold.h"

struct channels_shape {
    int64_t images, channels, area;
};

static inline channels_shape channels_of(const quern_view *x) {
    channels_shape s = {x->dim[0], x->dim[1], 1};
    for (int32_t i = 2; i < x->rank; i++) s.area *= x->dim[i];
    return s;
}

/* Operand 0, the target, has a number a channel; the next `whole` are like x; the rest, up to
 * `operands` in all, have a number a channel. */
static inline walk channels_walk(const channels_shape &s, int32_t whole, int32_t operands) {
    walk w = {3, operands, s.images * s.channels * s.area, {s.images, s.channels, s.area}, {}};
    for (int32_t o = 0; o < operands; o++) {
        const bool is_whole = o > 0 && o <= whole;
        w.stride[o][0] = is_whole ? s.channels * s.area : 0;
        w.stride[o][1] = is_whole ? s.area : 1;
        w.stride[o][2] = is_whole ? 1 : 0;
    }
    walk_axes_close(&w);
    return w;
}

/* Planes shorter than a warp get a thread each. */
constexpr int64_t CHANNELS_SHORT_PLANE = 32;

/* f(group, width) for the planes of all these buffers. */
template <typename F, typename T, typename... More>
quern_status channels_dispatch(const channels_shape &s, const T *first, F f, const More *...more) {
    if (s.area < CHANNELS_SHORT_PLANE) return f(group_constant<1>(), group_constant<1>());
    return group_dispatch(s.area, first, f, more...);
}

#endif
