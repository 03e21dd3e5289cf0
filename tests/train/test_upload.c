/* The way of a batch to a device with a memory of its own: by the copy stream, or once, with its
 * whole set. Neither changes a bit, whatever runs when; every byte is planned; any call may fail.
 */
#include "quern_test.h"
#include "two_memories.h"
#include "world.h"

#include <string.h>

typedef struct run {
    float weights[256];
    double valid_loss;
    int64_t copied_beside, live_bytes, planned_bytes;
    quern_memory memory;
} run;

static const world_desc whole = {.train_length = 58, .valid_length = 10, .dropout = true};

static void world_end(world *w, bool apart) {
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    quern_graph_destroy(w->graph);
    w->graph = NULL;
    if (apart) {
        CHECK(memories.live_bytes == 0);
        two_memories_end(w->device);
    }
    world_close(w);
}

static quern_status fit_whole(world *w, run *out) {
    quern_result r;
    quern_status s = quern_trainer_memory(&out->memory, &w->desc);
    if (s == QUERN_OK) s = quern_trainer_create(&w->trainer, &w->desc);
    out->live_bytes = memories.live_bytes;
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, &r);
    if (s != QUERN_OK) return s;
    world_weights(w, out->weights, 256);
    out->valid_loss = r.valid_loss;
    out->planned_bytes = (int64_t)r.peak_bytes;
    return QUERN_OK;
}

static void run_fit(const quern_trainer_desc *change, bool apart, run *out) {
    world w;
    *out = (run){0};
    REQUIRE_OK(world_open(&w, &whole));
    if (apart) two_memories_begin(w.device);
    w.desc.epoch_count = 3;
    w.desc.resident = change->resident;
    w.desc.run_ahead = change->run_ahead;
    w.desc.worker_count = change->worker_count;
    w.desc.accumulate = change->accumulate;
    w.desc.tail = change->tail;
    w.desc.no_capture = change->no_capture;
    CHECK_OK(fit_whole(&w, out));
    out->copied_beside = memories.copied_beside;
    if (apart) CHECK(out->live_bytes == out->planned_bytes);
    if (apart) CHECK((size_t)out->live_bytes == out->memory.peak_bytes);
    world_end(&w, apart);
}

static const quern_trainer_desc ways[] = {
    {0},
    {.run_ahead = 1},
    {.run_ahead = 40},
    {.worker_count = 2},
    {.accumulate = 3},
    {.accumulate = 4, .tail = QUERN_TAIL_CARRY, .run_ahead = 3},
    {.no_capture = true},
};

TEST_CASE(Upload, by_the_copy_stream_changes_no_bit) {
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        quern_trainer_desc way = ways[i];
        run near, apart;
        run_fit(&way, false, &near);
        way.resident = QUERN_RESIDENT_OFF;
        run_fit(&way, true, &apart);
        CHECK(memcmp(near.weights, apart.weights, sizeof near.weights) == 0);
        CHECK(near.valid_loss == apart.valid_loss);
        /* Every sample of three epochs and their evaluations went that way, once or more. */
        CHECK(apart.copied_beside >= 3 * (58 + 10) * (int64_t)sizeof(float) * WORLD_FEATURES);
        CHECK(apart.memory.staging_bytes == 2 * 128 && apart.memory.data_bytes == 0);
    }
}

TEST_CASE(Upload, of_whole_sets_changes_no_bit) {
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        run near, apart;
        run_fit(&ways[i], false, &near);
        run_fit(&ways[i], true, &apart); /* AUTO: there is room */
        CHECK(memcmp(near.weights, apart.weights, sizeof near.weights) == 0);
        CHECK(near.valid_loss == apart.valid_loss);
        CHECK(apart.copied_beside == 0 && apart.memory.staging_bytes == 0);
        CHECK(apart.memory.data_bytes >= 68 * (WORLD_FEATURES + 1) * sizeof(float));
    }
}

/* After any failure everything can be destroyed, and before that a fit goes on. */
static bool fails_at(memory_call kind, int64_t n, bool for_ever, quern_resident resident) {
    world w;
    const quern_status opened = world_open(&w, &whole);
    CHECK_OK(opened);
    if (opened != QUERN_OK) return false;
    two_memories_begin(w.device);
    memories.fail_at[kind] = n;
    memories.for_ever = for_ever;
    w.desc.resident = resident;
    w.desc.run_ahead = 4;
    w.desc.step_limit = 9;
    quern_status s = quern_trainer_create(&w.trainer, &w.desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    const bool fired = memories.count[kind] >= n;
    if (fired) {
        CHECK(s != QUERN_OK);
        CHECK_SAY(strstr(quern_error(), "by plan"), "kind %d n %d resident %d: %s", (int)kind,
                  (int)n, (int)resident, quern_error());
    } else {
        CHECK_OK(s);
    }
    memories.fail_at[kind] = 0;
    if (fired && w.trainer) CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    world_end(&w, true);
    return fired;
}

TEST_CASE(Upload, survives_the_failure_of_any_call) {
    static const quern_resident how[] = {QUERN_RESIDENT_ON, QUERN_RESIDENT_OFF};
    for (int kind = 0; kind < MEMORY_CALL_COUNT; kind++)
        for (int i = 0; i < 2; i++)
            for (int for_ever = 0; for_ever < 2; for_ever++) {
                int64_t n = 1;
                while (fails_at((memory_call)kind, n, for_ever != 0, how[i])) n++;
                CHECK(n > 1 || kind == MEMORY_STREAM_CREATE || kind == MEMORY_WAIT_EVENT);
            }
}
