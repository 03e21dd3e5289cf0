#include "memory_files.h"
#include "quern_test.h"

#include "../../src/host/data/dataset.h"

#include <math.h>
#include <string.h>

static int64_t three(void *self) {
    (void)self;
    return 3;
}
static int64_t endless(void *self) {
    (void)self;
    return -1;
}
static int64_t wrong(void *self) {
    (void)self;
    return -2;
}
static quern_status read_nothing(void *self, int64_t index, void *const *to) {
    (void)self, (void)index, (void)to;
    return QUERN_OK;
}
static quern_field custom_field;
static int32_t one_field(void *self, const quern_field **out) {
    (void)self;
    *out = &custom_field;
    return 1;
}
static int32_t no_fields(void *self, const quern_field **out) {
    (void)self;
    *out = NULL;
    return 0;
}
static int32_t null_fields(void *self, const quern_field **out) {
    (void)self;
    *out = NULL;
    return 2;
}
static void count_destroy(void *self) { ++*(int *)self; }

TEST_CASE(Dataset, custom_type_is_checked_and_owned) {
    quern_device device = device_of_host(NULL);
    const quern_dataset_type good = {.name = "mine",
                                     .length = three,
                                     .fields = one_field,
                                     .read = read_nothing,
                                     .destroy = count_destroy};
    quern_dataset_type bad[7];
    for (int i = 0; i < 7; i++) bad[i] = good;
    bad[0].name = NULL;
    bad[1].length = NULL;
    bad[2].fields = NULL;
    bad[3].read = NULL;
    bad[4].length = endless; /* without next */
    bad[5].length = wrong;
    bad[6].fields = null_fields;
    custom_field = (quern_field){.name = "x", .dtype = QUERN_F32};
    quern_dataset *set = NULL;
    int destroyed = 0;
    for (int i = 0; i < 7; i++) {
        CHECK_STATUS(quern_dataset_custom(&set, &device, &bad[i], &destroyed), QUERN_INVALID);
        CHECK(set == NULL);
    }
    bad[6].fields = no_fields;
    CHECK_STATUS(quern_dataset_custom(&set, &device, &bad[6], &destroyed), QUERN_INVALID);
    CHECK_ERROR_HAS("0 fields");
    CHECK(destroyed == 0);
    REQUIRE_OK(quern_dataset_custom(&set, &device, &good, &destroyed));
    CHECK(quern_dataset_length(set) == 3);
    quern_dataset_destroy(set);
    CHECK(destroyed == 1);
    quern_dataset_destroy(NULL);
    CHECK_STATUS(quern_dataset_custom(NULL, &device, &good, NULL), QUERN_INVALID);
    CHECK_STATUS(quern_dataset_custom(&set, NULL, &good, NULL), QUERN_INVALID);
}

TEST_CASE(Dataset, fields_are_checked) {
    quern_device device = device_of_host(NULL);
    const quern_field bad[] = {
        {.name = NULL},
        {.name = ""},
        {.name = "a-name-of-sixty-four-bytes-is-one-too-long-for-a-field-of-a-set-"},
        {.name = "x", .dtype = QUERN_BF16},
        {.name = "x", .dtype = QUERN_DTYPE_COUNT},
        {.name = "x", .rank = -1},
        {.name = "x", .rank = QUERN_RANK_MAX},
        {.name = "x", .rank = 1, .dim = {0}},
        {.name = "x", .rank = 2, .dim = {INT64_C(1) << 40, INT64_C(1) << 40}},
        {.name = "x", .rank = 1, .dim = {INT64_MAX}},
        {.name = "x", .class_count = 3}, /* of floats */
        {.name = "x", .dtype = QUERN_I32, .class_count = -1},
    };
    const quern_dataset_type type = {
        .name = "mine", .length = three, .fields = one_field, .read = read_nothing};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        quern_dataset *set = NULL;
        custom_field = bad[i];
        CHECK_STATUS(quern_dataset_custom(&set, &device, &type, NULL), QUERN_INVALID);
        CHECK_ERROR_HAS("mine");
        CHECK(set == NULL);
    }
}

