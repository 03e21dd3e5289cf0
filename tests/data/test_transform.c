#include "../../src/host/data/transform.h"

#include "../../src/host/base/random.h"
#include "memory_files.h"
#include "quern_test.h"

#include <math.h>
#include <string.h>

static quern_status plan_of(field_plan *p, const quern_field *f, quern_transform *t, quern_dtype to,
                            int64_t count, bool augment) {
    if (t != NULL && transform_resolve(t) != QUERN_OK) return QUERN_INVALID;
    return field_plan_make(p, f, t, "input", to, count, augment);
}

TEST_CASE(Transform, scales_and_normalises_each_channel) {
    const quern_field field = {.name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {2, 1, 3}};
    quern_transform t = {
        .field = "image", .scale = 0.5f, .channel_count = 2, .mean = {1, 2}, .deviation = {2, 0}};
    const uint8_t x[6] = {0, 10, 255, 0, 10, 255};
    field_plan p;
    float y[6];
    double z[6];
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F32, 6, false));
    field_plan_apply(&p, x, y, 0, 0, 0);
    const double expected[6] = {-0.5, 2, 63.25, -2, 3, 125.5}; /* deviation 0 is the default: 1 */
    for (int i = 0; i < 6; i++) CHECK((double)y[i] == expected[i]);
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F64, 6, false));
    field_plan_apply(&p, x, z, 0, 0, 0);
    for (int i = 0; i < 6; i++) CHECK(z[i] == expected[i]);
}

TEST_CASE(Transform, converts_every_pair_of_dtypes) {
    static const uint8_t u8[2] = {7, 255};
    static const int32_t i32[2] = {-7, 70000};
    static const int64_t i64[2] = {-7, 70000};
    static const float f32[2] = {-1.5f, 3};
    static const double f64[2] = {-1.5, 3};
    const struct {
        quern_dtype dtype;
        const void *data;
        double value[2];
        bool integer;
    } from[] = {{QUERN_U8, u8, {7, 255}, true},
                {QUERN_I32, i32, {-7, 70000}, true},
                {QUERN_I64, i64, {-7, 70000}, true},
                {QUERN_F32, f32, {-1.5, 3}, false},
                {QUERN_F64, f64, {-1.5, 3}, false}};
    for (int i = 0; i < 5; i++) {
        const quern_field field = {.name = "x", .dtype = from[i].dtype, .rank = 1, .dim = {2}};
        field_plan p;
        float a[2];
        double b[2];
        int32_t c[2];
        int64_t d[2];
        REQUIRE_OK(plan_of(&p, &field, NULL, QUERN_F32, 2, false));
        field_plan_apply(&p, from[i].data, a, 0, 0, 0);
        REQUIRE_OK(plan_of(&p, &field, NULL, QUERN_F64, 2, false));
        field_plan_apply(&p, from[i].data, b, 0, 0, 0);
        for (int k = 0; k < 2; k++)
            CHECK((double)a[k] == from[i].value[k] && b[k] == from[i].value[k]);
        const quern_status expected = from[i].integer ? QUERN_OK : QUERN_SHAPE;
        REQUIRE_STATUS(plan_of(&p, &field, NULL, QUERN_I32, 2, false), expected);
        if (!from[i].integer) continue;
        field_plan_apply(&p, from[i].data, c, 0, 0, 0);
        REQUIRE_OK(plan_of(&p, &field, NULL, QUERN_I64, 2, false));
        field_plan_apply(&p, from[i].data, d, 0, 0, 0);
        for (int k = 0; k < 2; k++)
            CHECK((double)c[k] == from[i].value[k] && (double)d[k] == from[i].value[k]);
    }
}

/* The reference: pad, crop, flip as written in data.h, one element at a time. */
static void crop_slowly(const uint8_t *x, float *y, int side, int down, int right, bool flip,
                        float mean, float deviation) {
    for (int r = 0; r < side; r++)
        for (int c = 0; c < side; c++) {
            const int sr = r + down, sc = (flip ? side - 1 - c : c) + right;
            const bool inside = sr >= 0 && sr < side && sc >= 0 && sc < side;
            const float raw = inside ? (float)x[sr * side + sc] : 0.0f;
            y[r * side + c] = (raw - mean) / deviation;
        }
}

