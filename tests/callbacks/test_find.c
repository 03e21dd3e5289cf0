/* The range test and the batch-size finder: what they find, and that they leave no trace. */
#include "quern_test.h"
#include "support/fault_host.h"
#include "train/world.h"

#include <math.h>
#include <string.h>

enum { WEIGHTS_MAX = 256, POINTS = 60 };

/* Three updates, then another three, with or without a search before and between. */
static bool six_steps(bool search, float *weights, quern_tape_entry *tape, int64_t *tape_count) {
    world w;
    quern_tape *t = NULL;
    const quern_tape_entry *entries = NULL;
    quern_found_learning_rate rate;
    int64_t size;
    if (world_open(&w, &(world_desc){.dropout = true}) != QUERN_OK) return false;
    bool ok = quern_tape_create(&t, w.device, 500, false) == QUERN_OK;
    const quern_callback callback = quern_tape_callback(t);
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.step_limit = 3;
    desc.epoch_count = 0;
    if (ok && search)
        ok = quern_find_learning_rate(&rate, &desc, NULL, NULL, 0) == QUERN_OK &&
             quern_find_batch_size(&size, NULL, &desc, NULL) == QUERN_OK;
    ok = ok && quern_trainer_create(&w.trainer, &desc) == QUERN_OK &&
         quern_trainer_fit(w.trainer, NULL) == QUERN_OK;
    if (ok && search)
        ok = quern_find_learning_rate(&rate, &desc, NULL, NULL, 0) == QUERN_OK &&
             quern_find_batch_size(&size, NULL, &desc, NULL) == QUERN_OK;
    ok = ok && quern_trainer_fit(w.trainer, NULL) == QUERN_OK &&
         world_weights(&w, weights, WEIGHTS_MAX) > 0;
    *tape_count = quern_tape_entries(t, &entries);
    memcpy(tape, entries, (size_t)*tape_count * sizeof *tape);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_tape_destroy(t);
    world_close(&w);
    return ok;
}

TEST_CASE(Find, leaves_the_run_as_it_would_have_been_to_the_bit) {
    static float weights[2][WEIGHTS_MAX];
    static quern_tape_entry tapes[2][500];
    int64_t counts[2];
    for (int i = 0; i < 2; i++) REQUIRE(six_steps(i == 1, weights[i], tapes[i], &counts[i]));
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
    REQUIRE(counts[0] == counts[1] && counts[0] > 20); /* the searches told no callback either */
    for (int64_t i = 0; i < counts[0]; i++)
        CHECK(tapes[0][i].kind == tapes[1][i].kind && tapes[0][i].step == tapes[1][i].step);
}

TEST_CASE(Find, learning_rates_rise_by_one_factor_until_the_loss_explodes) {
    world w;
    quern_find_point p[POINTS];
    quern_found_learning_rate r;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .batch_size = 16}));
    w.desc.optimizer = (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD};
    const quern_find_learning_rate_desc desc = {
        .lowest = 1e-4, .highest = 1e4, .step_count = POINTS};
    REQUIRE_OK(quern_find_learning_rate(&r, &w.desc, &desc, p, POINTS));
    REQUIRE(r.point_count > 10 && r.point_count < POINTS); /* it did explode */
    const double factor = pow(1e8, 1.0 / (POINTS - 1));
    for (int64_t i = 0; i < r.point_count; i++) {
        CHECK_NEAR(p[i].learning_rate / (1e-4 * pow(factor, (double)i)), 1, 1e-12);
        CHECK(isfinite(p[i].loss));
    }
    CHECK_NEAR(p[0].smoothed, p[0].loss, 0);
    CHECK_NEAR(p[1].smoothed, (0.9 * p[0].loss + p[1].loss) / 1.9, 1e-12);
    CHECK_SAY(r.steepest >= 1e-2 && r.steepest < r.lowest && r.lowest < 100,
              "steepest at %g, lowest at %g of %d points", r.steepest, r.lowest,
              (int)r.point_count);
    world_close(&w);
}

TEST_CASE(Find, a_loss_that_is_not_finite_ends_the_test_not_the_caller) {
    world w;
    quern_found_learning_rate r;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.optimizer = (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD};
    const quern_find_learning_rate_desc desc = {
        .lowest = 1e-3, .highest = 1e300, .step_count = 10, .stop_factor = INFINITY};
    REQUIRE_OK(quern_find_learning_rate(&r, &w.desc, &desc, NULL, 0));
    CHECK(r.point_count >= 1 && r.point_count < 10);
    world_close(&w);
}

