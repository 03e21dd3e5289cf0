/* test_gather.c - a batch gathered from a data set in memory against the same batch made sample by
 * sample as a loader makes it: bit by bit, for every pair of types, odd shapes, crops and flips. */
#include "host/device/device.h"
#include "kernels/cpu/field_plan.h"
#include "kernels/sampler.h"
#include "quern_test.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH = 37, ROWS_MAX = 37, GUARD = 0x5A };

typedef struct shape {
    int64_t channels, height, width, padding;
    bool flip;
} shape;

static quern_device *device;

static void begin(int32_t thread_count) {
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = thread_count}));
}

/* Values of every type that none of the others holds exactly. */
static void *values_make(quern_dtype dtype, int64_t count) {
    void *data = malloc((size_t)count * quern_dtype_bytes(dtype));
    for (int64_t i = 0; data && i < count; i++) {
        const int64_t n = i * 2654435761 % 1000003;
        switch (dtype) {
        case QUERN_F32: ((float *)data)[i] = (float)n / 7.0f - 3000; break;
        case QUERN_F64: ((double *)data)[i] = (double)n / 7.0 - 3000; break;
        case QUERN_I32: ((int32_t *)data)[i] = (int32_t)(n * 2001 - 1000000000); break;
        case QUERN_I64: ((int64_t *)data)[i] = n * 2001 - 1000000000; break;
        default: ((uint8_t *)data)[i] = (uint8_t)n; break;
        }
    }
    return data;
}

static field_plan plan_of(quern_dtype from, quern_dtype to, const shape *s) {
    const bool real = to == QUERN_F32 || to == QUERN_F64;
    field_plan p = {.from = from,
                    .to = to,
                    .count = s->channels * s->height * s->width,
                    .channels = s->channels,
                    .height = s->height,
                    .width = s->width,
                    .arithmetic = real,
                    .normalise = real && s->channels > 1,
                    .scale = real ? (double)(1 / 255.0f) : 1,
                    .crop_padding = s->padding,
                    .horizontal_flip = s->flip};
    for (int64_t c = 0; p.normalise && c < s->channels; c++) {
        p.mean[c] = 0.1 + 0.2 * (double)c;
        p.deviation[c] = 0.3 + 0.01 * (double)c;
    }
    return p;
}

/* As a loader fills a slot. */
static void expect(const task_gather *t, const task_field *f, const task_batch *batch, void *to) {
    const sampler order = sampler_of_epoch(t->length, t->shuffle, t->seed, batch->epoch);
    for (int64_t row = 0; row < t->sample_count; row++) {
        const int64_t sample = sampler_index(&order, batch->first_position + row);
        field_plan_apply(&f->plan,
                         (const char *)f->from +
                             (size_t)(sample * f->plan.count) * quern_dtype_bytes(f->plan.from),
                         (char *)to + (size_t)(row * f->plan.count) * quern_dtype_bytes(f->plan.to),
                         t->seed, batch->epoch, sample);
    }
}

static void gather_run(const task_gather *t) {
    void *picks = malloc((size_t)t->sample_count * sizeof(task_pick));
    REQUIRE(picks != NULL);
    const quern_kernel_args args = {.attributes = t, .scratch = picks, .stream = device->stream};
    CHECK_OK(device->backend->call(device->stream, device->backend->tasks[TASK_gather], &args));
    CHECK_OK(device->backend->stream_wait(device->stream));
    free(picks);
}

static void check_pair(quern_dtype from, quern_dtype to, const shape *s, int64_t rows) {
    const field_plan plan = plan_of(from, to, s);
    const size_t bytes = (size_t)(rows * plan.count) * quern_dtype_bytes(to);
    void *raw = values_make(from, LENGTH * plan.count), *found = malloc(bytes);
    void *expected = malloc(bytes);
    REQUIRE(raw && found && expected);
    memset(found, GUARD, bytes);
    const task_batch batch = {.epoch = 5, .first_position = LENGTH - rows};
    const task_field field = {.from = raw, .to = found, .plan = plan};
    quern_run run = {0};
    const task_gather t = {.batches = &batch,
                           .lane_count = 1,
                           .window = 1,
                           .run = &run,
                           .length = LENGTH,
                           .shuffle = true,
                           .seed = 99,
                           .sample_count = rows,
                           .field_count = 1,
                           .fields = &field};
    gather_run(&t);
    expect(&t, &field, &batch, expected);
    CHECK(memcmp(found, expected, bytes) == 0);
    CHECK(run.attempt == 0);
    free(raw);
    free(found);
    free(expected);
}