/* The draws come from a separate implementation of Philox in Python: seed 5, epoch 1. */
TEST_CASE(Transform, crop_and_flip_are_golden) {
    static const struct {
        int down, right;
        bool flip;
    } golden[8] = {{2, -2, true}, {2, -2, false}, {1, 0, false},  {-2, -1, true},
                   {1, -2, true}, {1, 1, true},   {-1, 0, false}, {0, 0, false}};
    const quern_field field = {.name = "image", .dtype = QUERN_U8, .rank = 2, .dim = {5, 5}};
    quern_transform t = {.field = "image",
                         .channel_count = 1,
                         .mean = {3},
                         .deviation = {2},
                         .crop_padding = 2,
                         .horizontal_flip = true};
    uint8_t x[25];
    for (int i = 0; i < 25; i++) x[i] = (uint8_t)(i + 1);
    field_plan p;
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F32, 25, true));
    for (int s = 0; s < 8; s++) {
        float y[25], expected[25];
        field_plan_apply(&p, x, y, 5, 1, s);
        crop_slowly(x, expected, 5, golden[s].down, golden[s].right, golden[s].flip, 3, 2);
        CHECK_SAY(memcmp(y, expected, sizeof y) == 0, "sample %d differs", s);
    }
}

TEST_CASE(Transform, crop_wider_than_the_image_and_wide_rows_match_the_slow_way) {
    enum { SIDE = 130, PADDING = 200 };
    static uint8_t x[SIDE * SIDE];
    static float y[SIDE * SIDE], expected[SIDE * SIDE];
    const quern_field field = {.name = "i", .dtype = QUERN_U8, .rank = 3, .dim = {1, SIDE, SIDE}};
    quern_transform t = {.field = "i", .channel_count = 1, .mean = {3}, .crop_padding = PADDING};
    for (int i = 0; i < SIDE * SIDE; i++) x[i] = (uint8_t)(i * 7 % 251);
    field_plan p;
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F32, SIDE * SIDE, true));
    const random_key key = {.seed = 9, .purpose = RANDOM_AUGMENT};
    int outside = 0;
    for (int s = 0; s < 20; s++) {
        uint32_t bits[4];
        random_block(&key, s, bits);
        const int down = (int)((bits[0] * (2 * PADDING + UINT64_C(1))) >> 32) - PADDING;
        const int right = (int)((bits[1] * (2 * PADDING + UINT64_C(1))) >> 32) - PADDING;
        field_plan_apply(&p, x, y, 9, 0, s);
        crop_slowly(x, expected, SIDE, down, right, false, 3, 1);
        CHECK_SAY(memcmp(y, expected, sizeof y) == 0, "window at (%d, %d) differs", down, right);
        outside += down <= -SIDE || down >= SIDE || right <= -SIDE || right >= SIDE;
    }
    CHECK(outside > 2);
}

TEST_CASE(Transform, augmentation_is_pure_and_depends_on_seed_epoch_and_sample) {
    const quern_field field = {.name = "i", .dtype = QUERN_F32, .rank = 2, .dim = {8, 8}};
    quern_transform t = {.field = "i", .crop_padding = 3, .horizontal_flip = true};
    float x[64], first[64], other[64];
    for (int i = 0; i < 64; i++) x[i] = (float)i;
    field_plan p;
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F32, 64, true));
    int same_seed = 0, same_epoch = 0, same_sample = 0;
    for (int s = 0; s < 64; s++) {
        field_plan_apply(&p, x, first, 1, 1, s);
        field_plan_apply(&p, x, other, 1, 1, s);
        CHECK(memcmp(first, other, sizeof first) == 0);
        field_plan_apply(&p, x, other, 2, 1, s);
        same_seed += memcmp(first, other, sizeof first) == 0;
        field_plan_apply(&p, x, other, 1, 2, s);
        same_epoch += memcmp(first, other, sizeof first) == 0;
        field_plan_apply(&p, x, other, 1, 1, s + 1);
        same_sample += memcmp(first, other, sizeof first) == 0;
    }
    CHECK(same_seed < 6 && same_epoch < 6 && same_sample < 6); /* 98 choices: 0.65 expected */
    REQUIRE_OK(plan_of(&p, &field, &t, QUERN_F32, 64, false));
    field_plan_apply(&p, x, other, 1, 1, 0);
    CHECK(memcmp(x, other, sizeof x) == 0); /* evaluation: as it is */
}

