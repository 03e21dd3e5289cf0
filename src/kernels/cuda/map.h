/* map.h - out[i] = op(i, in[i]…) over contiguous buffers, or out[i] += it.
 *
 * An op is a map_op whose operator()(int64_t i, values…) computes in the inputs' real types; load()
 * runs once a thread before, for what lies in device memory. 16 bytes at a time where all buffers
 * are aligned for it, element by element in the tail. out may be one of the inputs. */
#ifndef QUERN_KERNELS_CUDA_MAP_H
#define QUERN_KERNELS_CUDA_MAP_H

#include "real.h"

struct map_op {
    __device__ void load() {}
};

template <int WIDTH, typename T> struct alignas(WIDTH * sizeof(T)) pack { T at[WIDTH]; };

template <int WIDTH, typename T> __device__ pack<WIDTH, T> pack_load(const T *from) {
    return *reinterpret_cast<const pack<WIDTH, T> *>(from);
}

/* WIDTH elements of which the first is number `index`. */
template <int WIDTH, typename Op, typename T, typename... In>
__device__ void map_pack(const Op &op, int64_t index, bool add, T *out,
                         const pack<WIDTH, In> &...in) {
    real<T> value[WIDTH];
    for (int j = 0; j < WIDTH; j++) value[j] = (real<T>)op(index + j, (real<In>)in.at[j]...);
    if (add) {
        const pack<WIDTH, T> was = pack_load<WIDTH>(out);
        for (int j = 0; j < WIDTH; j++) value[j] += (real<T>)was.at[j];
    }
    pack<WIDTH, T> y;
    for (int j = 0; j < WIDTH; j++) y.at[j] = (T)value[j];
    *reinterpret_cast<pack<WIDTH, T> *>(out) = y;
}

template <int WIDTH, typename Op, typename T, typename... In>
__global__ void map_kernel(int64_t count, Op op, bool add, T *out, const In *...in) {
    const int64_t packs = count / WIDTH;
    op.load();
    for (int64_t i = launch_index(); i < packs; i += launch_stride())
        map_pack<WIDTH>(op, i * WIDTH, add, out + i * WIDTH, pack_load<WIDTH>(in + i * WIDTH)...);
    for (int64_t i = packs * WIDTH + launch_index(); i < count; i += launch_stride())
        map_pack<1>(op, i, add, out + i, pack_load<1>(in + i)...);
}

constexpr int larger_of(int a) { return a; }
template <typename... Rest> constexpr int larger_of(int a, int b, Rest... rest) {
    return larger_of(a > b ? a : b, rest...);
}

/* Elements of the widest of these types in 16 bytes. */
template <typename... T> constexpr int pack_width() { return 16 / larger_of((int)sizeof(T)...); }

template <int WIDTH, typename T> bool pack_aligned(const T *pointer) {
    return (uintptr_t)pointer % (WIDTH * sizeof(T)) == 0;
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
