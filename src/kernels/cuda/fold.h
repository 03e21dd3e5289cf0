/* fold.h - target[k] = scale * fold of terms, over the axes of a walk that its operand 0, the
 * contiguous target, lacks; added to what is there where asked.
 *
 * A term is op(values of operands 1 …) in F64, and so are the accumulators: a sum of a million
 * terms keeps F32's precision, and on the cards this is for F64 additions are not what bounds it.
 * An op that returns fold_values<N> has N targets, made in one pass over the operands.
 * Deterministic: yes, and never by atomics. Who adds what in which order follows from shapes and
 * alignments:
 *   rows      the innermost axis is reduced: a warp or a block to a target, neighbours together
 *   columns   it is kept: 32 threads with a pack of targets each, 8 rows of terms at a time
 * Where there are too few targets to fill a card, the reduced positions are cut into slices, whose
 * results lie in scratch ([value][target][slice], F64) and are folded by a second launch.
 * Cost: each operand once, the floor, 16 bytes at a time where the innermost axis allows and
 * LAUNCH_AHEAD; and 16 bytes a slice. */
#ifndef QUERN_KERNELS_CUDA_FOLD_H
#define QUERN_KERNELS_CUDA_FOLD_H

#include "group.h"
#include "walk.h"

enum fold_kind { FOLD_SUM, FOLD_MAX, FOLD_MIN };

constexpr int FOLD_COLUMNS = 32;
constexpr int FOLD_ROWS = LAUNCH_THREADS / FOLD_COLUMNS;
constexpr int64_t FOLD_BLOCKS_WANTED = 512, FOLD_SLICE_TERMS = 4096, FOLD_SLICE_ROWS = 64;
constexpr int64_t FOLD_WIDEST = 16; /* elements of a pack, at most */

/* N numbers that are folded side by side. */
template <int N> struct fold_values { double at[N]; };
template <typename V> struct fold_width { static constexpr int value = 1; };
template <int N> struct fold_width<fold_values<N>> { static constexpr int value = N; };

template <typename V> __device__ fold_values<1> fold_values_of(V value) {
    return {{(double)value}};
}
template <int N> __device__ fold_values<N> fold_values_of(fold_values<N> values) { return values; }

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
    walk kept, reduced;           /* positions of targets, and of the terms of one */
    int64_t inner[WALK_OPERANDS]; /* steps along the innermost axis of both */
    int64_t slice_count, slice_size;
    int32_t width; /* of packs along the innermost axis */
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
        s->columns ? FOLD_COLUMNS * s->width : (s->block_rows ? 1 : LAUNCH_THREADS / GROUP_WARP);
    const int64_t blocks = (s->kept.count + targets_of_block - 1) / targets_of_block;
    const int64_t wanted = blocks == 0 ? 1 : FOLD_BLOCKS_WANTED / blocks;
    const int64_t most = s->reduced.count / (s->columns ? FOLD_SLICE_ROWS : FOLD_SLICE_TERMS);
    const int64_t slices = wanted < most ? wanted : most;
    return slices > 1 ? slices : 1;
}

/* Of a closed walk whose terms are read `width` at a time. */
static inline fold_shape fold_shape_of(const walk *w, int32_t width) {
    fold_shape s = {};
    s.kept.count = s.reduced.count = 1;
    s.kept.operand_count = s.reduced.operand_count = w->operand_count;
    for (int32_t i = 0; i < w->rank; i++)
        fold_take_axis(w->stride[0][i] != 0 ? &s.kept : &s.reduced, w, i);
    const int32_t last = w->rank - 1;
    for (int32_t o = 0; o < w->operand_count; o++) s.inner[o] = w->stride[o][last];
    s.width = width;
    s.columns = w->stride[0][last] != 0 && w->dim[last] >= FOLD_ROWS && s.reduced.count > 1;
    if (!s.columns && w->stride[0][last] != 0) s.width = 1; /* a few targets, a warp each */
    s.block_rows = s.reduced.count > GROUP_SHORT_ROW;
    s.slice_count = fold_slices(&s);
    s.slice_size = (s.reduced.count + s.slice_count - 1) / s.slice_count;
    if (!s.columns) s.slice_size = (s.slice_size + FOLD_WIDEST - 1) / FOLD_WIDEST * FOLD_WIDEST;
    return s;
}

/* For any fold of `values` numbers over full_count elements: which axes merge is known only when
 * the data is. A slice of columns has FOLD_SLICE_ROWS terms at least, and slices are made only up
 * to FOLD_BLOCKS_WANTED blocks. */
static inline size_t fold_scratch_bytes(int64_t full_count, int32_t values = 1) {
    const int64_t most = FOLD_BLOCKS_WANTED * FOLD_COLUMNS * FOLD_WIDEST;
    const int64_t terms = full_count / FOLD_SLICE_ROWS;
    if (full_count < 2 * FOLD_SLICE_ROWS) return 0;
    return (size_t)values * (size_t)(terms < most ? terms : most) * sizeof(double);
}

