/* fold.h - target[k] = scale * fold of terms, over the axes of a walk that its operand 0, the
 * contiguous target, lacks; added to what is there where asked.
 *
 * A term is op(values of operands 1 …) in F64, and so are the accumulators: a sum of a million
 * terms keeps F32's precision, and on the cards this is for F64 additions are not what bounds it.
 * Deterministic: yes, and never by atomics. Who adds what in which order follows from the shapes:
 *   rows      the innermost axis is reduced: a warp or a block to a target, neighbours together
 *   columns   it is kept: 32 neighbouring targets to a block, 8 rows of terms at a time
 * Where there are too few targets to fill a card, the reduced positions are cut into slices, whose
 * results lie in scratch ([target][slice], F64) and are folded by a second launch.
 * Cost: each operand once, and 16 bytes a slice. */
#ifndef QUERN_KERNELS_CUDA_FOLD_H
#define QUERN_KERNELS_CUDA_FOLD_H

#include "group.h"
#include "walk.h"

enum fold_kind { FOLD_SUM, FOLD_MAX, FOLD_MIN };

constexpr int FOLD_COLUMNS = 32;
constexpr int FOLD_ROWS = LAUNCH_THREADS / FOLD_COLUMNS;
constexpr int64_t FOLD_BLOCKS_WANTED = 512, FOLD_SLICE_TERMS = 4096, FOLD_SLICE_ROWS = 64;

/* MAX and MIN: NaN wins; of nothing: -infinity, infinity. */
template <fold_kind KIND> struct fold_two {
    __device__ double operator()(double a, double b) const {
        if (KIND == FOLD_SUM) return a + b;
        if (KIND == FOLD_MAX) return b > a || b != b ? b : a;
        return b < a || b != b ? b : a;
    }
};

template <fold_kind KIND> __device__ double fold_nothing() {
    if (KIND == FOLD_SUM) return 0;
    return KIND == FOLD_MAX ? (double)-INFINITY : (double)INFINITY;
}

struct fold_shape {
    walk kept, reduced; /* positions of targets, and of the terms of one */
    int64_t slice_count, slice_size;
    bool columns, block_rows;
};

/* `count` is set by hand: an axis may be empty. */
static inline void fold_take_axis(walk *to, const walk *from, int32_t axis) {
    const int32_t i = to->rank++;
    to->dim[i] = from->dim[axis];
    to->count *= from->dim[axis];
    for (int32_t o = 0; o < from->operand_count; o++) to->stride[o][i] = from->stride[o][axis];
}

static inline int64_t fold_slices(const fold_shape *s) {
    const int64_t targets_of_block =
        s->columns ? FOLD_COLUMNS : (s->block_rows ? 1 : LAUNCH_THREADS / GROUP_WARP);
    const int64_t blocks = (s->kept.count + targets_of_block - 1) / targets_of_block;
    const int64_t wanted = blocks == 0 ? 1 : FOLD_BLOCKS_WANTED / blocks;
    const int64_t most = s->reduced.count / (s->columns ? FOLD_SLICE_ROWS : FOLD_SLICE_TERMS);
    const int64_t slices = wanted < most ? wanted : most;
    return slices > 1 ? slices : 1;
}

/* Of a closed walk. */
static inline fold_shape fold_shape_of(const walk *w) {
    fold_shape s = {};
    s.kept.count = s.reduced.count = 1;
    s.kept.operand_count = s.reduced.operand_count = w->operand_count;
    for (int32_t i = 0; i < w->rank; i++)
        fold_take_axis(w->stride[0][i] != 0 ? &s.kept : &s.reduced, w, i);
    const int32_t last = w->rank - 1;
    s.columns = w->stride[0][last] != 0 && w->dim[last] >= FOLD_ROWS && s.reduced.count > 1;
    s.block_rows = s.reduced.count > GROUP_SHORT_ROW;
    s.slice_count = fold_slices(&s);
    s.slice_size = (s.reduced.count + s.slice_count - 1) / s.slice_count;
    return s;
}

/* For any fold over full_count elements: which axes merge is known only when the data is, and
 * slices are made only up to FOLD_BLOCKS_WANTED blocks. */
static inline size_t fold_scratch_bytes(int64_t full_count) {
    return full_count < 2 * FOLD_SLICE_ROWS
               ? 0
               : (size_t)FOLD_BLOCKS_WANTED * FOLD_COLUMNS * sizeof(double);
}

template <typename Out> struct fold_result { /* where results go, and how */
    Out *out;
    double scale;
    bool add;

    __device__ void store(int64_t at, double value) const {
        const real<Out> scaled = (real<Out>)(value * scale);
        out[at] = (Out)(add ? (real<Out>)out[at] + scaled : scaled);
    }
};

template <typename Op, typename... In, size_t... K>
__device__ double fold_term(const fold_shape &s, std::index_sequence<K...>, const Op &op,
                            const int64_t *base, int64_t position, const In *...in) {
    int64_t offset[WALK_OPERANDS];
    walk_seek(s.reduced, position, offset);
    return (double)op((real<In>)in[base[K + 1] + offset[K + 1]]...);
}

