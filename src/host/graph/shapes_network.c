/* shapes_network.c - shape rules of products, convolutions, pools, norms, losses and metrics. */
#include "shapes.h"

#include "../base/size.h"

#include <math.h>

static quern_status need_dtype(const quern_shape *x, const quern_shape *other) {
    return other->rank < 0 || x->dtype == other->dtype ? QUERN_OK
                                                       : shape_fail("dtypes differ:", x, other);
}

/* A vector of `count` of x's dtype; rank -1 is an absent optional. */
static quern_status need_vector(const char *what, const quern_shape *v, const quern_shape *x,
                                int64_t count) {
    if (v->rank < 0) return QUERN_OK;
    if (v->rank == 1 && v->dim[0] == count && v->dtype == x->dtype) return QUERN_OK;
    char name[160];
    shape_text(v, name, sizeof name);
    return quern_fail(QUERN_SHAPE, "%s must be %s (%lld), is %s %s", what,
                      quern_dtype_name(x->dtype), (long long)count, quern_dtype_name(v->dtype),
                      name);
}

quern_status shape_linear(const quern_shape_args *args) {
    const quern_shape *x = &args->in[0], *w = &args->in[1];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 1, QUERN_RANK_MAX));
    QUERN_TRY(need_dtype(x, w));
    if (w->rank != 2 || w->dim[1] != x->dim[x->rank - 1])
        return shape_fail("weight is not (out, last axis of x):", x, w);
    if (args->input_count > 2) QUERN_TRY(need_vector("bias", &args->in[2], x, w->dim[0]));
    args->out[0] = *x;
    args->out[0].dim[x->rank - 1] = w->dim[0];
    return QUERN_OK;
}

quern_status shape_matmul(const quern_shape_args *args) {
    const quern_matmul_desc *d = args->attributes;
    const quern_shape *a = &args->in[0], *b = &args->in[1];
    QUERN_TRY(shape_need_float(a));
    QUERN_TRY(shape_need_rank(a, 2, QUERN_RANK_MAX));
    const int32_t r = a->rank;
    if (b->rank != r || a->dtype != b->dtype) return shape_fail("do not fit:", a, b);
    for (int32_t i = 0; i < r - 2; i++)
        if (a->dim[i] != b->dim[i]) return shape_fail("leading axes differ:", a, b);
    const int64_t inner_a = a->dim[d->transpose_a ? r - 2 : r - 1];
    const int64_t inner_b = b->dim[d->transpose_b ? r - 1 : r - 2];
    if (inner_a != inner_b) return shape_fail("inner axes differ:", a, b);
    args->out[0] = *a;
    args->out[0].dim[r - 2] = a->dim[d->transpose_a ? r - 1 : r - 2];
    args->out[0].dim[r - 1] = b->dim[d->transpose_b ? r - 2 : r - 1];
    return QUERN_OK;
}

/* Windows along one axis: floor((size + 2 padding - extent) / stride) + 1. */
static bool window_count(int64_t size, int64_t extent, int64_t stride, int64_t padding,
                         int64_t *out) {
    int64_t padded = 0;
    if (size < 0 || !count_add(size, 2 * padding, &padded) || padded < extent) return false;
    *out = (padded - extent) / stride + 1;
    return true;
}

static void default_one(int32_t value[2]) {
    for (int i = 0; i < 2; i++)
        if (value[i] == 0) value[i] = 1;
}

static bool all_at_least(const int32_t value[2], int32_t least) {
    return value[0] >= least && value[1] >= least;
}

static quern_status conv2d_resolve(quern_conv2d_desc *d) {
    default_one(d->stride);
    default_one(d->dilation);
    if (d->groups == 0) d->groups = 1;
    if (all_at_least(d->stride, 1) && all_at_least(d->dilation, 1) && all_at_least(d->padding, 0) &&
        d->groups >= 1)
        return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "stride (%d, %d), padding (%d, %d), dilation (%d, %d), groups %d",
                      d->stride[0], d->stride[1], d->padding[0], d->padding[1], d->dilation[0],
                      d->dilation[1], d->groups);
}