static const shape shapes[] = {{1, 1, 1, 0, false}, {1, 1, 31, 0, false}, {3, 5, 7, 0, false},
                               {3, 5, 7, 2, true},  {2, 6, 1, 3, true},   {1, 9, 33, 0, true},
                               {4, 3, 3, 5, false}};

TEST_CASE(Gather, makes_the_loaders_bits_for_every_pair_of_types) {
    static const quern_dtype pairs[][2] = {
        {QUERN_U8, QUERN_F32},  {QUERN_I32, QUERN_F32}, {QUERN_I64, QUERN_F32},
        {QUERN_F32, QUERN_F32}, {QUERN_F64, QUERN_F32}, {QUERN_U8, QUERN_F64},
        {QUERN_I32, QUERN_F64}, {QUERN_I64, QUERN_F64}, {QUERN_F32, QUERN_F64},
        {QUERN_F64, QUERN_F64}, {QUERN_U8, QUERN_U8},   {QUERN_U8, QUERN_I32},
        {QUERN_I32, QUERN_I32}, {QUERN_I64, QUERN_I32}, {QUERN_U8, QUERN_I64},
        {QUERN_I32, QUERN_I64}, {QUERN_I64, QUERN_I64}};
    for (int32_t threads = 1; threads <= 3; threads++) {
        begin(threads);
        for (size_t p = 0; p < sizeof pairs / sizeof pairs[0]; p++)
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
                check_pair(pairs[p][0], pairs[p][1], &shapes[s], 1 + (int64_t)(p * 7 + s * 5) % 31);
        quern_device_destroy(device);
    }
}

/* More rows than a grid has, and samples longer than a block. */
TEST_CASE(Gather, takes_all_rows_of_long_samples) {
    begin(2);
    check_pair(QUERN_U8, QUERN_F32, &(shape){3, 20, 17, 4, true}, LENGTH);
    quern_device_destroy(device);
}

/* Two fields of a sample share the draw, and each attempt and microbatch has its own batch. */
TEST_CASE(Gather, finds_its_batch_where_the_run_stands) {
    enum { LANES = 3, WINDOW = 2, ROWS = 5 };
    const shape s = {1, 4, 6, 2, true};
    begin(1);
    void *raw[2] = {values_make(QUERN_U8, LENGTH * 24), values_make(QUERN_F32, LENGTH * 24)};
    float found[2][ROWS * 24], expected[ROWS * 24];
    task_field fields[2];
    for (int i = 0; i < 2; i++)
        fields[i] = (task_field){.from = raw[i],
                                 .to = found[i],
                                 .plan = plan_of(i ? QUERN_F32 : QUERN_U8, QUERN_F32, &s)};
    task_batch batches[LANES * WINDOW];
    for (int64_t i = 0; i < LANES * WINDOW; i++)
        batches[i] = (task_batch){.epoch = i / 4, .first_position = i * ROWS};
    quern_run run = {.attempt = 7};
    task_gather t = {.batches = batches,
                     .lane_count = LANES,
                     .window = WINDOW,
                     .run = &run,
                     .length = LENGTH,
                     .shuffle = true,
                     .seed = 3,
                     .sample_count = ROWS,
                     .field_count = 2,
                     .fields = fields};
    for (int64_t attempt = 7; attempt < 10; attempt++)
        for (run.microbatch = 0; run.microbatch < WINDOW; run.microbatch++) {
            run.attempt = attempt;
            gather_run(&t);
            for (int i = 0; i < 2; i++) {
                expect(&t, &fields[i], &batches[attempt % LANES * WINDOW + run.microbatch],
                       expected);
                CHECK(memcmp(found[i], expected, sizeof expected) == 0);
            }
        }
    run = (quern_run){.attempt = 4};
    t.advance = true;
    t.shuffle = false;
    for (int64_t attempt = 4; attempt < 9; attempt++) {
        gather_run(&t);
        CHECK(run.attempt == attempt + 1 && run.microbatch == 0);
        expect(&t, &fields[0], &batches[attempt % LANES * WINDOW], expected);
        CHECK(memcmp(found[0], expected, sizeof expected) == 0);
    }
    free(raw[0]);
    free(raw[1]);
    quern_device_destroy(device);
}
