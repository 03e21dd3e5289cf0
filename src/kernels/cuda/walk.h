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

/* The operands' offsets of element `index`, in row-major order of the walk. Divisions of 32 bits
 * where they do, because those of 64 take several times as long. */
static inline __device__ void walk_seek(const walk &w, int64_t index, int64_t *offset) {
    for (int o = 0; o < w.operand_count; o++) offset[o] = 0;
    for (int32_t i = w.rank - 1; i >= 0; i--) {
        int64_t outer = 0;
        if (i > 0)
            outer = w.count <= UINT32_MAX ? (int64_t)((uint32_t)index / (uint32_t)w.dim[i])
                                          : index / w.dim[i];
        const int64_t at = index - outer * w.dim[i];
        for (int o = 0; o < w.operand_count; o++)
            offset[o] += (i > 0 ? at : index) * w.stride[o][i];
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
    int64_t offset[WALK_OPERANDS];
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

/* Whether every group of WIDTH elements lies together in every operand, or is broadcast there. */
static inline bool walk_packs(const walk *w, int width) {
    const int32_t last = w->rank - 1;
    if (w->dim[last] % width != 0 || w->stride[0][last] != 1) return false;
    for (int32_t o = 0; o < w->operand_count; o++) {
        if (w->stride[o][last] != 1 && w->stride[o][last] != 0) return false;
        for (int32_t i = 0; i < last; i++)
            if (w->stride[o][last] == 1 && w->stride[o][i] % width != 0) return false;
    }
    return true;
}

/* Operand 0 is out, then in…, in the order in which they were added. */
template <typename Op, typename T, typename... In>
quern_status walk_run(quern_stream *stream, const walk &w, const Op &op, bool add, T *out,
                      const In *...in) {
    constexpr int WIDTH = pack_width<T, In...>();
    const bool aligned = (pack_aligned<WIDTH>(out) && ... && pack_aligned<WIDTH>(in));
    if (aligned && walk_packs(&w, WIDTH))
        return launch(stream, launch_over(w.count / WIDTH), walk_kernel<WIDTH, Op, T, In...>, w, op,
                      add, out, in...);
    return launch(stream, launch_over(w.count), walk_kernel<1, Op, T, In...>, w, op, add, out,
                  in...);
}

#endif
