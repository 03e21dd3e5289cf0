/* transform.c - one field of a sample into one input.
 *
 * Cost: one read and one write per element, in loops that vectorise; a flip is one more pass.
 * Deterministic: yes, each element on its own. Crop and flip as torchvision's RandomCrop(padding)
 * and RandomHorizontalFlip: the raw image is padded with zeros, then cropped, then flipped, then
 * normalised, so the border becomes (0 - mean) / deviation. */
#include "transform.h"

#include "../base/random.h"
#include "../base/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

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

/* scale, mean and deviation of one channel. */
typedef struct affine {
    bool arithmetic, normalise;
    double scale, mean, deviation;
} affine;

#define CONVERT(FROM, TO)                                                                          \
    static void convert_##FROM##_##TO(const void *from, void *to, int64_t count,                   \
                                      const affine *a) {                                           \
        const FROM *restrict x = from;                                                             \
        TO *restrict y = to;                                                                       \
        const TO scale = (TO)a->scale, mean = (TO)a->mean, deviation = (TO)a->deviation;           \
        if (a->normalise)                                                                          \
            for (int64_t i = 0; i < count; i++) y[i] = ((TO)x[i] * scale - mean) / deviation;      \
        else if (a->arithmetic)                                                                    \
            for (int64_t i = 0; i < count; i++) y[i] = (TO)x[i] * scale;                           \
        else                                                                                       \
            for (int64_t i = 0; i < count; i++) y[i] = (TO)x[i];                                   \
    }
#define COPY(FROM, TO)                                                                             \
    static void copy_##FROM##_##TO(const void *from, void *to, int64_t count, const affine *a) {   \
        const FROM *restrict x = from;                                                             \
        TO *restrict y = to;                                                                       \
        (void)a;                                                                                   \
        for (int64_t i = 0; i < count; i++) y[i] = (TO)x[i];                                       \
    }
CONVERT(uint8_t, float)
CONVERT(int32_t, float)
CONVERT(int64_t, float)
CONVERT(float, float)
CONVERT(double, float)
CONVERT(uint8_t, double)
CONVERT(int32_t, double)
CONVERT(int64_t, double)
CONVERT(float, double)
CONVERT(double, double)
COPY(uint8_t, uint8_t)
COPY(uint8_t, int32_t)
COPY(int32_t, int32_t)
COPY(int64_t, int32_t)
COPY(uint8_t, int64_t)
COPY(int32_t, int64_t)
COPY(int64_t, int64_t)

typedef void convert_function(const void *from, void *to, int64_t count, const affine *a);

/* [from][to]; field_plan_make admits only pairs that are here. */
static convert_function *const converts[QUERN_DTYPE_COUNT][QUERN_DTYPE_COUNT] = {
    [QUERN_U8] = {[QUERN_F32] = convert_uint8_t_float,
                  [QUERN_F64] = convert_uint8_t_double,
                  [QUERN_U8] = copy_uint8_t_uint8_t,
                  [QUERN_I32] = copy_uint8_t_int32_t,
                  [QUERN_I64] = copy_uint8_t_int64_t},
    [QUERN_I32] = {[QUERN_F32] = convert_int32_t_float,
                   [QUERN_F64] = convert_int32_t_double,
                   [QUERN_I32] = copy_int32_t_int32_t,
                   [QUERN_I64] = copy_int32_t_int64_t},
    [QUERN_I64] = {[QUERN_F32] = convert_int64_t_float,
                   [QUERN_F64] = convert_int64_t_double,
                   [QUERN_I32] = copy_int64_t_int32_t,
                   [QUERN_I64] = copy_int64_t_int64_t},
    [QUERN_F32] = {[QUERN_F32] = convert_float_float, [QUERN_F64] = convert_float_double},
    [QUERN_F64] = {[QUERN_F32] = convert_double_float, [QUERN_F64] = convert_double_double},
};

static affine channel_affine(const field_plan *p, int64_t c) {
    affine a = {.arithmetic = p->arithmetic, .normalise = p->normalise, .scale = p->scale};
    if (p->normalise) {
        a.mean = p->mean[c];
        a.deviation = p->deviation[c];
    }
    return a;
}

/* One value of any dtype. */
typedef union element {
    uint8_t u8;
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
} element;

#define REVERSE(TYPE)                                                                              \
    static void reverse_##TYPE(void *row, int64_t width) {                                         \
        for (TYPE *left = row, *right = left + width - 1; left < right; left++, right--) {         \
            const TYPE swap = *left;                                                               \
            *left = *right;                                                                        \
            *right = swap;                                                                         \
        }                                                                                          \
    }
REVERSE(uint8_t)
REVERSE(int32_t)
REVERSE(int64_t)
REVERSE(float)
REVERSE(double)

