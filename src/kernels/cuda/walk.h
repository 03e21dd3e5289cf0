/* walk.h - out[…] = op(i, in[…]…) over views of one shape, strided or broadcast.
 *
 * A walk is the closed axes (../walk_axes.h) of its operands, operand 0 being the output. Each axis
 * beyond one costs a division per element. Where the innermost axis allows, a thread does 16 bytes
 * at a time. */
#ifndef QUERN_KERNELS_CUDA_WALK_H
#define QUERN_KERNELS_CUDA_WALK_H

#include "../walk_axes.h"
#include "map.h"

#include <utility>

typedef walk_axes walk;

/* The operands' offsets of element `index`, in row-major order of the walk. The number of
 * operands is a constant, because an array that is indexed by a variable lies in memory. */
template <int OPERANDS>
__device__ void walk_seek(const walk &w, int64_t index, int64_t (&offset)[OPERANDS]) {
    for (int o = 0; o < OPERANDS; o++) offset[o] = 0;
    for (int32_t i = w.rank - 1; i >= 0; i--) {
        const int64_t outer =
            i > 0 ? launch_divide(index, w.dim[i], w.count <= UINT32_MAX) : (int64_t)0;
        const int64_t at = i > 0 ? index - outer * w.dim[i] : index;
        for (int o = 0; o < OPERANDS; o++) offset[o] += at * w.stride[o][i];
        index = outer;
    }
}

/* WIDTH elements, or one of them WIDTH times where the operand is broadcast. */
template <int WIDTH, typename T> __device__ pack<WIDTH, T> walk_load(const T *from, int64_t step) {
    if (step != 0) return pack_load<WIDTH>(from);
    pack<WIDTH, T> same;
    for (int j = 0; j < WIDTH; j++) same.at[j] = *from;
    return same;
}

template <int WIDTH, typename Op, typename T, typename... In, size_t... K>
__device__ void walk_pack(const walk &w, std::index_sequence<K...>, const Op &op, int64_t index,
                          bool add, T *out, const In *...in) {
    int64_t offset[sizeof...(In) + 1];
    walk_seek(w, index, offset);
    map_pack<WIDTH>(
        op, index, add, out + offset[0],
        walk_load<WIDTH>(in + offset[K + 1], WIDTH == 1 ? 1 : w.stride[K + 1][w.rank - 1])...);
}

template <int WIDTH, typename Op, typename T, typename... In>
__global__ void walk_kernel(walk w, Op op, bool add, T *out, const In *...in) {
    op.load();
    for (int64_t i = launch_index(); i < w.count / WIDTH; i += launch_stride())
        walk_pack<WIDTH>(w, std::index_sequence_for<In...>(), op, i * WIDTH, add, out, in...);
}

/* Whether every group of `width` elements lies together in the operands from this one on, or is
 * broadcast there. */
static inline bool walk_packs(const walk *w, int width, int32_t from) {
    const int32_t last = w->rank - 1;
    if (w->dim[last] % width != 0) return false;
    for (int32_t o = from; o < w->operand_count; o++) {
        if (w->stride[o][last] != 1 && w->stride[o][last] != 0) return false;
        for (int32_t i = 0; i < last; i++)
            if (w->stride[o][last] == 1 && w->stride[o][i] % width != 0) return false;
    }
    return true;
}

/* Whether these operands from 1 on are aligned for packs; one that is broadcast need not be. */
template <int WIDTH, typename... In> bool walk_aligned(const walk *w, const In *...in) {
    int32_t o = 0;
    return (... && (w->stride[++o][w->rank - 1] == 0 || pack_aligned<WIDTH>(in)));
}

/* Operand 0 is out, then in…, in the order in which they were added. */
template <typename Op, typename T, typename... In>
quern_status walk_run(quern_stream *stream, const walk &w, const Op &op, bool add, T *out,
                      const In *...in) {
    constexpr int WIDTH = pack_width<T, In...>();
    const bool whole = w.stride[0][w.rank - 1] == 1 && pack_aligned<WIDTH>(out);
    if (whole && walk_packs(&w, WIDTH, 0) && walk_aligned<WIDTH>(&w, in...))
        return launch(stream, launch_over(w.count / WIDTH), walk_kernel<WIDTH, Op, T, In...>, w, op,
                      add, out, in...);
    return launch(stream, launch_over(w.count), walk_kernel<1, Op, T, In...>, w, op, add, out,
                  in...);
}

#endif
