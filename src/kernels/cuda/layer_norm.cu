/* layer_norm - y = w n + b over the last axis, n = (x - mean) inverse, inverse = 1 / sqrt(variance
 * + epsilon), per row. With h = gy w:  gx = inverse (h - mean(h) - n mean(h n));  gw = sum gy n;
 * gb = sum gy over rows.
 * Shapes   x (..., C), w (C), b (C) or absent.   Saved: mean, then inverse, of each row.
 * A warp or a block works on a row; mean before variance, so that neither cancels. Backward makes
 * all three gradients in one pass where a row fits in a group's registers: a group walks down the
 * rows with its columns' sums of gw and gb, a block's sums lie in scratch, and a fold (fold.h) adds
 * the blocks. Longer or odd rows, and F64: gw and gb are a fold of the rows, gx a pass of its own.
 * Cost     forward 1 read of x from memory (2 more from cache), 1 write: the floor; backward 2
 *          reads and 1 write, the floor, and 2 C sums for each of PARTIAL_BLOCKS blocks; in two
 *          passes 4 reads and 1 write.
 * Deterministic: yes, fixed order: which rows a group takes follows from their number.
 * Source: Ba, Kiros, Hinton, "Layer normalization" (2016). */
#include "fold.h"

namespace {

struct norm_rows {
    int64_t rows, size;
};

norm_rows rows_of(const quern_view *x) {
    const int64_t size = x->dim[x->rank - 1];
    return {size == 0 ? 0 : x->count / size, size};
}

template <typename R> struct forward_op : map_op {
    R mean, inverse;
    bool has_bias;
    __device__ R operator()(int64_t, R x, R weight, R bias) const {
        const R y = (x - mean) * inverse * weight;
        return has_bias ? y + bias : y;
    }
};

template <int GROUP, int WIDTH, typename T>
__global__ void forward_kernel(norm_rows n, real<T> epsilon, const T *x, const T *weight,
                               const T *bias, T *y, real<T> *saved) {
    typedef real<T> R;
    forward_op<R> op = {};
    op.has_bias = bias != NULL;
    for (int64_t row = group_index<GROUP>(); row < n.rows; row += group_count<GROUP>()) {
        const T *from = x + row * n.size;
        R sum = 0, squares = 0;
        group_each<GROUP, WIDTH>(from, n.size, [&](int64_t, R value) { sum += value; });
        op.mean = group_sum<GROUP>(sum) / (R)n.size;
        group_each<GROUP, WIDTH>(from, n.size, [&](int64_t, R value) {
            squares += (value - op.mean) * (value - op.mean);
        });
        op.inverse = 1 / sqrt(group_sum<GROUP>(squares) / (R)n.size + epsilon);
        group_map<GROUP, WIDTH>(n.size, op, false, y + row * n.size, from, weight,
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

template <int GROUP, int WIDTH, typename T>
__global__ void backward_kernel(norm_rows n, const T *x, const T *weight, const T *gy,
                                const real<T> *saved, bool add, T *gx) {
    typedef real<T> R;
    backward_op<R> op = {};
    for (int64_t row = group_index<GROUP>(); row < n.rows; row += group_count<GROUP>()) {
        const T *from = x + row * n.size;
        op.mean = saved[row];
        op.inverse = saved[n.rows + row];
        R sum = 0, products = 0;
        group_each<GROUP, WIDTH>(gy + row * n.size, n.size, [&](int64_t i, R g) {
            const R h = g * (R)weight[i];
            sum += h;
            products += h * ((R)from[i] - op.mean);
        });
        op.center = group_sum<GROUP>(sum) / (R)n.size;
        op.tilt = group_sum<GROUP>(products) * op.inverse * op.inverse / (R)n.size;
        group_map<GROUP, WIDTH>(n.size, op, add, gx + row * n.size, gy + row * n.size, weight,
                                from);
    }
}

struct parameter_terms : map_op { /* of gw and of gb */
    template <typename R> __device__ fold_values<2> operator()(R g, R x, R mean, R inverse) const {
        return {{(double)(g * ((x - mean) * inverse)), (double)g}};
    }
};

bool wants_parameters(const quern_kernel_args *args) {
    return args->grad_in[1].data != NULL || args->grad_in[2].data != NULL;
}

template <typename T> fold_result<T, 2> parameters_of(const quern_kernel_args *args) {
    return {{(T *)args->grad_in[1].data, (T *)args->grad_in[2].data},
            1,
            {args->accumulate[1], args->accumulate[2]}};
}

/* gw and gb: (C) from rows of (rows, C), with a number of each row beside them. */
template <typename T>
quern_status parameter_gradients(const quern_kernel_args *args, const norm_rows &n) {
    const walk w = {2,
                    5,
                    n.rows * n.size,
                    {n.rows, n.size},
                    {{0, 1}, {n.size, 1}, {n.size, 1}, {1, 0}, {1, 0}}};
    const real<T> *saved = (const real<T> *)args->saved;
    return fold_run<FOLD_SUM>(args->stream, w, parameter_terms(), parameters_of<T>(args),
                              args->scratch, (const T *)args->grad_out[0].data,
                              (const T *)args->in[0].data, saved, saved + n.rows);
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
    T *gx; /* NULL: not wanted */
    bool add;
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

template <int GROUP, int PACKS, int WIDTH, typename T>
__global__ void __launch_bounds__(WHOLE_THREADS, whole_blocks(PACKS *WIDTH))
    whole_kernel(whole_rows<T> a) {
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
            if (a.gx != NULL && part.column(k) < a.n.size)
                map_pack<WIDTH>(op, 0, a.add, a.gx + row * a.n.size + part.column(k), part.g[k],
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

template <int GROUP, int PACKS, int WIDTH, typename T>
quern_status whole_backward(const quern_kernel_args *args, const whole_rows<T> &a) {
    const int64_t blocks = partial_blocks(a.n, GROUP), size = a.n.size;
    const launch_shape shape = {dim3((unsigned)blocks), dim3(WHOLE_THREADS), 0};
    QUERN_TRY(launch(args->stream, shape, whole_kernel<GROUP, PACKS, WIDTH, T>, a));
    if (a.partial == NULL) return QUERN_OK;
    walk w = {2, 3, blocks * size, {blocks, size}, {{0, 1}, {2 * size, 1}, {2 * size, 1}}};
    walk_axes_close(&w);
    return fold_run<FOLD_SUM>(args->stream, w, fold_self(), parameters_of<T>(args),
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
template <typename T>
bool backward_at_once(const quern_kernel_args *args, const norm_rows &n, quern_status *status) {
    if constexpr (sizeof(real<T>) != sizeof(float)) {
        return false;
    } else {
        constexpr int WIDTH = pack_width<T>();
        const whole_rows<T> a = {n,
                                 (const T *)args->in[0].data,
                                 (const T *)args->in[1].data,
                                 (const T *)args->grad_out[0].data,
                                 (const real<T> *)args->saved,
                                 (T *)args->grad_in[0].data,
                                 args->accumulate[0],
                                 wants_parameters(args) ? (real<T> *)args->scratch : NULL};
        const bool aligned = pack_aligned<WIDTH>(a.x) && pack_aligned<WIDTH>(a.weight) &&
                             pack_aligned<WIDTH>(a.gy) && pack_aligned<WIDTH>(a.gx);
        if (n.size % WIDTH != 0 || n.rows == 0 || !aligned) return false;
        return whole_dispatch<WIDTH>(n.size, [&](auto group, auto packs) {
            constexpr int GROUP = decltype(group)::value, PACKS = decltype(packs)::value;
            *status = whole_backward<GROUP, PACKS, WIDTH>(args, a);
        });
    }
}

quern_status plan(quern_kernel_plan *p) {
    const quern_view *x = &p->args->in[0];
    QUERN_TRY(real_check(x->dtype));
    if (!p->backward) return QUERN_OK;
    const norm_rows n = rows_of(x);
    const size_t sums = n.size == 0 ? 0 : partial_bytes(n);
    p->backward_scratch_bytes = sums + fold_scratch_bytes(x->count, 2);
    return bytes_of(n.rows, 2 * sizeof(double), &p->saved_bytes);
}

quern_status forward(const quern_kernel_args *args) {
    const norm_rows n = rows_of(&args->in[0]);
    const float epsilon = ((const quern_layer_norm_desc *)args->attributes)->epsilon;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *x = (const T *)args->in[0].data, *weight = (const T *)args->in[1].data;
        const T *bias = (const T *)args->in[2].data;
        T *y = (T *)args->out[0].data;
        return group_dispatch(
            n.size, x,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(n.rows),
                              forward_kernel<GROUP, WIDTH, T>, n, (real<T>)epsilon, x, weight, bias,
                              y, (real<T> *)args->saved);
            },
            y, weight, bias);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const norm_rows n = rows_of(&args->in[0]);
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *x = (const T *)args->in[0].data, *weight = (const T *)args->in[1].data;
        const T *gy = (const T *)args->grad_out[0].data;
        T *gx = (T *)args->grad_in[0].data;
        quern_status status = QUERN_OK;
        if (backward_at_once<T>(args, n, &status)) return status;
        if (wants_parameters(args)) QUERN_TRY((parameter_gradients<T>(args, n)));
        if (gx == NULL) return QUERN_OK;
        return group_dispatch(
            n.size, x,
            [&](auto group, auto width) {
                constexpr int GROUP = decltype(group)::value, WIDTH = decltype(width)::value;
                return launch(args->stream, group_shape<GROUP>(n.rows),
                              backward_kernel<GROUP, WIDTH, T>, n, x, weight, gy,
                              (const real<T> *)args->saved, args->accumulate[0], gx);
            },
            weight, gy, gx);
    });
}

} // namespace

const quern_kernel quern_cuda_layer_norm = {plan, forward, backward, NULL};