TEST_CASE(Dataset, arrays_are_borrowed_and_checked) {
    quern_device device = device_of_host(NULL);
    float x[6] = {1, 2, 3, 4, 5, 6};
    int64_t y[3] = {0, 1, 2};
    quern_arrays_desc desc = {.length = 3,
                              .field_count = 2,
                              .fields = {{.name = "x", .rank = 1, .dim = {2}},
                                         {.name = "y", .dtype = QUERN_I64, .class_count = 3}},
                              .data = {x, y}};
    quern_dataset *set = NULL;
    REQUIRE_OK(quern_dataset_arrays(&set, &device, &desc));
    CHECK(set->data[0] == (const uint8_t *)x && set->data[1] == (const uint8_t *)y);
    quern_dataset_destroy(set);
    y[2] = 3;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("arrays: field 'y' of sample 2 is 3, expected 0 to 2");
    y[2] = 2;
    x[3] = NAN;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("element 1 of field 'x' of sample 1 is NaN");
    x[3] = INFINITY;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("infinite");
    x[3] = 4;
    desc.fields[1].class_count = 0;
    y[0] = INT64_C(-3000000000);
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("-3000000000");
    y[0] = 0;
    desc.length = 0;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INPUT);
    desc.length = -1;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INVALID);
    desc.length = 3;
    desc.data[2] = x;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INVALID);
    desc.data[2] = NULL;
    desc.data[1] = NULL;
    CHECK_STATUS(quern_dataset_arrays(&set, &device, &desc), QUERN_INVALID);
    CHECK_STATUS(quern_dataset_arrays(&set, &device, NULL), QUERN_INVALID);
    CHECK(set == NULL);
}

static uint64_t hash_of(const uint8_t *data, size_t bytes) {
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ data[i]) * UINT64_C(1099511628211);
    return hash;
}

/* The hash comes from a separate implementation in Python. */
TEST_CASE(Synthetic, is_a_pure_function_of_seed_and_index) {
    quern_device device = device_of_host(NULL);
    quern_dataset *a = NULL, *b = NULL, *c = NULL;
    REQUIRE_OK(
        quern_dataset_synthetic(&a, &device, &(quern_synthetic_desc){.length = 40, .seed = 3}));
    REQUIRE_OK(quern_dataset_synthetic(
        &b, &device, &(quern_synthetic_desc){.length = 20, .first_index = 20, .seed = 3}));
    REQUIRE_OK(
        quern_dataset_synthetic(&c, &device, &(quern_synthetic_desc){.length = 40, .seed = 4}));
    CHECK(memcmp(a->data[0] + 20 * 784, b->data[0], 20 * 784) == 0);
    CHECK(memcmp(a->data[1] + 20 * 4, b->data[1], 20 * 4) == 0);
    CHECK(memcmp(a->data[0], c->data[0], 40 * 784) != 0);
    CHECK(a->fields[1].class_count == 10);
    CHECK_SAY(hash_of(a->data[0], 40 * 784) == UINT64_C(0x745fdbcb44ac954e),
              "the images' hash is %llx", (unsigned long long)hash_of(a->data[0], 40 * 784));
    quern_dataset_destroy(a);
    quern_dataset_destroy(b);
    quern_dataset_destroy(c);
}

TEST_CASE(Synthetic, the_nearest_class_mean_tells_the_classes_apart) {
    enum { TRAIN = 2000, TEST = 500, PIXELS = 784 };
    quern_device device = device_of_host(NULL);
    quern_dataset *set = NULL;
    REQUIRE_OK(
        quern_dataset_synthetic(&set, &device, &(quern_synthetic_desc){.length = TRAIN + TEST}));
    static double mean[10][PIXELS];
    int count[10] = {0}, right = 0;
    const int32_t *label = (const int32_t *)(const void *)set->data[1];
    for (int i = 0; i < TRAIN; i++) {
        count[label[i]]++;
        for (int k = 0; k < PIXELS; k++) mean[label[i]][k] += set->data[0][i * PIXELS + k];
    }
    for (int i = TRAIN; i < TRAIN + TEST; i++) {
        int best = -1;
        double least = INFINITY;
        for (int c = 0; c < 10; c++) {
            double distance = 0;
            for (int k = 0; k < PIXELS; k++) {
                const double d = mean[c][k] / count[c] - set->data[0][i * PIXELS + k];
                distance += d * d;
            }
            if (distance < least) least = distance, best = c;
        }
        right += best == label[i];
    }
    for (int c = 0; c < 10; c++) CHECK(count[c] > 150 && count[c] < 250);
    CHECK_SAY(right > TEST * 9 / 10, "%d of %d right", right, TEST);
    quern_dataset_destroy(set);
}

TEST_CASE(Synthetic, refuses_counts_that_make_no_sense) {
    quern_device device = device_of_host(NULL);
    quern_dataset *set = NULL;
    const quern_synthetic_desc bad[] = {{.length = -1},
                                        {.first_index = -1},
                                        {.class_count = -1},
                                        {.class_count = 65537},
                                        {.first_index = INT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(quern_dataset_synthetic(&set, &device, &bad[i]), QUERN_INVALID);
}
