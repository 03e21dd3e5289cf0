/* layer_norm - y = w n + b over the last axis, n = (x - mean) inverse, inverse = 1 / sqrt(variance
 * + epsilon), per row. With h = gy w:  gx = inverse (h - mean(h) - n mean(h n));  gw = sum gy n;
 * gb = sum gy over rows.
 * Shapes   x (..., C), w (C), b (C) or absent.   Saved: mean, then inverse, of each row.
 * A warp or a block works on a row; mean before variance, so that neither cancels. gw and gb are
 * folds over the rows (fold.h).
 * Cost     1 read of x from memory (2 more from cache) and 1 write forward; gx 2 reads and 1 write,
 *          gw 2 reads, gb 1.
 * Deterministic: yes, fixed order. Source: Ba, Kiros, Hinton, "Layer normalization" (2016). */
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

struct weight_term : map_op {
    template <typename R> __device__ R operator()(R g, R x, R mean, R inverse) const {
        return g * ((x - mean) * inverse);
    }
};

/* gw and gb: (C) from rows of (rows, C), with a number of each row beside them. */
template <typename T>
quern_status parameter_gradients(const quern_kernel_args *args, const norm_rows &n) {
    const walk w = {2,
                    5,
                    n.rows * n.size,
                    {n.rows, n.size},
                    {{0, 1}, {n.size, 1}, {n.size, 1}, {1, 0}, {1, 0}}};
    const T *gy = (const T *)args->grad_out[0].data;
    const real<T> *saved = (const real<T> *)args->saved;
    for (int32_t i = 1; i <= 2; i++) {
        const fold_result<T> result = {(T *)args->grad_in[i].data, 1, args->accumulate[i]};
        if (result.out == NULL) continue;
        if (i == 1)
            QUERN_TRY(fold_run<FOLD_SUM>(args->stream, w, weight_term(), result, args->scratch, gy,
                                         (const T *)args->in[0].data, saved, saved + n.rows));
        else
            QUERN_TRY(fold_run<FOLD_SUM>(args->stream, w, fold_self(), result, args->scratch, gy));
    }
    return QUERN_OK;
}

quern_status plan(quern_kernel_plan *p) {
    const quern_view *x = &p->args->in[0];
    QUERN_TRY(real_check(x->dtype));
    if (!p->backward) return QUERN_OK;
    p->backward_scratch_bytes = fold_scratch_bytes(x->count);
    return bytes_of(rows_of(x).rows, 2 * sizeof(double), &p->saved_bytes);
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
        QUERN_TRY((parameter_gradients<T>(args, n)));
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
