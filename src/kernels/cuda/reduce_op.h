/* reduce_op.h - what sum, mean, max and min share: y is a fold of x over axes, and backward spreads
 * gy over them again.
 * Attributes, resolved: `axes` ascending, all listed, axis_count >= 0. No axes at all (a scalar x):
 * y = x.
 * Cost: forward reads x once; backward reads gy (max, min: and x, twice) and writes gx once.
 * Deterministic: yes, in the order of fold.h; a spread has no sum. */
#ifndef QUERN_KERNELS_CUDA_REDUCE_OP_H
#define QUERN_KERNELS_CUDA_REDUCE_OP_H

#include "fold.h"

/* A reduction's output with the reduced axes kept as 1, so that it broadcasts. */
static inline quern_view reduce_kept_view(const quern_kernel_args *args, const quern_view *y) {
    const quern_reduce_desc *d = (const quern_reduce_desc *)args->attributes;
    const quern_view *x = &args->in[0];
    int64_t dim[QUERN_RANK_MAX];
    for (int32_t i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    for (int32_t i = 0; i < d->axis_count; i++) dim[d->axes[i]] = 1;
    return view_with_dims(y, x->rank, dim);
}

/* A walk over x's shape with these operands; the first is the output. */
template <typename... Views> walk reduce_walk(const quern_view *x, const Views *...operand) {
    walk w = walk_axes_of(x);
    (walk_axes_add(&w, operand), ...);
    walk_axes_close(&w);
    return w;
}

/* Terms of one y. */
static inline int64_t reduce_terms(const quern_view *x, const quern_view *y) {
    return y->count == 0 ? 0 : x->count / y->count;
}

static inline quern_status reduce_plan(quern_kernel_plan *plan) {
    QUERN_TRY(real_check(plan->args->in[0].dtype));
    plan->forward_scratch_bytes = fold_scratch_bytes(plan->args->in[0].count);
    return QUERN_OK;
}

template <fold_kind KIND> quern_status reduce_forward(const quern_kernel_args *args, double scale) {
    const quern_view *x = &args->in[0], y = reduce_kept_view(args, &args->out[0]);
    const walk w = reduce_walk(x, &y, x);
    return real_dispatch(x->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return fold_run<KIND>(args->stream, w, fold_self(), fold_into((T *)y.data, scale, false),
                              args->scratch, (const T *)x->data);
    });
}

struct reduce_spread_op : map_op {
    double factor;
    template <typename R> __device__ R operator()(int64_t, R g) const { return g * (R)factor; }
};

/* gx = factor gy of its target. */
static inline quern_status reduce_spread(const quern_kernel_args *args, double factor) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    const quern_view gy = reduce_kept_view(args, &args->grad_out[0]);
    const walk w = reduce_walk(gx, gx, &gy);
    reduce_spread_op op = {};
    op.factor = factor;
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return walk_run(args->stream, w, op, args->accumulate[0], (T *)gx->data,
                        (const T *)gy.data);
    });
}

/* max and min: backward counts the equals in its scratch. */
static inline size_t reduce_equals_bytes(const quern_view *y) {
    return ((size_t)y->count * sizeof(double) + 63) & ~(size_t)63;
}

static inline quern_status reduce_plan_extreme(quern_kernel_plan *plan) {
    QUERN_TRY(reduce_plan(plan));
    if (plan->backward)
        plan->backward_scratch_bytes =
            reduce_equals_bytes(&plan->args->out[0]) + plan->forward_scratch_bytes;
    return QUERN_OK;
}

/* NaN equals NaN here, so that a NaN that won forward gets the gradient. */
template <typename R> __device__ bool reduce_equal(R x, R y) {
    return x == y || (x != x && y != y);
}

struct reduce_equal_op : map_op {
    template <typename R> __device__ double operator()(R x, R y) const {
        return reduce_equal(x, y) ? 1 : 0;
    }
};

struct reduce_share_op : map_op {
    template <typename R> __device__ R operator()(int64_t, R x, R y, R g, double equals) const {
        return reduce_equal(x, y) ? g / (R)equals : (R)0;
    }
};

/* gx = gy / (number of x equal to y) where x equals y, else 0. */
static inline quern_status reduce_share(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0], *x = &args->in[0];
    if (gx->data == NULL) return QUERN_OK;
    const quern_view y = reduce_kept_view(args, &args->out[0]);
    const quern_view gy = reduce_kept_view(args, &args->grad_out[0]);
    double *equals = (double *)args->scratch;
    void *rest = (char *)args->scratch + reduce_equals_bytes(&y);
    const walk counting = reduce_walk(x, &y, x, &y), sharing = reduce_walk(x, gx, x, &y, &gy, &y);
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *from = (const T *)x->data, *extreme = (const T *)y.data;
        QUERN_TRY(fold_run<FOLD_SUM>(args->stream, counting, reduce_equal_op(),
                                     fold_into(equals, 1, false), rest, from, extreme));
        return walk_run(args->stream, sharing, reduce_share_op(), args->accumulate[0],
                        (T *)gx->data, from, extreme, (const T *)gy.data, (const double *)equals);
    });
}

#endif