quern_status shape_conv2d(const quern_shape_args *args) {
    quern_conv2d_desc *d = args->attributes;
    const quern_shape *x = &args->in[0], *w = &args->in[1];
    quern_shape *y = &args->out[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 4, 4));
    QUERN_TRY(shape_need_rank(w, 4, 4));
    QUERN_TRY(need_dtype(x, w));
    QUERN_TRY(conv2d_resolve(d));
    if (x->dim[1] < 1 || w->dim[0] < 1 || x->dim[1] % d->groups || w->dim[0] % d->groups ||
        w->dim[1] != x->dim[1] / d->groups)
        return shape_fail("channels and groups do not fit:", x, w);
    if (args->input_count > 2) QUERN_TRY(need_vector("bias", &args->in[2], x, w->dim[0]));
    *y = (quern_shape){.dtype = x->dtype, .rank = 4, .dim = {x->dim[0], w->dim[0]}};
    for (int i = 0; i < 2; i++) {
        const int64_t window = w->dim[2 + i];
        int64_t extent = 0; /* of the dilated window, without its first pixel */
        if (window < 1 || !count_multiply(window - 1, d->dilation[i], &extent) ||
            !count_add(extent, 1, &extent) ||
            !window_count(x->dim[2 + i], extent, d->stride[i], d->padding[i], &y->dim[2 + i]))
            return shape_fail("the window does not fit:", x, w);
    }
    return QUERN_OK;
}

quern_status shape_pool2d(const quern_shape_args *args) {
    quern_pool2d_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 4, 4));
    args->out[0] = *x;
    for (int i = 0; i < 2; i++) {
        if (d->stride[i] == 0) d->stride[i] = d->window[i];
        if (d->window[i] < 1 || d->stride[i] < 1 || d->padding[i] < 0 ||
            d->padding[i] > d->window[i] / 2)
            return quern_fail(QUERN_INVALID, "window %d, stride %d, padding %d", d->window[i],
                              d->stride[i], d->padding[i]);
        if (!window_count(x->dim[2 + i], d->window[i], d->stride[i], d->padding[i],
                          &args->out[0].dim[2 + i]))
            return shape_fail("the window does not fit into", x, NULL);
    }
    return QUERN_OK;
}

quern_status shape_max_pool2d(const quern_shape_args *args) {
    const quern_pool2d_desc *d = args->attributes;
    if (d->count_exclude_padding)
        return quern_fail(QUERN_INVALID, "does not read count_exclude_padding");
    return shape_pool2d(args);
}

quern_status shape_global_pool2d(const quern_shape_args *args) {
    const quern_shape *x = &args->in[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 4, 4));
    args->out[0] = *x;
    args->out[0].rank = 2;
    return QUERN_OK;
}

static quern_status default_epsilon(float *epsilon) {
    if (*epsilon == 0) *epsilon = 1e-5f;
    return *epsilon > 0 && isfinite(*epsilon)
               ? QUERN_OK
               : quern_fail(QUERN_INVALID, "epsilon %g", (double)*epsilon);
}

quern_status shape_batch_norm(const quern_shape_args *args) {
    static const char *const names[] = {"x", "weight", "bias", "running_mean", "running_variance"};
    quern_batch_norm_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 2, QUERN_RANK_MAX));
    QUERN_TRY(default_epsilon(&d->epsilon));
    if (d->momentum == 0) d->momentum = signbit(d->momentum) ? 0.0f : 0.1f;
    if (!(d->momentum >= 0 && d->momentum <= 1))
        return quern_fail(QUERN_INVALID, "momentum %g is outside [0, 1]", (double)d->momentum);
    for (int32_t i = 1; i < 5; i++) QUERN_TRY(need_vector(names[i], &args->in[i], x, x->dim[1]));
    args->out[0] = *x;
    args->out[1] = args->out[2] = args->in[3];
    return QUERN_OK;
}

quern_status shape_layer_norm(const quern_shape_args *args) {
    quern_layer_norm_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(shape_need_rank(x, 1, QUERN_RANK_MAX));
    QUERN_TRY(default_epsilon(&d->epsilon));
    const int64_t size = x->dim[x->rank - 1];
    if (size < 1) return shape_fail("the last axis is empty or the batch:", x, NULL);
    QUERN_TRY(need_vector("weight", &args->in[1], x, size));
    if (args->input_count > 2) QUERN_TRY(need_vector("bias", &args->in[2], x, size));
    args->out[0] = *x;
    return QUERN_OK;
}

