/* walk.h - out[…] = op(i, in[…]…) over views of one shape, strided or broadcast.
 *
 * A walk has a shape and operands that broadcast to it (stride 0 along an axis they lack), operand
 * 0 being the output. Closing it drops axes of size 1 and merges neighbours that every operand
 * steps through evenly, so a walk over contiguous views has one axis, and a division per element
 * for each axis more. Where the innermost axis allows, a thread does 16 bytes at a time. */
#ifndef QUERN_KERNELS_CUDA_WALK_H
#define QUERN_KERNELS_CUDA_WALK_H

#include "map.h"

#include <utility>

constexpr int WALK_OPERANDS = 5;

struct walk {
    int32_t rank, operand_count; /* rank >= 1 once closed */
    int64_t count, dim[QUERN_RANK_MAX];
    int64_t stride[WALK_OPERANDS][QUERN_RANK_MAX]; /* in elements */
};

static inline walk walk_begin(const quern_view *shape) {
    walk w = {};
    w.rank = shape->rank;
    w.count = shape->count;
    for (int32_t i = 0; i < shape->rank; i++) w.dim[i] = shape->dim[i];
    return w;
}

/* Aligned at the last axis, as in NumPy. */
static inline void walk_add(walk *w, const quern_view *operand) {
    const int32_t o = w->operand_count++, missing = w->rank - operand->rank;
    for (int32_t i = missing; i < w->rank; i++)
        w->stride[o][i] = operand->dim[i - missing] == 1 ? 0 : operand->stride[i - missing];
}

static inline bool walk_mergeable(const walk *w, int32_t outer, int32_t inner) {
    for (int32_t o = 0; o < w->operand_count; o++)
        if (w->stride[o][outer] != w->stride[o][inner] * w->dim[inner]) return false;
    return true;
}

static inline void walk_move_axis(walk *w, int32_t to, int32_t from) {
    w->dim[to] = w->dim[from];
    for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][to] = w->stride[o][from];
}

static inline void walk_close(walk *w) {
    int32_t kept = 0;
    for (int32_t i = 0; i < w->rank; i++) {
        if (w->dim[i] == 1) continue;
        walk_move_axis(w, kept, i);
        if (kept > 0 && walk_mergeable(w, kept - 1, kept)) {
            const int64_t merged = w->dim[kept - 1] * w->dim[kept];
            walk_move_axis(w, kept - 1, kept);
            w->dim[kept - 1] = merged;
        } else {
            kept++;
        }
    }
    if (kept == 0) { /* a single element: any stride will do */
        w->dim[0] = 1;
        for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][0] = 1;
        kept = 1;
    }
    w->rank = kept;
}

/* A contiguous view of other dims on the same data. */
static inline quern_view view_with_dims(const quern_view *view, int32_t rank, const int64_t *dim) {
    quern_view out = {};
    out.data = view->data;
    out.count = 1;
    out.rank = rank;
    out.dtype = view->dtype;
    for (int32_t i = rank - 1; i >= 0; i--) {
        out.dim[i] = dim[i];
        out.stride[i] = out.count;
        out.count *= dim[i];
    }
    return out;
}

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
