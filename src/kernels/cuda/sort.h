/* sort.h - a stable sort of small non-negative keys with their positions, for scatters that must
 * add in a fixed order: least significant digit first, 4 bits at a time.
 *
 * A tile of SORT_TILE items belongs to a block, SORT_ITEMS neighbours to a thread. Each pass counts
 * the digits of every tile, turns the counts into the place where a tile's items of a digit begin,
 * and moves the items there, a thread's in their order. No atomics: the same bits on every run.
 * Cost: per pass 3 launches, and 16 bytes read and 8 written an item. */
#ifndef QUERN_KERNELS_CUDA_SORT_H
#define QUERN_KERNELS_CUDA_SORT_H

#include "group.h"

constexpr int SORT_DIGITS = 16, SORT_BITS = 4, SORT_ITEMS = 8;
constexpr int SORT_TILE = LAUNCH_THREADS * SORT_ITEMS;

struct sort_items {
    uint32_t *key;
    int32_t *position;
};

struct sort_pass {
    sort_items from, to;
    int32_t *places; /* [digit][tile] */
    int64_t count, tiles;
    int shift;
};

static inline int64_t sort_tiles(int64_t count) { return (count + SORT_TILE - 1) / SORT_TILE; }

/* Two sets of items and the places. count < 2^31. */
static inline size_t sort_bytes(int64_t count) {
    return (size_t)count * 4 * sizeof(uint32_t) +
           (size_t)sort_tiles(count) * SORT_DIGITS * sizeof(int32_t);
}

static inline sort_items sort_items_at(void *scratch, int64_t count, int which) {
    uint32_t *words = (uint32_t *)scratch + which * 2 * count;
    return {words, (int32_t *)(words + count)};
}

/* What all threads of the block before this one hold together. */
static inline __device__ int32_t sort_sum_before(int32_t own) {
    SHARED(int32_t, sums, 2 * LAUNCH_THREADS);
    const int thread = (int)threadIdx.x;
    int at = 0;
    __syncthreads();
    sums[thread] = own;
    for (int step = 1; step < LAUNCH_THREADS; step *= 2) {
        __syncthreads();
        const int32_t before =
            thread >= step ? (int32_t)sums[at * LAUNCH_THREADS + thread - step] : 0;
        const int32_t here = sums[at * LAUNCH_THREADS + thread];
        at = 1 - at;
        sums[at * LAUNCH_THREADS + thread] = here + before;
    }
    return sums[at * LAUNCH_THREADS + thread] - own;
}

static inline __device__ int sort_digit(const sort_pass &p, int64_t item) {
    return (int)(p.from.key[item] >> p.shift) & (SORT_DIGITS - 1);
}

/* before[digit * LAUNCH_THREADS + thread] = how many of the tile's items come before this thread's
 * first one of that digit, when ordered by digit; a last entry for all of them. */
template <typename Array> __device__ void sort_tile_order(const sort_pass &p, Array &before) {
    const int thread = (int)threadIdx.x;
    const int64_t first = (int64_t)blockIdx.x * SORT_TILE + thread * SORT_ITEMS;
    int32_t counts[SORT_DIGITS] = {};
    for (int64_t i = first; i < first + SORT_ITEMS && i < p.count; i++)
        for (int digit = 0; digit < SORT_DIGITS; digit++)
            counts[digit] += digit == sort_digit(p, i) ? 1 : 0; /* so that they stay in registers */
    for (int digit = 0; digit < SORT_DIGITS; digit++)
        before[digit * LAUNCH_THREADS + thread] = counts[digit];
    __syncthreads();
    int32_t own = 0;
    for (int i = 0; i < SORT_DIGITS; i++) own += before[thread * SORT_DIGITS + i];
    int32_t running = sort_sum_before(own);
    for (int i = 0; i < SORT_DIGITS; i++) {
        const int32_t here = before[thread * SORT_DIGITS + i];
        before[thread * SORT_DIGITS + i] = running;
        running += here;
    }
    if (thread == LAUNCH_THREADS - 1) before[SORT_DIGITS * LAUNCH_THREADS] = running;
    __syncthreads();
}

static __global__ void sort_count_kernel(sort_pass p) {
    SHARED(int32_t, before, SORT_DIGITS * LAUNCH_THREADS + 1);
    sort_tile_order(p, before);
    const int digit = (int)threadIdx.x;
    if (digit < SORT_DIGITS)
        p.places[digit * p.tiles + blockIdx.x] =
            before[(digit + 1) * LAUNCH_THREADS] - before[digit * LAUNCH_THREADS];
}

/* One block: counts become the sums of all before them. */
static __global__ void sort_place_kernel(int32_t *places, int64_t count) {
    const int64_t each = (count + LAUNCH_THREADS - 1) / LAUNCH_THREADS;
    const int64_t first = (int64_t)threadIdx.x * each;
    const int64_t end = first + each < count ? first + each : count;
    int32_t own = 0;
    for (int64_t i = first; i < end; i++) own += places[i];
    int32_t running = sort_sum_before(own);
    for (int64_t i = first; i < end; i++) {
        const int32_t here = places[i];
        places[i] = running;
        running += here;
    }
}

static __global__ void sort_move_kernel(sort_pass p) {
    SHARED(int32_t, before, SORT_DIGITS * LAUNCH_THREADS + 1);
    sort_tile_order(p, before);
    const int thread = (int)threadIdx.x;
    const int64_t first = (int64_t)blockIdx.x * SORT_TILE + thread * SORT_ITEMS;
    for (int64_t i = first; i < first + SORT_ITEMS && i < p.count; i++) {
        const int digit = sort_digit(p, i);
        int32_t same = 0; /* of this thread, before this one */
        for (int64_t j = first; j < i; j++) same += sort_digit(p, j) == digit ? 1 : 0;
        const int32_t in_digit =
            before[digit * LAUNCH_THREADS + thread] - before[digit * LAUNCH_THREADS] + same;
        const int64_t to = p.places[digit * p.tiles + blockIdx.x] + in_digit;
        p.to.key[to] = p.from.key[i];
        p.to.position[to] = p.from.position[i];
    }
}

/* Sorts the items at sort_items_at(scratch, count, 0), keys 0 … largest; *sorted is where they are
 * then. */
static inline quern_status sort_run(quern_stream *stream, void *scratch, int64_t count,
                                    int64_t largest, sort_items *sorted) {
    sort_pass p = {};
    p.count = count;
    p.tiles = sort_tiles(count);
    p.from = sort_items_at(scratch, count, 0);
    p.to = sort_items_at(scratch, count, 1);
    p.places = (int32_t *)((uint32_t *)scratch + 4 * count);
    const launch_shape over = {dim3((unsigned)p.tiles), dim3(LAUNCH_THREADS), 0};
    const launch_shape one = {dim3(count > 0 ? 1 : 0), dim3(LAUNCH_THREADS), 0};
    for (p.shift = 0; largest >> p.shift > 0; p.shift += SORT_BITS) {
        QUERN_TRY(launch(stream, over, sort_count_kernel, p));
        QUERN_TRY(launch(stream, one, sort_place_kernel, p.places, p.tiles * SORT_DIGITS));
        QUERN_TRY(launch(stream, over, sort_move_kernel, p));
        const sort_items moved = p.to;
        p.to = p.from;
        p.from = moved;
    }
    *sorted = p.from;
    return QUERN_OK;
}

#endif
