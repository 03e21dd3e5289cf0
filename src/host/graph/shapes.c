/* shapes.c - shape rules of the element-wise ops, reductions, views and copies. */
#include "shapes.h"

#include "../base/size.h"

#include <math.h>
#include <string.h>

quern_status shape_fail(const char *what, const quern_shape *a, const quern_shape *b) {
    char left[160], right[160];
    shape_text(a, left, sizeof left);
    if (!b) return quern_fail(QUERN_SHAPE, "%s %s %s", what, quern_dtype_name(a->dtype), left);
    shape_text(b, right, sizeof right);
    return quern_fail(QUERN_SHAPE, "%s %s %s and %s %s", what, quern_dtype_name(a->dtype), left,
                      quern_dtype_name(b->dtype), right);
}

quern_status shape_need_float(const quern_shape *x) {
    const bool ok = x->dtype == QUERN_F32 || x->dtype == QUERN_F64 || x->dtype == QUERN_BF16 ||
                    x->dtype == QUERN_F16;
    return ok ? QUERN_OK : shape_fail("needs a floating-point input, not", x, NULL);
}

quern_status shape_need_index(const quern_shape *x) {
    return x->dtype == QUERN_I32 ? QUERN_OK : shape_fail("needs I32 indices, not", x, NULL);
}

quern_status shape_need_rank(const quern_shape *x, int32_t low, int32_t high) {
    if (x->rank >= low && x->rank <= high) return QUERN_OK;
    char name[160];
    shape_text(x, name, sizeof name);
    return quern_fail(QUERN_SHAPE, "needs rank %d to %d, not %s", (int)low, (int)high, name);
}

quern_status axis_resolve(int32_t *axis, int32_t rank) {
    if (*axis < -rank || *axis >= rank)
        return quern_fail(QUERN_SHAPE, "axis %d of a tensor of rank %d", (int)*axis, (int)rank);
    if (*axis < 0) *axis += rank;
    return QUERN_OK;
}

bool dims_product(const quern_shape *x, int32_t from, int32_t to, int64_t *out) {
    int64_t product = 1;
    bool batch = false;
    for (int32_t i = from; i < to; i++) {
        const int64_t d = x->dim[i];
        if ((d < 0 && batch) || d == INT64_MIN) return false;
        batch |= d < 0;
        if (!count_multiply(product, d < 0 ? -d : d, &product)) return false;
    }
    *out = batch ? -product : product;
    return true;
}

