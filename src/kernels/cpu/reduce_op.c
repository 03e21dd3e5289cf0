#ifndef REAL
#include "reduce_op.h"
#include "cpu.h"
#include "real.h"
#include "vector_math.h"

#define REAL_FILE "reduce_op.c"
#include "each_real.h"

static quern_view kept_view(const quern_kernel_args *args, const quern_view *y) {
    const quern_reduce_desc *d = args->attributes;
    return reduce_kept_view(&args->in[0], y, d->axes, d->axis_count);
}

static size_t equals_bytes(const quern_view *y) {
    return ((size_t)y->count * quern_dtype_bytes(y->dtype) + 63) & ~(size_t)63;
}

quern_status reduce_op_plan(quern_kernel_plan *plan) {
    QUERN_TRY(real_check(plan->args));
    plan->forward_scratch_bytes = reduce_scratch_bytes(plan->args->in[0].count);
    return QUERN_OK;
}

quern_status reduce_op_plan_extreme(quern_kernel_plan *plan) {
    QUERN_TRY(reduce_op_plan(plan));
    if (plan->backward)
        plan->backward_scratch_bytes =
            equals_bytes(&plan->args->out[0]) + plan->forward_scratch_bytes;
    return QUERN_OK;
}

int64_t reduce_op_terms(const quern_view *x, const quern_view *y) {
    return y->count == 0 ? 0 : x->count / y->count;
}

void reduce_op_forward(const quern_kernel_args *args, reduce_fold fold, double scale) {
    const quern_view *x = &args->in[0], y = kept_view(args, &args->out[0]);
    walk w;
    walk_begin(&w, x);
    walk_add(&w, &y);
    walk_add(&w, x);
    walk_close(&w);
    reduce_run(
        &w, args->stream,
        &(reduce_job){.dtype = x->dtype, .fold = fold, .scale = scale, .scratch = args->scratch});
}

void reduce_op_spread(const quern_kernel_args *args, double factor) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return;
    const quern_view gy = kept_view(args, &args->grad_out[0]);
    walk w;
    walk_begin(&w, gx);
    walk_add(&w, gx);
    walk_add(&w, &gy);
    walk_close(&w);
    w.factor = factor;
    walk_run(&w, args->stream,
             args->accumulate[0] ? REAL_PICK(gx->dtype, spread_add) : REAL_PICK(gx->dtype, spread));
}

void reduce_op_share(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0], *x = &args->in[0];
    if (gx->data == NULL) return;
    const quern_view y = kept_view(args, &args->out[0]), gy = kept_view(args, &args->grad_out[0]);
    quern_view equals = y;
    equals.data = args->scratch;
    walk w;
    walk_begin(&w, x);
    walk_add(&w, &equals);
    walk_add(&w, x);
    walk_add(&w, &y);
    walk_close(&w);
    reduce_run(&w, args->stream,
               &(reduce_job){.dtype = x->dtype,
                             .term = REAL_PICK(x->dtype, equal_terms),
                             .fold = REDUCE_SUM,
                             .scale = 1.0,
                             .scratch = (char *)args->scratch + equals_bytes(&y)});
    walk_begin(&w, x);
    walk_add(&w, gx);
    walk_add(&w, x);
    walk_add(&w, &y);
    walk_add(&w, &gy);
    walk_add(&w, &equals);
    walk_close(&w);
    walk_run(&w, args->stream,
             args->accumulate[0] ? REAL_PICK(gx->dtype, share_add) : REAL_PICK(gx->dtype, share));
}

#else

static void REAL_NAME(spread)(const walk_row *row) {
    REAL *gx = row->data[0];
    const REAL *gy = row->data[1], factor = (REAL)row->factor;
    const int64_t step = row->stride[1];
    if (step == 0) {
        const REAL g = gy[0] * factor;
        for (int64_t i = 0; i < row->count; i++) gx[i] = g;
    } else {
        VECTOR_LOOP
        for (int64_t i = 0; i < row->count; i++) gx[i] = gy[i] * factor;
    }
}

static void REAL_NAME(spread_add)(const walk_row *row) {
    REAL *gx = row->data[0];
    const REAL *gy = row->data[1], factor = (REAL)row->factor;
    const int64_t step = row->stride[1];
    if (step == 0) {
        const REAL g = gy[0] * factor;
        for (int64_t i = 0; i < row->count; i++) gx[i] += g;
    } else {
        VECTOR_LOOP
        for (int64_t i = 0; i < row->count; i++) gx[i] += gy[i] * factor;
    }
}

static inline bool REAL_NAME(equal)(REAL x, REAL y) { return (x == y) | ((x != x) & (y != y)); }

static void REAL_NAME(equal_terms)(const walk_row *row) {
    REAL *term = row->data[0];
    const REAL *x = row->data[1], *y = row->data[2];
    const int64_t step = row->stride[2];
    VECTOR_LOOP
    for (int64_t i = 0; i < row->count; i++)
        term[i] = REAL_NAME(equal)(x[i], y[i * step]) ? (REAL)1 : (REAL)0;
}

static inline REAL REAL_NAME(share_of)(const walk_row *row, int64_t i) {
    const REAL *x = row->data[1], *y = row->data[2], *gy = row->data[3], *equals = row->data[4];
    const int64_t at = i * row->stride[2];
    return REAL_NAME(equal)(x[i], y[at]) ? gy[at] / equals[at] : (REAL)0;
}

static void REAL_NAME(share)(const walk_row *row) {
    REAL *gx = row->data[0];
    for (int64_t i = 0; i < row->count; i++) gx[i] = REAL_NAME(share_of)(row, i);
}

static void REAL_NAME(share_add)(const walk_row *row) {
    REAL *gx = row->data[0];
    for (int64_t i = 0; i < row->count; i++) gx[i] += REAL_NAME(share_of)(row, i);
}

#endif