template <typename Out, int N = 1> struct fold_result { /* where results go, and how */
    Out *out[N];                                        /* NULL: not wanted */
    double scale;
    bool add[N];

    __device__ void store(int64_t at, int n, double value) const {
        const real<Out> scaled = (real<Out>)(value * scale);
        if (out[n] != NULL) out[n][at] = (Out)(add[n] ? (real<Out>)out[n][at] + scaled : scaled);
    }
};

template <typename Out> fold_result<Out> fold_into(Out *out, double scale, bool add) {
    return {{out}, scale, {add}};
}

/* f(j, the values of term j) for the WIDTH terms of these packs. */
template <int WIDTH, typename Op, typename F, typename... In>
__device__ void fold_pack(const Op &op, F f, const pack<WIDTH, In> &...in) {
    for (int j = 0; j < WIDTH; j++) f(j, fold_values_of(op((real<In>)in.at[j]...)));
}

template <int WIDTH, typename Op, typename F, typename... In, size_t... K>
__device__ void fold_terms(const fold_shape &s, std::index_sequence<K...>, const Op &op,
                           const int64_t *base, int64_t position, F f, const In *...in) {
    int64_t offset[sizeof...(In) + 1];
    walk_seek(s.reduced, position, offset);
    fold_pack<WIDTH>(
        op, f,
        walk_load<WIDTH>(in + base[K + 1] + offset[K + 1], WIDTH == 1 ? 1 : s.inner[K + 1])...);
}

static inline __device__ int64_t fold_slice_end(const fold_shape &s, int64_t slice) {
    const int64_t end = (slice + 1) * s.slice_size;
    return end < s.reduced.count ? end : s.reduced.count;
}

template <typename Op, typename... In>
constexpr int fold_count = fold_width<decltype(std::declval<Op>()(real<In>()...))>::value;

/* GROUP threads to an item, an item being a slice of a target. */
template <int GROUP, int WIDTH, fold_kind KIND, typename Op, typename Out, int N, typename... In>
__global__ void fold_rows(fold_shape s, Op op, fold_result<Out, N> result, const In *...in) {
    op.load();
    const int64_t items = s.kept.count * s.slice_count;
    for (int64_t item = group_index<GROUP>(); item < items; item += group_count<GROUP>()) {
        int64_t base[sizeof...(In) + 1];
        walk_seek(s.kept, item / s.slice_count, base);
        const int64_t slice = item % s.slice_count, end = fold_slice_end(s, slice);
        double total[N];
        for (int n = 0; n < N; n++) total[n] = fold_nothing<KIND>();
        const auto add = [&](int, const fold_values<N> &term) {
            for (int n = 0; n < N; n++) total[n] = fold_two<KIND>()(total[n], term.at[n]);
        };
        LAUNCH_AHEAD
        for (int64_t r = slice * s.slice_size + group_lane<GROUP>() * WIDTH; r < end;
             r += GROUP * WIDTH)
            fold_terms<WIDTH>(s, std::index_sequence_for<In...>(), op, base, r, add, in...);
        for (int n = 0; n < N; n++) {
            total[n] = group_fold<GROUP>(total[n], fold_two<KIND>());
            if (group_lane<GROUP>() == 0) result.store(item, n, total[n]);
        }
    }
}

/* A block to FOLD_COLUMNS neighbouring packs of targets and one slice. */
template <int WIDTH, fold_kind KIND, typename Op, typename Out, int N, typename... In>
__global__ void fold_columns(fold_shape s, Op op, fold_result<Out, N> result, const In *...in) {
    SHARED(double, part, LAUNCH_THREADS *WIDTH);
    constexpr int TILE = FOLD_COLUMNS * WIDTH;
    op.load();
    const int64_t tiles = (s.kept.count + TILE - 1) / TILE;
    const int column = (int)threadIdx.x % FOLD_COLUMNS, row = (int)threadIdx.x / FOLD_COLUMNS;
    for (int64_t item = blockIdx.x; item < tiles * s.slice_count; item += gridDim.x) {
        const int64_t tile = item / s.slice_count * TILE, target = tile + column * WIDTH;
        const int64_t slice = item % s.slice_count, end = fold_slice_end(s, slice);
        int64_t base[sizeof...(In) + 1];
        walk_seek(s.kept, target < s.kept.count ? target : 0, base);
        double total[WIDTH][N];
        for (int j = 0; j < WIDTH; j++)
            for (int n = 0; n < N; n++) total[j][n] = fold_nothing<KIND>();
        const auto add = [&](int j, const fold_values<N> &term) {
            for (int n = 0; n < N; n++) total[j][n] = fold_two<KIND>()(total[j][n], term.at[n]);
        };
        LAUNCH_AHEAD
        for (int64_t r = slice * s.slice_size + row; r < end; r += FOLD_ROWS)
            fold_terms<WIDTH>(s, std::index_sequence_for<In...>(), op, base, r, add, in...);
        for (int n = 0; n < N; n++) {
            for (int j = 0; j < WIDTH; j++)
                part[(row * WIDTH + j) * FOLD_COLUMNS + column] = total[j][n];
            __syncthreads();
            for (int at = (int)threadIdx.x; at < TILE; at += LAUNCH_THREADS) {
                const int64_t mine = tile + at % FOLD_COLUMNS * WIDTH + at / FOLD_COLUMNS;
                double sum = part[at];
                for (int i = 1; i < FOLD_ROWS; i++)
                    sum = fold_two<KIND>()(sum, (double)part[i * TILE + at]);
                if (mine < s.kept.count) result.store(mine * s.slice_count + slice, n, sum);
            }
            __syncthreads();
        }
    }
}

