/* How far ahead the host runs where nobody says, and an own loop's windows when it runs far. */
#include "host/train/trainer.h"
#include "quern_test.h"
#include "world.h"

#include <string.h>

/* Of a trainer of the world's network as it would be on a device with memory of its own. */
static int32_t ahead_of(const quern_trainer_desc *change, bool device) {
    world w;
    quern_backend backend = quern_backend_cpu;
    if (world_open(&w, &(world_desc){0}) != QUERN_OK) return -1;
    if (device) backend.kind = QUERN_BACKEND_CUDA;
    quern_trainer t = {.desc = *change, .graph = w.graph, .backend = &backend};
    run_ahead_fill_default(&t);
    world_close(&w);
    return t.desc.run_ahead;
}

/* A sample is 4 F32 and an I32: 20 bytes. */
TEST_CASE(RunAhead, is_what_staging_memory_and_descriptors_allow) {
    static const struct {
        int64_t batch_size, accumulate;
        int32_t given, cpu, device;
    } cases[] = {
        {.batch_size = 4, .accumulate = 1, .cpu = 2, .device = 128},
        {.batch_size = 4, .accumulate = 1, .given = 7, .cpu = 7, .device = 7},
        {.batch_size = 4, .accumulate = 128, .cpu = 2, .device = 128},
        {.batch_size = 4, .accumulate = 1024, .cpu = 2, .device = 16},
        {.batch_size = 4, .accumulate = 4096, .cpu = 2, .device = 4},
        {.batch_size = 1 << 20, .accumulate = 1, .cpu = 2, .device = 12}, /* of 20 MiB */
        {.batch_size = 1 << 20, .accumulate = 4, .cpu = 2, .device = 3},
        {.batch_size = INT64_C(1) << 30, .accumulate = 1, .cpu = 2, .device = 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const quern_trainer_desc change = {.batch_size = cases[i].batch_size,
                                           .accumulate = cases[i].accumulate,
                                           .run_ahead = cases[i].given};
        const int32_t cpu = ahead_of(&change, false), device = ahead_of(&change, true);
        CHECK_SAY(cpu == cases[i].cpu && device == cases[i].device, "case %d: %d, on a device %d",
                  (int)i, (int)cpu, (int)device);
    }
}

/* Slots of batches from the host are bounded by themselves, in bytes and in number. */
TEST_CASE(RunAhead, is_less_for_batches_that_need_more_staging_memory) {
    static const struct {
        int64_t batch_size;
        int32_t lanes, window, staged;
    } cases[] = {
        {4, 129, 1, 129},      {4, 129, 2, 128},     {4, 129, 100, 3},       {4, 2, 100, 2},
        {1 << 20, 129, 1, 12}, {1 << 20, 129, 3, 4}, {1 << 20, 129, 100, 3}, {1 << 20, 3, 1, 3},
        {1 << 24, 129, 1, 3},  {1 << 24, 2, 1, 2},
    };
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const quern_trainer t = {
            .desc.batch_size = cases[i].batch_size, .graph = w.graph, .lanes = cases[i].lanes};
        CHECK_SAY(staged_lanes(&t, cases[i].window) == cases[i].staged, "case %d: %d", (int)i,
                  (int)staged_lanes(&t, cases[i].window));
    }
    world_close(&w);
}

/* Windows of growing and shrinking length; their slots are fewer than what may be in flight. */
static void own_loop(int32_t run_ahead, float *weights, quern_result *result) {
    static const int32_t counts[] = {1, 1, 5, 2, 5, 5, 5, 100, 3, 100, 100, 1, 1, 90};
    world w;
    quern_batch batches[100];
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .dropout = true}));
    w.desc.train = w.desc.valid = NULL;
    w.desc.run_ahead = run_ahead;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int round = 0, at = 0; round < 20; round++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            float x[100][4][WORLD_FEATURES]; /* the caller's again as soon as it was taken */
            for (int j = 0; j < counts[i]; j++, at = (at + 1) % 16) {
                memcpy(x[j], w.train_x[4 * at], sizeof x[j]);
                batches[j] = (quern_batch){.sample_count = 4,
                                           .field_count = 2,
                                           .names = {"x", "label"},
                                           .data = {x[j], &w.train_label[4 * at]}};
            }
            CHECK_OK(quern_trainer_step_window(w.trainer, batches, counts[i]));
            memset(x, 0xFF, sizeof x);
        }
    CHECK_OK(quern_trainer_wait(w.trainer, result));
    CHECK(world_weights(&w, weights, 256) > 50);
    world_close(&w);
}

TEST_CASE(RunAhead, changes_no_bit_of_an_own_loop_of_windows) {
    static const int32_t aheads[] = {2, 3, 7, 64, 128};
    float first[256] = {0};
    quern_result r;
    own_loop(1, first, &r);
    CHECK(r.step == 280 && r.attempts == 280);
    for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++) {
        float weights[256] = {0};
        own_loop(aheads[i], weights, &r);
        CHECK_SAY(memcmp(first, weights, sizeof first) == 0 && r.step == 280, "%d ahead",
                  (int)aheads[i]);
    }
}

/* With slots for three windows the host waits for the oldest of them, while two stay under way. */
TEST_CASE(RunAhead, leaves_windows_in_flight_where_there_are_few_slots) {
    world w;
    quern_batch batches[100];
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64}));
    w.desc.train = w.desc.valid = NULL;
    w.desc.run_ahead = 128;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < 100; i++)
        batches[i] = (quern_batch){.sample_count = 4,
                                   .field_count = 2,
                                   .names = {"x", "label"},
                                   .data = {w.train_x, w.train_label}};
    for (int i = 1; i <= 9; i++) {
        const quern_trainer *t = w.trainer;
        CHECK_OK(quern_trainer_step_window(w.trainer, batches, 100));
        CHECK_SAY(t->in_flight_count == (i < 3 ? i : 2) && t->reached == (i < 3 ? 0 : i - 2),
                  "%d windows: %d in flight, %d known to have run", i, (int)t->in_flight_count,
                  (int)t->reached);
    }
    CHECK_OK(quern_trainer_wait(w.trainer, NULL));
    world_close(&w);
}