TEST_CASE(Find, learning_rate_refuses_what_makes_no_sense) {
    world w;
    quern_found_learning_rate r;
    static const quern_find_learning_rate_desc bad[] = {
        {.lowest = -1},    {.lowest = 20},     {.highest = 1e-9},  {.highest = INFINITY},
        {.step_count = 2}, {.step_count = -1}, {.stop_factor = 1}, {.lowest = NAN}};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (int i = 0; i < 8; i++) {
        CHECK_STATUS(quern_find_learning_rate(&r, &w.desc, &bad[i], NULL, 0), QUERN_INVALID);
        CHECK_ERROR_HAS("find learning rate");
    }
    CHECK_STATUS(quern_find_learning_rate(&r, NULL, NULL, NULL, 0), QUERN_INVALID);
    quern_trainer_desc desc = w.desc;
    desc.train = NULL;
    CHECK_STATUS(quern_find_learning_rate(&r, &desc, NULL, NULL, 0), QUERN_INVALID);
    world_close(&w);
}

static size_t bytes_of(const world *w, int64_t batch_size) {
    quern_memory memory;
    quern_trainer_desc desc = w->desc;
    desc.batch_size = batch_size;
    return quern_trainer_memory(&memory, &desc) == QUERN_OK ? memory.peak_bytes : 0;
}

/* The limit is put at what exactly 24 samples need. */
TEST_CASE(Find, the_batch_found_is_the_largest_that_fits) {
    world w;
    int64_t size = 0;
    quern_memory memory;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .valid_length = -1}));
    const size_t limit = bytes_of(&w, 24);
    REQUIRE(limit > 0);
    quern_find_batch_size_desc desc = {.byte_limit = limit};
    REQUIRE_OK(quern_find_batch_size(&size, &memory, &w.desc, &desc));
    CHECK(size == 16 && memory.peak_bytes == bytes_of(&w, 16));
    desc.any = true;
    REQUIRE_OK(quern_find_batch_size(&size, &memory, &w.desc, &desc));
    CHECK(size >= 24 && bytes_of(&w, size) <= limit && bytes_of(&w, size + 1) > limit);
    CHECK(memory.peak_bytes == bytes_of(&w, size));
    desc.largest = 11;
    REQUIRE_OK(quern_find_batch_size(&size, NULL, &w.desc, &desc));
    CHECK(size == 11);
    REQUIRE_OK(quern_find_batch_size(&size, NULL, &w.desc, NULL)); /* all there is */
    CHECK(size == 64);
    world_close(&w);
}

TEST_CASE(Find, batch_size_refuses_what_makes_no_sense_or_does_not_fit) {
    world w;
    int64_t size = 5;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_find_batch_size(&size, NULL, &w.desc,
                                       &(quern_find_batch_size_desc){.byte_limit = 100}),
                 QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("a batch of 1 needs");
    CHECK_ERROR_HAS("100");
    CHECK(size == 0);
    CHECK_STATUS(quern_find_batch_size(&size, NULL, NULL, NULL), QUERN_INVALID);
    CHECK_STATUS(
        quern_find_batch_size(&size, NULL, &w.desc, &(quern_find_batch_size_desc){.largest = -1}),
        QUERN_INVALID);
    world_close(&w);
}

static quern_status search_run(const quern_host *host) {
    world w;
    int64_t size;
    quern_found_learning_rate r;
    quern_status s = world_open(&w, &(world_desc){.host = *host});
    if (s != QUERN_OK) return s;
    s = quern_find_learning_rate(&r, &w.desc, NULL, NULL, 0);
    if (s == QUERN_OK) s = quern_find_batch_size(&size, NULL, &w.desc, NULL);
    world_close(&w);
    return s;
}

TEST_CASE(Find, failing_allocations_leave_nothing) {
    for (int64_t n = 1;; n++) {
        fault_host faults;
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status s = search_run(&faults.host);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_STATUS(s, QUERN_OK);
            break;
        }
        REQUIRE_STATUS(s, QUERN_HOST_MEMORY);
    }
}
