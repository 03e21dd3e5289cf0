/* transform.c - what a transform asks of a field and an input, checked and filled in. */
#include "transform.h"

#include "../base/report.h"

#include <inttypes.h>
#include <math.h>

quern_status transform_resolve(quern_transform *t) {
    if (t->field == NULL) return quern_fail(QUERN_INVALID, "a transform without a field name");
    if (!isfinite(t->scale))
        return quern_fail(QUERN_INVALID, "transform of '%s': scale is %g", t->field,
                          (double)t->scale);
    if (t->scale == 0) t->scale = 1;
    if (t->channel_count < 0 || t->channel_count > QUERN_CHANNEL_MAX)
        return quern_fail(QUERN_INVALID,
                          "transform of '%s': channel_count %" PRId32 ", expected 0 to %d",
                          t->field, t->channel_count, QUERN_CHANNEL_MAX);
    for (int32_t c = 0; c < QUERN_CHANNEL_MAX; c++) {
        if (c >= t->channel_count && (t->mean[c] != 0 || t->deviation[c] != 0))
            return quern_fail(QUERN_INVALID,
                              "transform of '%s': channel %" PRId32 " has a mean or "
                              "deviation, but channel_count is %" PRId32,
                              t->field, c, t->channel_count);
        if (!isfinite(t->mean[c]) || !isfinite(t->deviation[c]) || t->deviation[c] < 0)
            return quern_fail(QUERN_INVALID,
                              "transform of '%s': channel %" PRId32 " has mean %g and "
                              "deviation %g",
                              t->field, c, (double)t->mean[c], (double)t->deviation[c]);
        if (c < t->channel_count && t->deviation[c] == 0) t->deviation[c] = 1;
    }
    if (t->crop_padding < 0)
        return quern_fail(QUERN_INVALID, "transform of '%s': crop_padding %" PRId32, t->field,
                          t->crop_padding);
    return QUERN_OK;
}

/* data.h's table: which dtypes an input takes. */
static bool dtype_fits(quern_dtype from, quern_dtype to) {
    if (to == QUERN_F32 || to == QUERN_F64) return true;
    if (to == QUERN_I32 || to == QUERN_I64)
        return from == QUERN_U8 || from == QUERN_I32 || from == QUERN_I64;
    return from == to;
}

static void image_dims(field_plan *p, const quern_field *field) {
    p->channels = 1;
    p->height = 1;
    p->width = p->count;
    if (field->rank == 2 || field->rank == 3) {
        p->height = field->dim[field->rank - 2];
        p->width = field->dim[field->rank - 1];
    }
    if (field->rank == 3) p->channels = field->dim[0];
}

static quern_status apply_transform(field_plan *p, const quern_field *field,
                                    const quern_transform *t, bool augment) {
    const bool floating = p->to == QUERN_F32 || p->to == QUERN_F64;
    const bool spatial = t->crop_padding > 0 || t->horizontal_flip;
    if (!floating && (t->scale != 1 || t->channel_count > 0))
        return quern_fail(QUERN_INVALID,
                          "transform of '%s': scale, mean and deviation need a "
                          "floating-point input, this one is %s",
                          field->name, quern_dtype_name(p->to));
    if (spatial && field->rank != 2 && field->rank != 3)
        return quern_fail(QUERN_INVALID,
                          "transform of '%s': crop and flip need (H, W) or (C, H, W),"
                          " the field has rank %" PRId32,
                          field->name, field->rank);
    if (field->rank == 1 && t->channel_count > 1 && t->channel_count == p->count) {
        p->channels = p->count; /* the columns of a table */
        p->width = 1;
    }
    if (t->channel_count > 0 && t->channel_count != p->channels)
        return quern_fail(QUERN_SHAPE,
                          "transform of '%s' has %" PRId32 " channels, the field has %" PRId64,
                          field->name, t->channel_count, p->channels);
    p->arithmetic = t->scale != 1 || t->channel_count > 0;
    p->scale = (double)t->scale;
    for (int32_t c = 0; c < t->channel_count; c++) {
        p->mean[c] = (double)t->mean[c];
        p->deviation[c] = (double)t->deviation[c];
    }
    p->normalise = t->channel_count > 0;
    p->crop_padding = augment ? t->crop_padding : 0;
    p->horizontal_flip = augment && t->horizontal_flip;
    return QUERN_OK;
}

quern_status field_plan_make(field_plan *out, const quern_field *field,
                             const quern_transform *transform, const char *input_name,
                             quern_dtype to, int64_t input_count, bool augment) {
    field_plan p = {.from = field->dtype, .to = to, .class_count = field->class_count};
    if (!field_element_count(field, &p.count) || p.count != input_count)
        return quern_fail(QUERN_SHAPE,
                          "field '%s' has %" PRId64 " elements per sample, input '%s' "
                          "has %" PRId64,
                          field->name, p.count, input_name, input_count);
    if (!dtype_fits(field->dtype, to))
        return quern_fail(QUERN_SHAPE, "field '%s' is %s and cannot fill input '%s', which is %s",
                          field->name, quern_dtype_name(field->dtype), input_name,
                          quern_dtype_name(to));
    image_dims(&p, field);
    if (transform != NULL) QUERN_TRY(apply_transform(&p, field, transform, augment));
    *out = p;
    return QUERN_OK;
}