TEST_CASE(Transform, refuses_what_does_not_fit) {
    const quern_field image = {.name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {3, 2, 2}};
    const quern_field vector = {.name = "x", .dtype = QUERN_F32, .rank = 1, .dim = {4}};
    const quern_field label = {.name = "label", .dtype = QUERN_I32, .class_count = 3};
    quern_transform t = {.field = "image", .channel_count = 1, .mean = {1}};
    field_plan p;
    CHECK_STATUS(plan_of(&p, &image, &t, QUERN_F32, 12, false), QUERN_SHAPE);
    CHECK_ERROR_HAS("1 channels, the field has 3");
    CHECK_STATUS(plan_of(&p, &image, NULL, QUERN_F32, 784, false), QUERN_SHAPE);
    CHECK_ERROR_HAS("field 'image' has 12 elements per sample, input 'input' has 784");
    CHECK_STATUS(plan_of(&p, &vector, NULL, QUERN_I32, 4, false), QUERN_SHAPE);
    CHECK_ERROR_HAS("'x' is F32 and cannot fill input 'input', which is I32");
    t = (quern_transform){.field = "x", .horizontal_flip = true};
    CHECK_STATUS(plan_of(&p, &vector, &t, QUERN_F32, 4, true), QUERN_INVALID);
    CHECK_ERROR_HAS("rank 1");
    t = (quern_transform){.field = "label", .scale = 2};
    CHECK_STATUS(plan_of(&p, &label, &t, QUERN_I32, 1, true), QUERN_INVALID);
    quern_transform bad[] = {
        {.field = NULL},
        {.field = "x", .scale = NAN},
        {.field = "x", .channel_count = QUERN_CHANNEL_MAX + 1},
        {.field = "x", .channel_count = -1},
        {.field = "x", .channel_count = 1, .mean = {INFINITY}},
        {.field = "x", .channel_count = 1, .deviation = {-1}},
        {.field = "x", .channel_count = 1, .mean = {0, 1}},
        {.field = "x", .crop_padding = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(transform_resolve(&bad[i]), QUERN_INVALID);
}

static void measured(const quern_dataset *set, float scale, quern_transform *out) {
    *out = (quern_transform){.field = "x", .scale = scale};
    CHECK_OK(quern_transform_measure(out, set));
}

TEST_CASE(Measure, finds_mean_and_deviation_of_each_channel) {
    quern_device device = device_of_host(NULL);
    static uint8_t bytes[100][2][3];
    static float floats[100][2][3];
    double mean[2] = {0}, variance[2] = {0};
    for (int n = 0; n < 100; n++)
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < 3; i++) {
                bytes[n][c][i] = (uint8_t)((n * 31 + c * 100 + i * i * 7) % 256);
                floats[n][c][i] = (float)bytes[n][c][i];
                mean[c] += bytes[n][c][i] / 300.0;
            }
    for (int n = 0; n < 100; n++)
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < 3; i++)
                variance[c] += (bytes[n][c][i] - mean[c]) * (bytes[n][c][i] - mean[c]) / 300.0;
    for (int kind = 0; kind < 2; kind++) {
        quern_dataset *set = NULL;
        quern_transform t;
        REQUIRE_OK(quern_dataset_arrays(
            &set, &device,
            &(quern_arrays_desc){.length = 100,
                                 .field_count = 1,
                                 .fields = {{.name = "x",
                                             .dtype = kind ? QUERN_F32 : QUERN_U8,
                                             .rank = 3,
                                             .dim = {2, 1, 3}}},
                                 .data = {kind ? (const void *)floats : (const void *)bytes}}));
        measured(set, 0.25f, &t);
        CHECK(t.channel_count == 2);
        for (int c = 0; c < 2; c++) {
            CHECK_NEAR((double)t.mean[c], 0.25 * mean[c], 1e-5);
            CHECK_NEAR((double)t.deviation[c], 0.25 * sqrt(variance[c]), 1e-5);
        }
        quern_dataset_destroy(set);
    }
}

