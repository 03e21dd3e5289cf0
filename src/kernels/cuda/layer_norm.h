/* layer_norm.h - the launchers of layer_norm and of add_layer_norm, which normalises a sum that it
 * makes itself: NORM_KERNEL(false), NORM_KERNEL(true).
 *
 * With n = (x - mean) inverse, inverse = 1 / sqrt(variance + epsilon), per row and h = gy w:
 *   y = w n + b;  gx = inverse (h - mean(h) - n mean(h n));  gw = sum gy n, gb = sum gy over rows.
 * A warp or a block works on a row; mean before variance, so that neither cancels. Backward makes
 * all gradients in one pass where a row fits in a group's registers: a group walks down the rows
 * with its columns' sums of gw and gb, a block's sums lie in scratch, and a fold (fold.h) adds the
 * blocks. Longer or odd rows, and F64: gw and gb are a fold of the rows, gx a pass of its own.
 * Cost     forward 1 read of x from memory (2 more from cache), 1 write: the floor; backward 2
 *          reads and 1 write, the floor, and 2 C sums for each of PARTIAL_BLOCKS blocks; in two
 *          passes 4 reads and 1 write.
 * Deterministic: yes, fixed order: which rows a group takes follows from their number. */
#ifndef QUERN_KERNELS_CUDA_LAYER_NORM_H
#define QUERN_KERNELS_CUDA_LAYER_NORM_H

#include "constant.h"
#include "fold.h"

