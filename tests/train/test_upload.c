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

/* AUTO takes a set as long as it and those before it are half of what is free beside all else. */
TEST_CASE(Upload, of_sets_stops_where_the_room_ends) {
    world w;
    quern_memory none, train, both, found;
    run near, apart = {0};
    run_fit(&(quern_trainer_desc){0}, false, &near);
    REQUIRE_OK(world_open(&w, &whole));
    two_memories_begin(w.device);
    w.desc.epoch_count = 3;
    w.desc.resident = QUERN_RESIDENT_ON;
    CHECK_OK(quern_trainer_memory(&both, &w.desc));
    quern_trainer_desc alone = w.desc;
    alone.valid = NULL;
    CHECK_OK(quern_trainer_memory(&train, &alone));
    w.desc.resident = QUERN_RESIDENT_OFF;
    CHECK_OK(quern_trainer_memory(&none, &w.desc));
    const size_t rest = none.peak_bytes - none.staging_bytes;
    CHECK(rest == both.peak_bytes - both.data_bytes && train.data_bytes < both.data_bytes);
    w.desc.resident = QUERN_RESIDENT_AUTO;
    const size_t rooms[] = {0, train.data_bytes - 1, train.data_bytes, both.data_bytes - 1,
                            both.data_bytes};
    const size_t taken[] = {0, 0, train.data_bytes, train.data_bytes, both.data_bytes};
    for (int i = 0; i < 5; i++) {
        memories.free_bytes = (int64_t)(rest + 2 * rooms[i]);
        CHECK_OK(quern_trainer_memory(&found, &w.desc));
        /* Without the training set there may be room for the smaller one. */
        CHECK(i < 2 ? found.data_bytes < train.data_bytes : found.data_bytes == taken[i]);
        CHECK((found.staging_bytes == 0) == (i == 4));
    }
    memories.free_bytes = (int64_t)none.peak_bytes;
    REQUIRE_OK(fit_whole(&w, &apart));
    CHECK(quern_trainer_resolved(w.trainer)->resident == QUERN_RESIDENT_OFF);
    CHECK(memories.copied_beside > 0);
    CHECK(memcmp(near.weights, apart.weights, sizeof near.weights) == 0);
    world_end(&w, true);
}

/* 10 MB of bytes: more than is brought to the device at a time. */
TEST_CASE(Upload, of_a_large_set_in_parts_changes_no_bit) {
    enum { WIDTH = 40000, ROWS = 250, BATCH = 50 };
    static uint8_t bytes[ROWS][WIDTH];
    static float target[ROWS], weights[2][WIDTH];
    for (int64_t i = 0; i < ROWS * (int64_t)WIDTH; i++)
        bytes[i / WIDTH][i % WIDTH] = (uint8_t)(i * 2654435761 >> 20);
    for (int i = 0; i < ROWS; i++) target[i] = (float)(i % 7);
    for (int apart = 0; apart < 2; apart++) {
        world w;
        quern_dataset *set = NULL;
        quern_graph *g = NULL;
        quern_trainer *trainer = NULL;
        REQUIRE_OK(world_open(&w, &whole));
        if (apart) two_memories_begin(w.device);
        const quern_arrays_desc arrays = {
            .length = ROWS,
            .field_count = 2,
            .fields = {{.name = "x", .dtype = QUERN_U8, .rank = 1, .dim = {WIDTH}}, {.name = "y"}},
            .data = {bytes, target}};
        REQUIRE_OK(quern_dataset_arrays(&set, w.device, &arrays));
        REQUIRE_OK(quern_graph_create(&g, w.device, NULL));
        quern_tensor *x =
            quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WIDTH}});
        quern_tensor *y =
            quern_input(g, &(quern_input_desc){.name = "y", .rank = 2, .dim = {QUERN_B, 1}});
        quern_tensor *z = quern_dense(g, x, &(quern_dense_desc){.units = 1, .name = "fc"});
        const quern_transform scale = {.field = "x", .scale = 1 / 255.0f};
        CHECK_OK(quern_trainer_create(&trainer, &(quern_trainer_desc){.graph = g,
                                                                      .loss = quern_mse(g, z, y),
                                                                      .train = set,
                                                                      .transforms = &scale,
                                                                      .transform_count = 1,
                                                                      .batch_size = BATCH}));
        CHECK_OK(quern_trainer_fit(trainer, NULL));
        CHECK_OK(quern_parameters_read(quern_trainer_parameters(trainer),
                                       quern_tensor_find(g, "fc.weight"), weights[apart],
                                       sizeof weights[0]));
        quern_trainer_destroy(trainer);
        quern_graph_destroy(g);
        quern_dataset_destroy(set);
        world_end(&w, apart);
    }
    CHECK(weights[0][0] != weights[0][1] && weights[0][0] == weights[0][0]);
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
}

/* What a set takes that is resident only where there is room makes no batch smaller. */
TEST_CASE(Upload, of_whole_sets_takes_no_part_in_the_search_for_a_batch_size) {
    static const quern_resident how[] = {QUERN_RESIDENT_OFF, QUERN_RESIDENT_AUTO};
    for (int64_t batch = 1; batch <= 16; batch *= 4) {
        int64_t found[2] = {0};
        for (int i = 0; i < 2; i++) {
            world w;
            quern_memory memory;
            REQUIRE_OK(world_open(&w, &whole));
            two_memories_begin(w.device);
            w.desc.batch_size = batch;
            w.desc.resident = QUERN_RESIDENT_OFF;
            CHECK_OK(quern_trainer_memory(&memory, &w.desc));
            w.desc.resident = how[i];
            CHECK_OK(quern_find_batch_size(
                &found[i], NULL, &w.desc,
                &(quern_find_batch_size_desc){.byte_limit = memory.peak_bytes}));
            world_end(&w, true);
        }
        CHECK_SAY(found[0] >= batch && found[1] == found[0], "%d and %d, not %d", (int)found[0],
                  (int)found[1], (int)batch);
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