TEST_CASE(Measure, does_not_cancel_and_gives_a_constant_channel_deviation_one) {
    quern_device device = device_of_host(NULL);
    static double far[1000], same[4] = {5, 5, 5, 5};
    for (int i = 0; i < 1000; i++) far[i] = 1e9 + (i % 2 ? 0.5 : -0.5);
    quern_dataset *set = NULL;
    quern_transform t;
    quern_arrays_desc desc = {.length = 1000,
                              .field_count = 1,
                              .fields = {{.name = "x", .dtype = QUERN_F64}},
                              .data = {far}};
    REQUIRE_OK(quern_dataset_arrays(&set, &device, &desc));
    measured(set, 1, &t);
    CHECK_NEAR((double)t.deviation[0], 0.5, 1e-6);
    quern_dataset_destroy(set);
    desc.length = 4;
    desc.data[0] = same;
    REQUIRE_OK(quern_dataset_arrays(&set, &device, &desc));
    measured(set, 0, &t);
    CHECK(t.mean[0] == 5 && t.deviation[0] == 1);
    t.field = "y";
    CHECK_STATUS(quern_transform_measure(&t, set), QUERN_INVALID);
    CHECK_ERROR_HAS("no field 'y', it has 'x'");
    quern_dataset_destroy(set);
}

/* Columns of a table, of scales far apart; 65 in a row are one signal. */
TEST_CASE(Measure, finds_mean_and_deviation_of_each_column_of_a_table) {
    quern_device device = device_of_host(NULL);
    static float wide[4][QUERN_CHANNEL_MAX + 1];
    static const float rows[4][2] = {{1, 3000}, {-1, 5000}, {1, 5000}, {-1, 3000}};
    quern_arrays_desc desc = {.length = 4,
                              .field_count = 1,
                              .fields = {{.name = "x", .dtype = QUERN_F32, .rank = 1, .dim = {2}}},
                              .data = {rows}};
    quern_dataset *set = NULL;
    quern_transform t;
    REQUIRE_OK(quern_dataset_arrays(&set, &device, &desc));
    measured(set, 1, &t);
    quern_dataset_destroy(set);
    CHECK(t.channel_count == 2 && t.mean[0] == 0 && t.mean[1] == 4000);
    CHECK(t.deviation[0] == 1 && t.deviation[1] == 1000);
    field_plan p;
    float y[2];
    REQUIRE_OK(transform_resolve(&t));
    REQUIRE_OK(plan_of(&p, &desc.fields[0], &t, QUERN_F32, 2, true));
    field_plan_apply(&p, rows[1], y, 0, 0, 0);
    CHECK(y[0] == -1 && y[1] == 1);
    /* One number for all stays one number for all, and three do not fit two columns. */
    t = (quern_transform){.field = "x", .scale = 1, .channel_count = 1, .mean = {1}};
    REQUIRE_OK(transform_resolve(&t));
    REQUIRE_OK(plan_of(&p, &desc.fields[0], &t, QUERN_F32, 2, false));
    field_plan_apply(&p, rows[1], y, 0, 0, 0);
    CHECK(y[0] == -2 && y[1] == 4999);
    t = (quern_transform){.field = "x", .scale = 1, .channel_count = 3};
    REQUIRE_OK(transform_resolve(&t));
    CHECK_STATUS(plan_of(&p, &desc.fields[0], &t, QUERN_F32, 2, false), QUERN_SHAPE);
    desc.fields[0].dim[0] = QUERN_CHANNEL_MAX + 1;
    desc.data[0] = wide;
    REQUIRE_OK(quern_dataset_arrays(&set, &device, &desc));
    measured(set, 1, &t);
    CHECK(t.channel_count == 1);
    quern_dataset_destroy(set);
}