namespace {

struct norm_rows {
    int64_t rows, size;
};

norm_rows rows_of(const quern_view *x) {
    const int64_t size = x->dim[x->rank - 1];
    return {size == 0 ? 0 : x->count / size, size};
}

/* Where things stand: x, weight, bias and y, or a, b, weight, bias and sum, y. */
template <bool SUM> constexpr int norm_y = SUM ? 1 : 0;
template <bool SUM> constexpr int norm_weight = SUM ? 2 : 1;
template <bool SUM> constexpr int norm_bias = norm_weight<SUM> + 1;

/* Of a sum a thread writes what it will read itself, rounded as it is stored. */
template <typename T> struct norm_source {
    const T *x, *a, *b;
    T *sum; /* x again */
};

/* f(x) for this thread's elements of a row. */
template <bool SUM, int GROUP, int WIDTH, typename T, typename F>
__device__ void norm_take(const norm_source<T> &from, int64_t start, int64_t size, F f) {
    typedef real<T> R;
    if constexpr (!SUM) {
        group_each<GROUP, WIDTH>(from.x + start, size, [&](int64_t, R value) { f(value); });
    } else {
        for (int64_t i = (int64_t)group_lane<GROUP>() * WIDTH; i < size; i += GROUP * WIDTH) {
            const pack<WIDTH, T> a = pack_load<WIDTH>(from.a + start + i);
            const pack<WIDTH, T> b = pack_load<WIDTH>(from.b + start + i);
            pack<WIDTH, T> sum;
            for (int j = 0; j < WIDTH; j++) {
                sum.at[j] = (T)((R)a.at[j] + (R)b.at[j]);
                f((R)sum.at[j]);
            }
            *reinterpret_cast<pack<WIDTH, T> *>(from.sum + start + i) = sum;
        }
    }
}

template <typename R> struct forward_op : map_op {
    R mean, inverse;
    bool has_bias;
    __device__ R operator()(int64_t, R x, R weight, R bias) const {
        const R y = (x - mean) * inverse * weight;
        return has_bias ? y + bias : y;
    }
};

template <int GROUP, int WIDTH, bool SUM, typename T>
__global__ void norm_forward_kernel(norm_rows n, real<T> epsilon, norm_source<T> from,
                                    const T *weight, const T *bias, T *y, real<T> *saved) {
    typedef real<T> R;
    forward_op<R> op = {};
    op.has_bias = bias != NULL;
    for (int64_t row = group_index<GROUP>(); row < n.rows; row += group_count<GROUP>()) {
        const T *x = from.x + row * n.size;
        R sum = 0, squares = 0;
        norm_take<SUM, GROUP, WIDTH>(from, row * n.size, n.size, [&](R value) { sum += value; });
        op.mean = group_sum<GROUP>(sum) / (R)n.size;
        group_each<GROUP, WIDTH>(
            x, n.size, [&](int64_t, R value) { squares += (value - op.mean) * (value - op.mean); });
        op.inverse = 1 / sqrt(group_sum<GROUP>(squares) / (R)n.size + epsilon);
        group_map<GROUP, WIDTH>(n.size, op, false, y + row * n.size, x, weight,
                                bias != NULL ? bias : weight);
        if (group_lane<GROUP>() != 0 || saved == NULL) continue;
        saved[row] = op.mean;
        saved[n.rows + row] = op.inverse;
    }
}

template <typename R> struct backward_op : map_op {
    R mean, inverse, center, tilt;
    __device__ R operator()(int64_t, R g, R weight, R x) const {
        return inverse * (g * weight - center - (x - mean) * tilt);
    }
};

/* Where gx goes; of a sum, to both operands, with what else reached it. Each element of `plus` is
 * read by the thread that writes over it, and before. */
template <typename T> struct norm_target {
    T *to[2]; /* NULL: not wanted; to[1] only where to[0] is, and never the same */
    bool add[2];
    const T *plus; /* NULL: nothing */
};

template <bool SUM, int WIDTH, typename T>
__device__ void norm_put(const norm_target<T> &out, int64_t at, const backward_op<real<T>> &op,
                         const pack<WIDTH, T> &g, const pack<WIDTH, T> &weight,
                         const pack<WIDTH, T> &x) {
    typedef real<T> R;
    if constexpr (!SUM) {
        map_pack<WIDTH>(op, 0, out.add[0], out.to[0] + at, g, weight, x);
    } else {
        R value[WIDTH];
        pack<WIDTH, T> plus = {};
        if (out.plus != NULL) plus = pack_load<WIDTH>(out.plus + at);
        for (int j = 0; j < WIDTH; j++) {
            value[j] = op(0, (R)g.at[j], (R)weight.at[j], (R)x.at[j]);
            if (out.plus != NULL) value[j] += (R)plus.at[j];
        }
        LAUNCH_UNROLLED
        for (int t = 0; t < 2; t++) {
            if (out.to[t] == NULL) continue;
            pack<WIDTH, T> was = {}, y;
            if (out.add[t]) was = pack_load<WIDTH>(out.to[t] + at);
            for (int j = 0; j < WIDTH; j++)
                y.at[j] = (T)(out.add[t] ? (R)was.at[j] + value[j] : value[j]);
            *reinterpret_cast<pack<WIDTH, T> *>(out.to[t] + at) = y;
        }
    }
}

template <int GROUP, int WIDTH, bool SUM, typename T>
__global__ void norm_backward_kernel(norm_rows n, const T *x, const T *weight, const T *gy,
                                     const real<T> *saved, norm_target<T> out) {
    typedef real<T> R;
    backward_op<R> op = {};
    for (int64_t row = group_index<GROUP>(); row < n.rows; row += group_count<GROUP>()) {
        const int64_t start = row * n.size;
        const T *from = x + start, *g = gy + start;
        op.mean = saved[row];
        op.inverse = saved[n.rows + row];
        R sum = 0, products = 0;
        group_each<GROUP, WIDTH>(g, n.size, [&](int64_t i, R value) {
            const R h = value * (R)weight[i];
            sum += h;
            products += h * ((R)from[i] - op.mean);
        });
        op.center = group_sum<GROUP>(sum) / (R)n.size;
        op.tilt = group_sum<GROUP>(products) * op.inverse * op.inverse / (R)n.size;
        if constexpr (!SUM) {
            group_map<GROUP, WIDTH>(n.size, op, out.add[0], out.to[0] + start, g, weight, from);
        } else {
            for (int64_t i = (int64_t)group_lane<GROUP>() * WIDTH; i < n.size; i += GROUP * WIDTH)
                norm_put<SUM, WIDTH>(out, start + i, op, pack_load<WIDTH>(g + i),
                                     pack_load<WIDTH>(weight + i), pack_load<WIDTH>(from + i));
        }
    }
}

struct parameter_terms : map_op { /* of gw and of gb */
    template <typename R> __device__ fold_values<2> operator()(R g, R x, R mean, R inverse) const {
        return {{(double)(g * ((x - mean) * inverse)), (double)g}};
    }
};

template <bool SUM> bool wants_parameters(const quern_kernel_args *args) {
    const quern_view *g = args->grad_in;
    return g[norm_weight<SUM>].data != NULL || g[norm_bias<SUM>].data != NULL;
}

template <bool SUM, typename T> fold_result<T, 2> parameters_of(const quern_kernel_args *args) {
    const quern_view *g = args->grad_in;
    return {{(T *)g[norm_weight<SUM>].data, (T *)g[norm_bias<SUM>].data},
            1,
            {args->accumulate[norm_weight<SUM>], args->accumulate[norm_bias<SUM>]}};
}

/* What is normalised. */
template <bool SUM, typename T> T *normalised(const quern_kernel_args *args) {
    return (T *)(SUM ? args->out[0].data : args->in[0].data);
}

template <bool SUM, typename T> norm_target<T> target_of(const quern_kernel_args *args) {
    norm_target<T> t = {{(T *)args->grad_in[0].data, NULL}, {args->accumulate[0], false}, NULL};
    if (!SUM) return t;
    T *const other = (T *)args->grad_in[1].data;
    t.plus = (const T *)args->grad_out[0].data;
    if (other == NULL || other == t.to[0]) return t;
    const int at = t.to[0] == NULL ? 0 : 1;
    t.to[at] = other;
    t.add[at] = args->accumulate[1];
    return t;
}

/* gw and gb: (C) from rows of (rows, C), with a number of each row beside them. */
template <bool SUM, typename T>
quern_status parameter_gradients(const quern_kernel_args *args, const norm_rows &n) {
    const walk w = {2,
                    5,
                    n.rows * n.size,
                    {n.rows, n.size},
                    {{0, 1}, {n.size, 1}, {n.size, 1}, {1, 0}, {1, 0}}};
    const real<T> *saved = (const real<T> *)args->saved;
    return fold_run<FOLD_SUM>(args->stream, w, parameter_terms(), parameters_of<SUM, T>(args),
                              args->scratch, (const T *)args->grad_out[norm_y<SUM>].data,
                              (const T *)normalised<SUM, T>(args), saved, saved + n.rows);
}

constexpr int PACKS_MOST = 4; /* of a row that a thread holds */
constexpr int WHOLE_THREADS = 128;
constexpr int64_t PARTIAL_BLOCKS = 512;

/* Blocks of a multiprocessor, so that what a thread holds of `columns` fits in its registers. */
[[maybe_unused]] constexpr int whole_blocks(int columns) {
    return columns <= 16 ? 4 : (columns <= 24 ? 3 : 2);
}

template <typename T> struct whole_rows {
    norm_rows n;
    const T *x, *weight, *gy;
    const real<T> *saved;
    norm_target<T> out;
    real<T> *partial; /* [block][gw, gb][column]; NULL: not wanted */
};

template <typename R> struct row_sums { R gradient, product; };

/* A thread's columns of one row; those beyond the row are zero, and change no sum. */
template <int GROUP, int PACKS, int WIDTH, typename T> struct row_part {
    pack<WIDTH, T> g[PACKS], x[PACKS];

    static __device__ int64_t column(int k) {
        return ((int64_t)k * GROUP + group_lane<GROUP>()) * WIDTH;
    }
    __device__ void load(const whole_rows<T> &a, int64_t row) {
        for (int k = 0; k < PACKS; k++) {
            g[k] = x[k] = pack<WIDTH, T>{};
            if (column(k) >= a.n.size) continue;
            g[k] = pack_load<WIDTH>(a.gy + row * a.n.size + column(k));
            x[k] = pack_load<WIDTH>(a.x + row * a.n.size + column(k));
        }
    }
    /* From cache at each use: registers are what there is least of. */
    static __device__ pack<WIDTH, T> weight(const whole_rows<T> &a, int k) {
        return column(k) < a.n.size ? pack_load<WIDTH>(a.weight + column(k)) : pack<WIDTH, T>{};
    }
    /* (center, tilt) of backward_op. */
    template <typename R>
    __device__ row_sums<R> sums(const whole_rows<T> &a, R mean, R inverse) const {
        row_sums<R> s = {0, 0};
        for (int k = 0; k < PACKS; k++) {
            const pack<WIDTH, T> w = weight(a, k);
            for (int j = 0; j < WIDTH; j++) {
                const R h = (R)g[k].at[j] * (R)w.at[j];
                s.gradient += h;
                s.product += h * ((R)x[k].at[j] - mean);
            }
        }
        s = group_fold<GROUP>(s, [](row_sums<R> p, row_sums<R> q) -> row_sums<R> {
            return {p.gradient + q.gradient, p.product + q.product};
        });
        const R each = 1 / (R)a.n.size;
        return {s.gradient * each, s.product * inverse * inverse * each};
    }
};

/* What a thread has summed of its columns; then, with the block's other groups, in scratch. */
template <int GROUP, int PACKS, int WIDTH, typename T> struct column_sums {
    typedef real<T> R;
    R of[2][PACKS][WIDTH]; /* gw, gb */

    __device__ void add(const row_part<GROUP, PACKS, WIDTH, T> &row, R mean, R inverse) {
        for (int k = 0; k < PACKS; k++)
            for (int j = 0; j < WIDTH; j++) {
                const R g = (R)row.g[k].at[j];
                of[0][k][j] += g * (((R)row.x[k].at[j] - mean) * inverse);
                of[1][k][j] += g;
            }
    }
    __device__ void store(const whole_rows<T> &a) const {
        SHARED(R, part, WHOLE_THREADS * WIDTH);
        R *const to = a.partial + (int64_t)blockIdx.x * 2 * a.n.size;
        LAUNCH_UNROLLED
        for (int i = 0; i < 2 * PACKS; i++) {
            for (int j = 0; j < WIDTH; j++)
                part[j * WHOLE_THREADS + (int)threadIdx.x] = of[i / PACKS][i % PACKS][j];
            __syncthreads();
            for (int at = (int)threadIdx.x; at < GROUP * WIDTH; at += WHOLE_THREADS) {
                const int64_t column = (i % PACKS * GROUP + at % GROUP) * WIDTH + at / GROUP;
                R sum = 0;
                for (int group = 0; group < WHOLE_THREADS / GROUP; group++)
                    sum += part[at / GROUP * WHOLE_THREADS + group * GROUP + at % GROUP];
                if (column < a.n.size) to[i / PACKS * a.n.size + column] = sum;
            }
            __syncthreads();
        }
    }
};

template <int GROUP, int PACKS, int WIDTH, bool SUM, typename T>
__global__ void __launch_bounds__(WHOLE_THREADS, whole_blocks(PACKS *WIDTH))
    norm_whole_kernel(whole_rows<T> a) {
    typedef real<T> R;
    column_sums<GROUP, PACKS, WIDTH, T> sums = {};
    backward_op<R> op = {};
    for (int64_t row = group_index<GROUP>(); row < a.n.rows; row += group_count<GROUP>()) {
        row_part<GROUP, PACKS, WIDTH, T> part;
        part.load(a, row);
        op.mean = a.saved[row];
        op.inverse = a.saved[a.n.rows + row];
        const row_sums<R> s = part.sums(a, op.mean, op.inverse);
        op.center = s.gradient;
        op.tilt = s.product;
        sums.add(part, op.mean, op.inverse);
        for (int k = 0; k < PACKS; k++)
            if (a.out.to[0] != NULL && part.column(k) < a.n.size)
                norm_put<SUM, WIDTH>(a.out, row * a.n.size + part.column(k), op, part.g[k],
                                     part.weight(a, k), part.x[k]);
    }
    if (a.partial != NULL) sums.store(a);
}

/* Blocks whose sums are partial, by rows alone. */
int64_t partial_blocks(const norm_rows &n, int group) {
    const int64_t rows_of_block = WHOLE_THREADS / group;
    const int64_t blocks = (n.rows + rows_of_block - 1) / rows_of_block;
    return blocks < PARTIAL_BLOCKS ? blocks : PARTIAL_BLOCKS;
}

/* For any group: the largest has the most blocks. */
size_t partial_bytes(const norm_rows &n) {
    const size_t bytes =
        (size_t)partial_blocks(n, WHOLE_THREADS) * 2 * (size_t)n.size * sizeof(float);
    return (bytes + 63) & ~(size_t)63;
}

template <int GROUP, int PACKS, int WIDTH, bool SUM, typename T>
quern_status whole_backward(const quern_kernel_args *args, const whole_rows<T> &a) {
    const int64_t blocks = partial_blocks(a.n, GROUP), size = a.n.size;
    const launch_shape shape = {dim3((unsigned)blocks), dim3(WHOLE_THREADS), 0};
    QUERN_TRY(launch(args->stream, shape, norm_whole_kernel<GROUP, PACKS, WIDTH, SUM, T>, a));
    if (a.partial == NULL) return QUERN_OK;
    walk w = {2, 3, blocks * size, {blocks, size}, {{0, 1}, {2 * size, 1}, {2 * size, 1}}};
    walk_axes_close(&w);
    return fold_run<FOLD_SUM>(args->stream, w, fold_self(), parameters_of<SUM, T>(args),
                              (char *)args->scratch + partial_bytes(a.n),
                              (const real<T> *)a.partial, (const real<T> *)a.partial + size);
}

/* f(group, packs) where a row fits in a group's registers. */
template <int WIDTH, typename F> bool whole_dispatch(int64_t size, F f) {
    const int64_t of_warp = GROUP_WARP * WIDTH, of_block = WHOLE_THREADS * WIDTH;
    const bool warp = size <= of_warp * PACKS_MOST;
    if (size > of_block * PACKS_MOST) return false;
    const int64_t packs = warp ? (size + of_warp - 1) / of_warp : (size + of_block - 1) / of_block;
    const auto with = [&](auto group) {
        if (packs <= 1) return f(group, group_constant<1>());
        if (packs == 2) return f(group, group_constant<2>());
        if (packs == 3) return f(group, group_constant<3>());
        return f(group, group_constant<PACKS_MOST>());
    };
    if (warp)
        with(group_constant<GROUP_WARP>());
    else
        with(group_constant<WHOLE_THREADS>());
    return true;
}

/* Whether it could be done in one pass; *status is how it went. */
template <bool SUM, typename T>
bool backward_at_once(const quern_kernel_args *args, const norm_rows &n, quern_status *status) {
    if constexpr (sizeof(real<T>) != sizeof(float)) {
        return false;
    } else {
        constexpr int WIDTH = pack_width<T>();
        const whole_rows<T> a = {n,
                                 normalised<SUM, T>(args),
                                 (const T *)args->in[norm_weight<SUM>].data,
                                 (const T *)args->grad_out[norm_y<SUM>].data,
                                 (const real<T> *)args->saved,
                                 target_of<SUM, T>(args),
                                 wants_parameters<SUM>(args) ? (real<T> *)args->scratch : NULL};
        const bool aligned = pack_aligned<WIDTH>(a.x) && pack_aligned<WIDTH>(a.weight) &&
                             pack_aligned<WIDTH>(a.gy) && pack_aligned<WIDTH>(a.out.to[0]) &&
                             pack_aligned<WIDTH>(a.out.to[1]) && pack_aligned<WIDTH>(a.out.plus);
        if (n.size % WIDTH != 0 || n.rows == 0 || !aligned) return false;
        return whole_dispatch<WIDTH>(n.size, [&](auto group, auto packs) {
            constexpr int GROUP = decltype(group)::value, PACKS = decltype(packs)::value;
            *status = whole_backward<GROUP, PACKS, WIDTH, SUM>(args, a);
        });
    }
}

quern_status norm_plan(quern_kernel_plan *p) {
    const quern_view *x = &p->args->in[0];
    QUERN_TRY(real_check(x->dtype));
    if (!p->backward) return QUERN_OK;
    const norm_rows n = rows_of(x);
    const size_t sums = n.size == 0 ? 0 : partial_bytes(n);
    p->backward_scratch_bytes = sums + fold_scratch_bytes(x->count, 2);
    return bytes_of(n.rows, 2 * sizeof(double), &p->saved_bytes);
}

template <bool SUM> quern_status norm_forward(const quern_kernel_args *args) {
    const norm_rows n = rows_of(&args->in[0]);
    const float epsilon = ((const quern_layer_norm_desc *)args->attributes)->epsilon;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *weight = (const T *)args->in[norm_weight<SUM>].data;
        const T *bias = (const T *)args->in[norm_bias<SUM>].data;
        T *y = (T *)args->out[norm_y<SUM>].data, *x = normalised<SUM, T>(args);
        norm_source<T> from = {x, NULL, NULL, NULL};
        if (SUM) from = {x, (const T *)args->in[0].data, (const T *)args->in[1].data, x};
        return group_dispatch(
            n.size, from.x,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(n.rows),
                              norm_forward_kernel<GROUP, WIDTH, SUM, T>, n, (real<T>)epsilon, from,
                              weight, bias, y, (real<T> *)args->saved);
            },
            y, weight, bias, from.a, from.b);
    });
}