struct fold_self : map_op {
    template <typename R> __device__ R operator()(R value) const { return value; }
    template <typename R> __device__ fold_values<2> operator()(R first, R second) const {
        return {{(double)first, (double)second}};
    }
};

template <int WIDTH, fold_kind KIND, typename Op, typename Out, int N, typename... In>
quern_status fold_launch(quern_stream *stream, const fold_shape &s, const Op &op,
                         const fold_result<Out, N> &result, const In *...in) {
    const int64_t items = s.kept.count * s.slice_count;
    if (s.columns) {
        const int64_t tile = FOLD_COLUMNS * WIDTH, tiles = (s.kept.count + tile - 1) / tile;
        return launch(stream, launch_over(tiles * s.slice_count * LAUNCH_THREADS),
                      fold_columns<WIDTH, KIND, Op, Out, N, In...>, s, op, result, in...);
    }
    if (s.block_rows)
        return launch(stream, group_shape<LAUNCH_THREADS>(items),
                      fold_rows<LAUNCH_THREADS, WIDTH, KIND, Op, Out, N, In...>, s, op, result,
                      in...);
    return launch(stream, group_shape<GROUP_WARP>(items),
                  fold_rows<GROUP_WARP, WIDTH, KIND, Op, Out, N, In...>, s, op, result, in...);
}

/* The second launch: `count` targets of `slices` numbers each. */
static inline fold_shape fold_of_slices(int64_t count, int64_t slices, int32_t values) {
    fold_shape s = {};
    s.kept = {1, 1 + values, count, {count}, {{1}}};
    s.reduced = {1, 1 + values, slices, {slices}, {{0}}};
    for (int32_t n = 1; n <= values; n++) {
        s.kept.stride[n][0] = slices;
        s.reduced.stride[n][0] = 1;
    }
    s.slice_count = 1;
    s.slice_size = slices;
    s.width = 1;
    return s;
}

template <fold_kind KIND, typename Out, int N>
quern_status fold_slices_run(quern_stream *stream, const fold_shape &s,
                             const fold_result<Out, N> &result,
                             const fold_result<double, N> &partial) {
    const auto run = [&](const auto *...from) {
        return launch(stream, group_shape<GROUP_WARP>(s.kept.count),
                      fold_rows<GROUP_WARP, 1, KIND, fold_self, Out, N, decltype(0.0 * *from)...>,
                      s, fold_self(), result, from...);
    };
    if constexpr (N == 1)
        return run((const double *)partial.out[0]);
    else
        return run((const double *)partial.out[0], (const double *)partial.out[1]);
}

template <int WIDTH, fold_kind KIND, typename Op, typename Out, int N, typename... In>
quern_status fold_packed(quern_stream *stream, const walk &w, const Op &op,
                         const fold_result<Out, N> &result, void *scratch, const In *...in) {
    const fold_shape s = fold_shape_of(&w, WIDTH);
    if (s.width != WIDTH) return fold_packed<1, KIND>(stream, w, op, result, scratch, in...);
    if (s.slice_count == 1) return fold_launch<WIDTH, KIND>(stream, s, op, result, in...);
    fold_result<double, N> partial = {};
    partial.scale = 1;
    for (int n = 0; n < N; n++)
        partial.out[n] = (double *)scratch + n * s.kept.count * s.slice_count;
    QUERN_TRY((fold_launch<WIDTH, KIND>(stream, s, op, partial, in...)));
    return fold_slices_run<KIND>(stream, fold_of_slices(s.kept.count, s.slice_count, N), result,
                                 partial);
}

/* Operand 0 of the closed walk is result.out, then in…. */
template <fold_kind KIND, typename Op, typename Out, int N, typename First, typename... More>
quern_status fold_run(quern_stream *stream, const walk &w, const Op &op,
                      const fold_result<Out, N> &result, void *scratch, const First *first,
                      const More *...more) {
    constexpr int WIDTH = pack_width<First>();
    static_assert(N == fold_count<Op, First, More...>, "a target for each number of a term");
    if (walk_packs(&w, WIDTH, 1) && walk_aligned<WIDTH>(&w, first, more...))
        return fold_packed<WIDTH, KIND>(stream, w, op, result, scratch, first, more...);
    return fold_packed<1, KIND>(stream, w, op, result, scratch, first, more...);
}

/* The walk of a fold of whole contiguous views into one number. */
static inline walk fold_all(int64_t count, int32_t operand_count) {
    walk w = {1, operand_count + 1, count, {count}, {}};
    for (int32_t o = 1; o <= operand_count; o++) w.stride[o][0] = 1;
    return w;
}

#endif
