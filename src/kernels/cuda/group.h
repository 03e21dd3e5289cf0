/* group.h - a group of threads that works on one row: a warp, or a block.
 *
 * group_fold gives every thread of the group the fold of all their values. Its order is fixed: a
 * butterfly within each warp, then the warps one after another. The fold must not care which of
 * its two arguments is which. All threads of the group call it together; of a block, all. */
#ifndef QUERN_KERNELS_CUDA_GROUP_H
#define QUERN_KERNELS_CUDA_GROUP_H

#include "map.h"

constexpr int GROUP_WARP = 32;

/* Rows up to this many elements get a warp each, longer ones a block. */
constexpr int64_t GROUP_SHORT_ROW = 1024;

template <typename V, typename Fold> __device__ V group_warp_fold(V value, Fold fold) {
    for (int bits = GROUP_WARP / 2; bits > 0; bits /= 2)
        value = fold(value, launch_shuffle(value, bits));
    return value;
}

template <int WARPS, typename V, typename Fold> __device__ V group_block_fold(V value, Fold fold) {
    SHARED(V, of_warp, WARPS);
    value = group_warp_fold(value, fold);
    __syncthreads(); /* nobody reads of_warp from an earlier call any more */
    if (threadIdx.x % GROUP_WARP == 0) of_warp[threadIdx.x / GROUP_WARP] = value;
    __syncthreads();
    V all = of_warp[0];
    for (int warp = 1; warp < WARPS; warp++) all = fold(all, (V)of_warp[warp]);
    return all;
}

template <int GROUP, typename V, typename Fold> __device__ V group_fold(V value, Fold fold) {
    if constexpr (GROUP == 1)
        return value;
    else if constexpr (GROUP == GROUP_WARP)
        return group_warp_fold(value, fold);
    else
        return group_block_fold<GROUP / GROUP_WARP>(value, fold);
}

template <int GROUP, typename V> __device__ V group_sum(V value) {
    return group_fold<GROUP>(value, [](V a, V b) { return a + b; });
}

/* This thread's place in its group, the group's number, and how many there are. */
template <int GROUP> __device__ int group_lane() { return (int)threadIdx.x % GROUP; }
template <int GROUP> __device__ int64_t group_index() { return launch_index() / GROUP; }
template <int GROUP> __device__ int64_t group_count() { return launch_stride() / GROUP; }

/* f(i, row[i …]) for each pack of a contiguous row that is this thread's, as an array. */
template <int GROUP, int WIDTH, typename T, typename F>
__device__ void group_packs(const T *row, int64_t length, F f) {
    LAUNCH_AHEAD
    for (int64_t i = (int64_t)group_lane<GROUP>() * WIDTH; i < length; i += GROUP * WIDTH) {
        const pack<WIDTH, T> p = pack_load<WIDTH>(row + i);
        real<T> value[WIDTH];
        for (int j = 0; j < WIDTH; j++) value[j] = (real<T>)p.at[j];
        f(i, value);
    }
}

/* f(i, row[i]) for the same elements one by one. */
template <int GROUP, int WIDTH, typename T, typename F>
__device__ void group_each(const T *row, int64_t length, F f) {
    group_packs<GROUP, WIDTH>(row, length, [&](int64_t i, const real<T>(&value)[WIDTH]) {
        for (int j = 0; j < WIDTH; j++) f(i + j, value[j]);
    });
}

/* out[i] = op(i, in[i]…), or added to it, for the same elements. */
template <int GROUP, int WIDTH, typename Op, typename T, typename... In>
__device__ void group_map(int64_t length, const Op &op, bool add, T *out, const In *...in) {
    map_range<WIDTH>(op, (int64_t)group_lane<GROUP>() * WIDTH, GROUP * WIDTH, length, add, out,
                     in...);
}

template <int VALUE> struct group_constant { static constexpr int value = VALUE; };

/* f(group, width) for contiguous rows of `length` in all these buffers: the threads that a row
 * gets, and the elements that one of them reads at a time. */
template <typename F, typename T, typename... More>
quern_status group_dispatch(int64_t length, const T *first, F f, const More *...more) {
    constexpr int WIDTH = pack_width<T>();
    const bool packs =
        length % WIDTH == 0 && (pack_aligned<WIDTH>(first) && ... && pack_aligned<WIDTH>(more));
    const bool warp = length <= GROUP_SHORT_ROW;
    if (packs && warp) return f(group_constant<GROUP_WARP>(), group_constant<WIDTH>());
    if (packs) return f(group_constant<LAUNCH_THREADS>(), group_constant<WIDTH>());
    if (warp) return f(group_constant<GROUP_WARP>(), group_constant<1>());
    return f(group_constant<LAUNCH_THREADS>(), group_constant<1>());
}

/* Blocks for one group a row. */
template <int GROUP> launch_shape group_shape(int64_t rows) { return launch_over(rows * GROUP); }

#endif