struct norm_copy : map_op {
    template <typename R> __device__ R operator()(int64_t, R g) const { return g; }
};

/* Nothing reached y: the operands get what reached the sum, the parameters nothing. */
template <typename T>
quern_status norm_pass(const quern_kernel_args *args, const norm_target<T> &out) {
    for (int i = norm_weight<true>; i <= norm_bias<true>; i++) {
        const quern_view *g = &args->grad_in[i];
        if (g->data != NULL && !args->accumulate[i])
            QUERN_TRY(constant_fill(args->stream, (T *)g->data, g->count, (real<T>)0));
    }
    for (int t = 0; t < 2; t++)
        if (out.to[t] != NULL)
            QUERN_TRY(map(args->stream, args->grad_in[0].count, norm_copy(), out.add[t], out.to[t],
                          out.plus));
    return QUERN_OK;
}

template <bool SUM> quern_status norm_backward(const quern_kernel_args *args) {
    const norm_rows n = rows_of(&args->grad_in[0]);
    return real_dispatch(args->grad_in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *x = normalised<SUM, T>(args);
        const T *weight = (const T *)args->in[norm_weight<SUM>].data;
        const T *gy = (const T *)args->grad_out[norm_y<SUM>].data;
        const norm_target<T> out = target_of<SUM, T>(args);
        quern_status status = QUERN_OK;
        if (SUM && gy == NULL) return norm_pass(args, out);
        if (backward_at_once<SUM, T>(args, n, &status)) return status;
        if (wants_parameters<SUM>(args)) QUERN_TRY((parameter_gradients<SUM, T>(args, n)));
        if (out.to[0] == NULL) return QUERN_OK;
        return group_dispatch(
            n.size, x,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(n.rows),
                              norm_backward_kernel<GROUP, WIDTH, SUM, T>, n, x, weight, gy,
                              (const real<T> *)args->saved, out);
            },
            weight, gy, (const T *)out.to[0], (const T *)out.to[1], out.plus);
    });
}

} // namespace

#define NORM_KERNEL(of_sum)                                                                        \
    { norm_plan, norm_forward<of_sum>, norm_backward<of_sum>, NULL }

#endif