static inline __device__ int64_t fold_slice_end(const fold_shape &s, int64_t slice) {
    const int64_t end = (slice + 1) * s.slice_size;
    return end < s.reduced.count ? end : s.reduced.count;
}

/* GROUP threads to an item, an item being a slice of a target. */
template <int GROUP, fold_kind KIND, typename Op, typename Out, typename... In>
__global__ void fold_rows(fold_shape s, Op op, fold_result<Out> result, const In *...in) {
    op.load();
    const int64_t items = s.kept.count * s.slice_count;
    for (int64_t item = group_index<GROUP>(); item < items; item += group_count<GROUP>()) {
        int64_t base[WALK_OPERANDS];
        walk_seek(s.kept, item / s.slice_count, base);
        const int64_t slice = item % s.slice_count, end = fold_slice_end(s, slice);
        double total = fold_nothing<KIND>();
        for (int64_t r = slice * s.slice_size + group_lane<GROUP>(); r < end; r += GROUP)
            total = fold_two<KIND>()(
                total, fold_term(s, std::index_sequence_for<In...>(), op, base, r, in...));
        total = group_fold<GROUP>(total, fold_two<KIND>());
        if (group_lane<GROUP>() == 0) result.store(item, total);
    }
}

/* A block to FOLD_COLUMNS neighbouring targets and one slice. */
template <fold_kind KIND, typename Op, typename Out, typename... In>
__global__ void fold_columns(fold_shape s, Op op, fold_result<Out> result, const In *...in) {
    SHARED(double, part, LAUNCH_THREADS);
    op.load();
    const int64_t tiles = (s.kept.count + FOLD_COLUMNS - 1) / FOLD_COLUMNS;
    const int column = (int)threadIdx.x % FOLD_COLUMNS, row = (int)threadIdx.x / FOLD_COLUMNS;
    for (int64_t item = blockIdx.x; item < tiles * s.slice_count; item += gridDim.x) {
        const int64_t target = item / s.slice_count * FOLD_COLUMNS + column;
        const int64_t slice = item % s.slice_count, end = fold_slice_end(s, slice);
        int64_t base[WALK_OPERANDS];
        walk_seek(s.kept, target < s.kept.count ? target : 0, base);
        double total = fold_nothing<KIND>();
        for (int64_t r = slice * s.slice_size + row; r < end; r += FOLD_ROWS)
            total = fold_two<KIND>()(
                total, fold_term(s, std::index_sequence_for<In...>(), op, base, r, in...));
        part[threadIdx.x] = total;
        __syncthreads();
        for (int i = 1; row == 0 && i < FOLD_ROWS; i++)
            total = fold_two<KIND>()(total, (double)part[i * FOLD_COLUMNS + column]);
        if (row == 0 && target < s.kept.count) result.store(target * s.slice_count + slice, total);
        __syncthreads();
    }
}

struct fold_self : map_op {
    template <typename R> __device__ R operator()(R value) const { return value; }
};

template <fold_kind KIND, typename Op, typename Out, typename... In>
quern_status fold_launch(quern_stream *stream, const fold_shape &s, const Op &op,
                         const fold_result<Out> &result, const In *...in) {
    const int64_t items = s.kept.count * s.slice_count;
    if (s.columns)
        return launch(stream,
                      launch_over((s.kept.count + FOLD_COLUMNS - 1) / FOLD_COLUMNS * s.slice_count *
                                  LAUNCH_THREADS),
                      fold_columns<KIND, Op, Out, In...>, s, op, result, in...);
    if (s.block_rows)
        return launch(stream, group_shape<LAUNCH_THREADS>(items),
                      fold_rows<LAUNCH_THREADS, KIND, Op, Out, In...>, s, op, result, in...);
    return launch(stream, group_shape<GROUP_WARP>(items),
                  fold_rows<GROUP_WARP, KIND, Op, Out, In...>, s, op, result, in...);
}

/* Operand 0 of the closed walk is result.out, then in…. */
template <fold_kind KIND, typename Op, typename Out, typename... In>
quern_status fold_run(quern_stream *stream, const walk &w, const Op &op,
                      const fold_result<Out> &result, void *scratch, const In *...in) {
    const fold_shape s = fold_shape_of(&w);
    if (s.slice_count == 1) return fold_launch<KIND>(stream, s, op, result, in...);
    const fold_result<double> partial = {(double *)scratch, 1, false};
    QUERN_TRY(fold_launch<KIND>(stream, s, op, partial, in...));
    fold_shape last = {};
    last.kept = {1, 2, s.kept.count, {s.kept.count}, {{1}, {s.slice_count}}};
    last.reduced = {1, 2, s.slice_count, {s.slice_count}, {{0}, {1}}};
    last.slice_count = 1;
    last.slice_size = s.slice_count;
    return fold_launch<KIND>(stream, last, fold_self(), result, (const double *)scratch);
}

/* The walk of a fold of whole contiguous views into one number. */
static inline walk fold_all(int64_t count, int32_t operand_count) {
    walk w = {1, operand_count + 1, count, {count}, {}};
    for (int32_t o = 1; o <= operand_count; o++) w.stride[o][0] = 1;
    return w;
}

#endif