bool shapes_equal(const quern_shape *a, const quern_shape *b) {
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

/* element by element */

quern_status shape_copy(const quern_shape_args *args) {
    args->out[0] = args->in[0];
    return QUERN_OK;
}

quern_status shape_same(const quern_shape_args *args) {
    args->out[0] = args->in[0];
    return shape_need_float(&args->in[0]);
}

quern_status shape_scale(const quern_shape_args *args) {
    quern_scale_desc *d = args->attributes;
    if (d->factor == 0 && !signbit(d->factor)) d->factor = 1;
    return shape_same(args);
}

quern_status shape_clamp(const quern_shape_args *args) {
    const quern_clamp_desc *d = args->attributes;
    if (!(d->low < d->high))
        return quern_fail(QUERN_INVALID, "low %g is not below high %g", (double)d->low,
                          (double)d->high);
    return shape_same(args);
}

quern_status shape_leaky_relu(const quern_shape_args *args) {
    quern_leaky_relu_desc *d = args->attributes;
    if (d->slope == 0) d->slope = signbit(d->slope) ? 0.0f : 0.01f;
    return shape_same(args);
}

quern_status shape_dropout(const quern_shape_args *args) {
    const quern_dropout_desc *d = args->attributes;
    if (!(d->probability >= 0 && d->probability < 1))
        return quern_fail(QUERN_INVALID, "probability %g is outside [0, 1)",
                          (double)d->probability);
    return shape_same(args);
}

quern_status shape_cast(const quern_shape_args *args) {
    const quern_cast_desc *d = args->attributes;
    if ((uint32_t)d->dtype >= QUERN_DTYPE_COUNT)
        return quern_fail(QUERN_INVALID, "dtype %d", (int)d->dtype);
    args->out[0] = args->in[0];
    args->out[0].dtype = d->dtype;
    return QUERN_OK;
}

quern_status shape_broadcast(const quern_shape_args *args) {
    const quern_shape *a = &args->in[0], *b = &args->in[1];
    quern_shape *y = &args->out[0];
    QUERN_TRY(shape_need_float(a));
    if (a->dtype != b->dtype) return shape_fail("dtypes differ:", a, b);
    *y = (quern_shape){.dtype = a->dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
    for (int32_t i = 1; i <= y->rank; i++) {
        const int64_t da = i <= a->rank ? a->dim[a->rank - i] : 1;
        const int64_t db = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (da != db && da != 1 && db != 1) return shape_fail("cannot broadcast", a, b);
        y->dim[y->rank - i] = da == 1 ? db : da;
    }
    return QUERN_OK;
}

quern_status shape_prelu(const quern_shape_args *args) {
    const quern_shape *x = &args->in[0], *w = &args->in[1];
    const int64_t channels = x->rank > 1 ? x->dim[1] : 1;
    if (w->rank != 1 || (w->dim[0] != 1 && w->dim[0] != channels) || w->dtype != x->dtype)
        return shape_fail("weight must be (1) or the channels of x:", x, w);
    return shape_same(args);
}

/* along axes */

static quern_status axis_desc_resolve(quern_axis_desc *d, const quern_shape *x) {
    QUERN_TRY(shape_need_rank(x, 1, QUERN_RANK_MAX));
    if (d->axis != 0 && d->first)
        return quern_fail(QUERN_INVALID, "axis %d and first are both set", (int)d->axis);
    if (d->axis == 0 && !d->first) d->axis = -1;
    return axis_resolve(&d->axis, x->rank);
}

quern_status shape_axis(const quern_shape_args *args) {
    QUERN_TRY(axis_desc_resolve(args->attributes, &args->in[0]));
    return shape_same(args);
}

static quern_shape without_axis(const quern_shape *x, int32_t axis) {
    quern_shape y = *x;
    y.rank--;
    for (int32_t i = axis; i < y.rank; i++) y.dim[i] = x->dim[i + 1];
    return y;
}

quern_status shape_argmax(const quern_shape_args *args) {
    quern_argmax_desc *d = args->attributes;
    QUERN_TRY(shape_need_float(&args->in[0]));
    QUERN_TRY(axis_desc_resolve(d, &args->in[0]));
    args->out[0] = without_axis(&args->in[0], d->axis);
    args->out[0].dtype = QUERN_I32;
    return args->in[0].dim[d->axis] != 0
               ? QUERN_OK
               : shape_fail("no largest of an empty axis in", &args->in[0], NULL);
}

/* Positive, ascending, each once; none given: all. */
static quern_status reduce_resolve(quern_reduce_desc *d, int32_t rank) {
    bool reduced[QUERN_RANK_MAX] = {false};
    if (d->axis_count < 0 || d->axis_count > rank)
        return quern_fail(QUERN_SHAPE, "%d axes of a tensor of rank %d", (int)d->axis_count,
                          (int)rank);
    for (int32_t i = d->axis_count; i < QUERN_RANK_MAX; i++)
        if (d->axes[i] != 0)
            return quern_fail(QUERN_INVALID, "axes[%d] is %d, but axis_count is %d", (int)i,
                              (int)d->axes[i], (int)d->axis_count);
    for (int32_t i = 0; i < d->axis_count; i++) {
        QUERN_TRY(axis_resolve(&d->axes[i], rank));
        if (reduced[d->axes[i]])
            return quern_fail(QUERN_INVALID, "axis %d is named twice", (int)d->axes[i]);
        reduced[d->axes[i]] = true;
    }
    const bool all = d->axis_count == 0;
    d->axis_count = 0;
    for (int32_t i = 0; i < rank; i++)
        if (all || reduced[i]) d->axes[d->axis_count++] = i;
    return QUERN_OK;
}

quern_status shape_reduce(const quern_shape_args *args) {
    quern_reduce_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    quern_shape *y = &args->out[0];
    QUERN_TRY(shape_need_float(x));
    QUERN_TRY(reduce_resolve(d, x->rank));
    *y = (quern_shape){.dtype = x->dtype};
    for (int32_t i = 0, next = 0; i < x->rank; i++) {
        const bool reduced = next < d->axis_count && d->axes[next] == i;
        next += reduced;
        if (!reduced || d->keep) y->dim[y->rank++] = reduced ? 1 : x->dim[i];
    }
    return QUERN_OK;
}

/* views and copies */

quern_status shape_reshape(const quern_shape_args *args) {
    const quern_reshape_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    quern_shape y = {.dtype = x->dtype, .rank = d->rank};
    int64_t before = 0, after = 0;
    if (d->rank < 0 || d->rank > QUERN_RANK_MAX)
        return quern_fail(QUERN_SHAPE, "rank %d is outside [0, %d]", (int)d->rank, QUERN_RANK_MAX);
    memcpy(y.dim, d->dim, sizeof y.dim);
    args->out[0] = y;
    if (!dims_product(x, 0, x->rank, &before) || !dims_product(&y, 0, y.rank, &after) ||
        before != after)
        return shape_fail("counts differ:", x, &y);
    return QUERN_OK;
}

quern_status shape_permute(const quern_shape_args *args) {
    const quern_permute_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    bool used[QUERN_RANK_MAX] = {false};
    args->out[0] = *x;
    for (int32_t i = 0; i < x->rank; i++) {
        if (d->order[i] < 0 || d->order[i] >= x->rank || used[d->order[i]])
            return quern_fail(QUERN_INVALID, "order[%d] = %d is no permutation of %d axes", (int)i,
                              (int)d->order[i], (int)x->rank);
        used[d->order[i]] = true;
        args->out[0].dim[i] = x->dim[d->order[i]];
    }
    return QUERN_OK;
}

quern_status shape_slice(const quern_shape_args *args) {
    quern_slice_desc *d = args->attributes;
    const quern_shape *x = &args->in[0];
    QUERN_TRY(axis_resolve(&d->axis, x->rank));
    const int64_t size = x->dim[d->axis];
    if (size < 0) return quern_fail(QUERN_SHAPE, "the batch axis cannot be sliced");
    if (d->start < 0 || d->start > d->stop || d->stop > size)
        return quern_fail(QUERN_SHAPE, "[%lld : %lld] of an axis of %lld", (long long)d->start,
                          (long long)d->stop, (long long)size);
    args->out[0] = *x;
    args->out[0].dim[d->axis] = d->stop - d->start;
    return QUERN_OK;
}

quern_status shape_concat(const quern_shape_args *args) {
    quern_concat_desc *d = args->attributes;
    const quern_shape *first = &args->in[0];
    quern_shape *y = &args->out[0];
    QUERN_TRY(axis_resolve(&d->axis, first->rank));
    *y = *first;
    for (int32_t i = 1; i < args->input_count; i++) {
        quern_shape part = args->in[i];
        const int64_t size = part.rank == y->rank ? part.dim[d->axis] : 0;
        if (part.rank == y->rank) part.dim[d->axis] = y->dim[d->axis];
        if (!shapes_equal(&part, y) || part.dtype != y->dtype ||
            (size < 0) != (y->dim[d->axis] < 0) ||
            !count_add(y->dim[d->axis], size, &y->dim[d->axis]) || y->dim[d->axis] == INT64_MIN)
            return shape_fail("parts do not fit:", first, &args->in[i]);
    }
    return QUERN_OK;
}

/* x[index] along axis 0, or weight[index]: (index dims, the rest of x). */
static quern_status shape_rows(const quern_shape_args *args) {
    const quern_shape *x = &args->in[0], *index = &args->in[1];
    quern_shape *y = &args->out[0];
    QUERN_TRY(shape_need_index(index));
    QUERN_TRY(shape_need_rank(x, 1, QUERN_RANK_MAX));
    if (index->rank + x->rank - 1 > QUERN_RANK_MAX) return shape_fail("rank over 8:", x, index);
    *y = (quern_shape){.dtype = x->dtype, .rank = index->rank + x->rank - 1};
    memcpy(y->dim, index->dim, (size_t)index->rank * sizeof y->dim[0]);
    memcpy(y->dim + index->rank, x->dim + 1, (size_t)(x->rank - 1) * sizeof y->dim[0]);
    return QUERN_OK;
}

quern_status shape_gather(const quern_shape_args *args) { return shape_rows(args); }

quern_status shape_embedding(const quern_shape_args *args) {
    QUERN_TRY(shape_need_rank(&args->in[0], 2, 2));
    return shape_rows(args);
}