/* losses, weights, metrics */

static void scalar_like(quern_shape *out, quern_dtype dtype) {
    *out = (quern_shape){.dtype = dtype};
}

/* logits (…, C) and target (…) of indices. */
static quern_status need_classes(const quern_shape *z, const quern_shape *t) {
    QUERN_TRY(shape_need_float(z));
    QUERN_TRY(shape_need_rank(z, 1, QUERN_RANK_MAX));
    QUERN_TRY(shape_need_index(t));
    quern_shape rows = *z;
    rows.rank--;
    if (!shapes_equal(&rows, t)) return shape_fail("logits and target do not fit:", z, t);
    return z->dim[rows.rank] >= 1 ? QUERN_OK : shape_fail("no classes in", z, NULL);
}

static quern_status ignore_check(bool ignore, int32_t ignore_index) {
    if (ignore || ignore_index == 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "ignore_index %d without ignore", (int)ignore_index);
}

quern_status shape_cross_entropy(const quern_shape_args *args) {
    const quern_softmax_cross_entropy_desc *d = args->attributes;
    QUERN_TRY(need_classes(&args->in[0], &args->in[1]));
    if (!(d->label_smoothing >= 0 && d->label_smoothing < 1))
        return quern_fail(QUERN_INVALID, "label_smoothing %g is outside [0, 1)",
                          (double)d->label_smoothing);
    scalar_like(&args->out[0], args->in[0].dtype);
    return ignore_check(d->ignore, d->ignore_index);
}

quern_status shape_pair_loss(const quern_shape_args *args) {
    QUERN_TRY(shape_need_float(&args->in[0]));
    QUERN_TRY(need_dtype(&args->in[0], &args->in[1]));
    if (!shapes_equal(&args->in[0], &args->in[1]))
        return shape_fail("prediction and target differ:", &args->in[0], &args->in[1]);
    scalar_like(&args->out[0], args->in[0].dtype);
    return QUERN_OK;
}

quern_status shape_huber(const quern_shape_args *args) {
    quern_huber_desc *d = args->attributes;
    if (d->delta == 0) d->delta = 1;
    if (!(d->delta > 0) || isinf(d->delta))
        return quern_fail(QUERN_INVALID, "delta %g", (double)d->delta);
    return shape_pair_loss(args);
}

quern_status shape_valid_count(const quern_shape_args *args) {
    const quern_valid_count_desc *d = args->attributes;
    QUERN_TRY(ignore_check(d->ignore, d->ignore_index));
    scalar_like(&args->out[0], args->dtype);
    return shape_need_index(&args->in[0]);
}

quern_status shape_element_count(const quern_shape_args *args) {
    scalar_like(&args->out[0], args->in[0].dtype);
    return shape_need_float(&args->in[0]);
}

quern_status shape_regression_sums(const quern_shape_args *args) {
    QUERN_TRY(shape_pair_loss(args));
    args->out[0] = (quern_shape){.dtype = QUERN_F64, .rank = 1, .dim = {4}};
    return QUERN_OK;
}

quern_status shape_class_count(const quern_shape_args *args) {
    quern_top_k_correct_desc *d = args->attributes;
    QUERN_TRY(need_classes(&args->in[0], &args->in[1]));
    QUERN_TRY(ignore_check(d->ignore, d->ignore_index));
    if (d->k == 0) d->k = 1;
    const int64_t classes = args->in[0].dim[args->in[0].rank - 1];
    if (d->k < 1 || d->k > classes)
        return quern_fail(QUERN_INVALID, "k = %d of %lld classes", (int)d->k, (long long)classes);
    scalar_like(&args->out[0], args->in[0].dtype);
    return QUERN_OK;
}

quern_status shape_confusion_matrix(const quern_shape_args *args) {
    const quern_confusion_matrix_desc *d = args->attributes;
    QUERN_TRY(ignore_check(d->ignore, d->ignore_index));
    QUERN_TRY(need_classes(&args->in[0], &args->in[1]));
    const int64_t classes = args->in[0].dim[args->in[0].rank - 1];
    args->out[0] = (quern_shape){.dtype = args->in[0].dtype, .rank = 2, .dim = {classes, classes}};
    return QUERN_OK;
}
