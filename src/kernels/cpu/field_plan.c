/* field_plan.c - one field of a sample into one input.
 *
 * Cost: one read and one write per element, in loops that vectorise; a flip is one more pass.
 * Deterministic: yes, each element on its own. */
#include "field_plan.h"

#include <string.h>

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
            for (int64_t i = 0; i < count; i++)                                                    \
                y[i] = field_normalise_##TO((TO)x[i], scale, mean, deviation);                     \
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

/* The window of one channel. Its rows lie in the image one behind the other, so that one run of
 * elements covers them all; what it brings in around the edges is then overwritten by the border,
 * which is a converted zero. */
static void crop_channel(const field_plan *p, const uint8_t *from, uint8_t *to,
                         const field_augmentation *g, const affine *a) {
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
                            const field_augmentation *g) {
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
    if (field_is_augmented(p)) {
        const field_draw drawn = field_draw_of(seed, epoch, sample);
        const field_augmentation g = field_augmentation_of(p, &drawn);
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
