/* map.h - out[i] = op(i, in[i]…) over contiguous buffers, or out[i] += it.
 *
 * An op is a map_op whose operator()(int64_t i, values…) computes in the inputs' real types; load()
 * runs once a thread before, for what lies in device memory. 16 bytes at a time where all buffers
 * are aligned for it, element by element in the tail. out may be one of the inputs.
 * Cost: each buffer once, the floor. A thread has the loads of MAP_LOADS packs under way before it
 * needs the first: 2,048 threads of a multiprocessor with 32 to 64 bytes each are more than the
 * memory's latency times its rate (about 24 KB a multiprocessor on an H200). */
#ifndef QUERN_KERNELS_CUDA_MAP_H
#define QUERN_KERNELS_CUDA_MAP_H

#include "real.h"

struct map_op {
    __device__ void load() {}
};

/* An op at WIDTH elements, of which the first is number `index`; an op of which neighbours share
 * something has its own. */
template <int WIDTH, typename Op> struct map_part {
    const Op &op;
    int64_t first;
    __device__ map_part(const Op &whole, int64_t index) : op(whole), first(index) {}
    template <typename... V> __device__ auto operator()(int j, V... value) const {
        return op(first + j, value...);
    }
};

/* The widest access of the card is 16 bytes: a longer pack is several of them. */
constexpr int pack_bytes(int bytes) { return bytes < 16 ? bytes : 16; }

template <int WIDTH, typename T> struct alignas(pack_bytes(WIDTH *(int)sizeof(T))) pack {
    T at[WIDTH];
};

template <int WIDTH, typename T> __device__ pack<WIDTH, T> pack_load(const T *from) {
    return *reinterpret_cast<const pack<WIDTH, T> *>(from);
}

/* WIDTH elements of which the first is number `index`. */
template <int WIDTH, typename Op, typename T, typename... In>
__device__ void map_pack(const Op &op, int64_t index, bool add, T *out,
                         const pack<WIDTH, In> &...in) {
    real<T> value[WIDTH];
    const map_part<WIDTH, Op> part(op, index);
    for (int j = 0; j < WIDTH; j++) value[j] = (real<T>)part(j, (real<In>)in.at[j]...);
    if (add) {
        const pack<WIDTH, T> was = pack_load<WIDTH>(out);
        for (int j = 0; j < WIDTH; j++) value[j] += (real<T>)was.at[j];
    }
    pack<WIDTH, T> y;
    for (int j = 0; j < WIDTH; j++) y.at[j] = (T)value[j];
    *reinterpret_cast<pack<WIDTH, T> *>(out) = y;
}

/* One pack of each input, held in registers. */
template <int WIDTH, typename... In> struct map_held {
    __device__ void load(int64_t) {}
    template <typename F, typename... Packs> __device__ void apply(F f, const Packs &...p) const {
        f(p...);
    }
};
template <int WIDTH, typename First, typename... Rest> struct map_held<WIDTH, First, Rest...> {
    pack<WIDTH, First> first;
    map_held<WIDTH, Rest...> rest;
    __device__ void load(int64_t index, const First *in, const Rest *...others) {
        first = pack_load<WIDTH>(in + index);
        rest.load(index, others...);
    }
    template <typename F, typename... Packs> __device__ void apply(F f, const Packs &...p) const {
        rest.apply(f, p..., first);
    }
};

/* Packs whose loads are under way together, over all inputs. */
constexpr int MAP_LOADS = 4;
template <typename... In>
constexpr int map_turns = sizeof...(In) > (size_t)MAP_LOADS / 2 ? 1
                          : sizeof...(In) == 0                  ? MAP_LOADS
                                               : MAP_LOADS / (int)(sizeof...(In) + !sizeof...(In));

/* TURNS packs, `step` elements apart, the first at `first`. */
template <int WIDTH, int TURNS, typename Op, typename T, typename... In>
__device__ void map_packs(const Op &op, int64_t first, int64_t step, bool add, T *out,
                          const In *...in) {
    map_held<WIDTH, In...> held[TURNS];
    LAUNCH_UNROLLED
    for (int turn = 0; turn < TURNS; turn++) held[turn].load(first + turn * step, in...);
    LAUNCH_UNROLLED
    for (int turn = 0; turn < TURNS; turn++) {
        const int64_t index = first + turn * step;
        held[turn].apply(
            [&](const auto &...p) { map_pack<WIDTH>(op, index, add, out + index, p...); });
    }
}

/* The packs at first, first + step … that end at `end` or before. */
template <int WIDTH, typename Op, typename T, typename... In>
__device__ void map_range(const Op &op, int64_t first, int64_t step, int64_t end, bool add, T *out,
                          const In *...in) {
    constexpr int TURNS = map_turns<In...>;
    for (; first + (TURNS - 1) * step + WIDTH <= end; first += TURNS * step)
        map_packs<WIDTH, TURNS>(op, first, step, add, out, in...);
    for (; first + WIDTH <= end; first += step)
        map_packs<WIDTH, 1>(op, first, step, add, out, in...);
}

template <int WIDTH, typename Op, typename T, typename... In>
__global__ void map_kernel(int64_t count, Op op, bool add, T *out, const In *...in) {
    op.load();
    map_range<WIDTH>(op, launch_index() * WIDTH, launch_stride() * WIDTH, count, add, out, in...);
    for (int64_t i = count / WIDTH * WIDTH + launch_index(); i < count; i += launch_stride())
        map_pack<1>(op, i, add, out + i, pack_load<1>(in + i)...);
}

constexpr int larger_of(int a) { return a; }
template <typename... Rest> constexpr int larger_of(int a, int b, Rest... rest) {
    return larger_of(a > b ? a : b, rest...);
}

/* Elements of the widest of these types in 16 bytes. */
template <typename... T> constexpr int pack_width() { return 16 / larger_of((int)sizeof(T)...); }

template <int WIDTH, typename T> bool pack_aligned(const T *pointer) {
    return (uintptr_t)pointer % alignof(pack<WIDTH, T>) == 0;
}

template <typename Op, typename T, typename... In>
quern_status map(quern_stream *stream, int64_t count, const Op &op, bool add, T *out,
                 const In *...in) {
    constexpr int WIDTH = pack_width<T, In...>();
    const bool aligned = (pack_aligned<WIDTH>(out) && ... && pack_aligned<WIDTH>(in));
    if (aligned)
        return launch(stream, launch_over((count + WIDTH - 1) / WIDTH),
                      map_kernel<WIDTH, Op, T, In...>, count, op, add, out, in...);
    return launch(stream, launch_over(count), map_kernel<1, Op, T, In...>, count, op, add, out,
                  in...);
}

#endif