static void reverse_row(void *row, int64_t width, quern_dtype dtype) {
    switch (dtype) {
    case QUERN_F32: reverse_float(row, width); break;
    case QUERN_F64: reverse_double(row, width); break;
    case QUERN_I32: reverse_int32_t(row, width); break;
    case QUERN_I64: reverse_int64_t(row, width); break;
    default: reverse_uint8_t(row, width); break;
    }
}

static void fill(uint8_t *to, int64_t count, const element *value, size_t element_bytes) {
    for (int64_t i = 0; i < count; i++)
        memcpy(to + (size_t)i * element_bytes, value, element_bytes);
}

typedef struct augmentation {
    int64_t down, right; /* of the crop window, from -padding to padding */
    bool flip;
} augmentation;

/* Block `sample` of the stream of (seed, epoch): row, column, flip, and one draw left over. */
static augmentation draw(const field_plan *p, uint64_t seed, int64_t epoch, int64_t sample) {
    uint32_t bits[4];
    const random_key key = {.seed = seed, .purpose = RANDOM_AUGMENT, .attempt = epoch};
    random_block(&key, sample, bits);
    const uint64_t choices = 2 * (uint64_t)p->crop_padding + 1;
    return (augmentation){
        .down = (int64_t)((bits[0] * choices) >> 32) - p->crop_padding,
        .right = (int64_t)((bits[1] * choices) >> 32) - p->crop_padding,
        .flip = p->horizontal_flip && bits[2] >> 31,
    };
}

/* The window of one channel. Its rows lie in the image one behind the other, so that one run of
 * elements covers them all; what it brings in around the edges is then overwritten by the border,
 * which is a converted zero. */
static void crop_channel(const field_plan *p, const uint8_t *from, uint8_t *to,
                         const augmentation *g, const affine *a) {
    convert_function *convert = converts[p->from][p->to];
    const size_t from_bytes = quern_dtype_bytes(p->from), to_bytes = quern_dtype_bytes(p->to);
    const int64_t width = p->width, height = p->height, shift = g->down * width + g->right;
    const int64_t left = g->right < 0 ? -g->right : 0, right = g->right > 0 ? g->right : 0;
    int64_t top = g->down < 0 ? -g->down : 0, bottom = g->down > 0 ? height - g->down : height;
    if (top >= bottom || left + right >= width) top = bottom = height;
    const element zero = {.i64 = 0};
    element border;
    convert(&zero, &border, 1, a);
    const int64_t begin = top * width + left, end = bottom * width - right;
    if (begin < end)
        convert(from + (size_t)(begin + shift) * from_bytes, to + (size_t)begin * to_bytes,
                end - begin, a);
    fill(to, top * width, &border, to_bytes);
    fill(to + (size_t)(bottom * width) * to_bytes, (height - bottom) * width, &border, to_bytes);
    for (int64_t y = top; y < bottom; y++) {
        uint8_t *row = to + (size_t)(y * width) * to_bytes;
        fill(row, left, &border, to_bytes);
        fill(row + (size_t)(width - right) * to_bytes, right, &border, to_bytes);
    }
}

static void apply_augmented(const field_plan *p, const uint8_t *from, uint8_t *to,
                            const augmentation *g) {
    const int64_t plane = p->height * p->width;
    const size_t from_plane = (size_t)plane * quern_dtype_bytes(p->from);
    const size_t to_bytes = quern_dtype_bytes(p->to), to_plane = (size_t)plane * to_bytes;
    for (int64_t c = 0; c < p->channels; c++, from += from_plane, to += to_plane) {
        const affine a = channel_affine(p, c);
        crop_channel(p, from, to, g, &a);
        for (int64_t y = 0; y < p->height && g->flip; y++)
            reverse_row(to + (size_t)(y * p->width) * to_bytes, p->width, p->to);
    }
}

void field_plan_apply(const field_plan *p, const void *from, void *to, uint64_t seed, int64_t epoch,
                      int64_t sample) {
    if (p->crop_padding > 0 || p->horizontal_flip) {
        const augmentation g = draw(p, seed, epoch, sample);
        apply_augmented(p, from, to, &g);
        return;
    }
    const int64_t planes = p->normalise ? p->channels : 1, count = p->count / planes;
    const size_t from_bytes = (size_t)count * quern_dtype_bytes(p->from);
    const size_t to_bytes = (size_t)count * quern_dtype_bytes(p->to);
    for (int64_t c = 0; c < planes; c++) {
        const affine a = channel_affine(p, c);
        converts[p->from][p->to]((const uint8_t *)from + (size_t)c * from_bytes,
                                 (uint8_t *)to + (size_t)c * to_bytes, count, &a);
    }
}
