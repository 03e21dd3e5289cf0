/* Batches that come from the host to a trainer whose own set the device holds: how much pinned
 * memory they take, and how such a trainer learns to take them. */
#include "host/train/trainer.h"
#include "quern_test.h"
#include "two_memories.h"
#include "world.h"

#include <string.h>

static void apart_open(world *w, quern_host host) {
    REQUIRE_OK(world_open(w, &(world_desc){.train_length = 58, .valid_length = 10, .host = host}));
    two_memories_begin(w->device);
    w->desc.valid = NULL;
}

static void apart_close(world *w) {
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    CHECK(memories.live_bytes == 0);
    two_memories_end(w->device);
    world_close(w);
}

/* A batch takes 20 MiB: 12 of them may be staged, though 129 attempts may be in flight. */
TEST_CASE(Staging, of_other_sets_is_bounded_however_far_ahead_a_resident_set_is) {
    enum { BATCH = 1 << 20 };
    static const size_t batch_bytes = (size_t)20 << 20, most = (size_t)256 << 20;
    double losses[2];
    for (int large = 0; large < 2; large++) {
        world w;
        quern_scalar scalars[8];
        apart_open(&w, (quern_host){0});
        w.desc.batch_size = large ? BATCH : 10;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK(quern_trainer_resolved(w.trainer)->resident == QUERN_RESIDENT_ON);
        CHECK(quern_trainer_resolved(w.trainer)->run_ahead == 128);
        CHECK_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 8, NULL));
        losses[large] = scalars[0].value;
        const feed *f = &w.trainer->eval_feed;
        CHECK_SAY(f->slot_count == (large ? 12 : 129), "%d slots", (int)f->slot_count);
        if (large) CHECK(f->block_bytes == 12 * batch_bytes && f->block_bytes <= most);
        apart_close(&w);
    }
    CHECK(losses[0] > 0 && losses[0] == losses[1]);
}

/* More batches than slots: their lanes come round, and nothing is lost. */
TEST_CASE(Staging, of_fewer_lanes_than_the_ring_evaluates_the_same) {
    world w;
    double losses[2];
    apart_open(&w, (quern_host){0});
    w.desc.batch_size = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int fewer = 0; fewer < 2; fewer++) {
        quern_scalar scalars[8];
        if (fewer) { /* as if a sample were of 64 MiB */
            w.trainer->desc.batch_size = ((int64_t)64 << 20) / 20;
            CHECK(staged_lanes(w.trainer, 1) == 4 && w.trainer->lanes == 129);
        }
        CHECK_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 8, NULL));
        losses[fewer] = scalars[0].value;
        w.trainer->desc.batch_size = 1;
    }
    CHECK(losses[0] > 0 && losses[0] == losses[1]);
    apart_close(&w);
}

typedef struct lines {
    int staging;
} lines;

static void note_line(void *self, quern_log_level level, const char *sentence) {
    (void)level;
    if (strstr(sentence, "staging memory for such windows")) ((lines *)self)->staging++;
}

static quern_status step_one(world *w) {
    return quern_trainer_step(w->trainer, &(quern_batch){.sample_count = 4,
                                                         .field_count = 2,
                                                         .names = {"x", "label"},
                                                         .data = {w->train_x, w->train_label}});
}

TEST_CASE(Staging, of_an_own_loop_is_told_once_where_there_is_a_training_set) {
    world w;
    lines told = {0};
    apart_open(&w, (quern_host){.log = {note_line, &told}});
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK(told.staging == 0);
    CHECK_OK(step_one(&w));
    CHECK_OK(step_one(&w));
    CHECK(quern_trainer_input(w.trainer, "x") != NULL);
    CHECK(told.staging == 1);
    quern_trainer_destroy(w.trainer);
    w.desc.train = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(step_one(&w));
    CHECK(told.staging == 1); /* it was made in create */
    apart_close(&w);
}

/* An own loop's batches need captures without a gather. Whichever of them fails, the next call
 * makes what is missing: no unit is left to run eagerly for ever. */
TEST_CASE(Staging, makes_captures_that_failed_once_at_the_next_call) {
    int64_t failed = 0;
    for (bool fired = true; fired;) {
        world w;
        apart_open(&w, (quern_host){0});
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        const int64_t before = memories.count[MEMORY_CAPTURE];
        memories.fail_at[MEMORY_CAPTURE] = before + failed + 1;
        fired = step_one(&w) != QUERN_OK;
        memories.fail_at[MEMORY_CAPTURE] = 0;
        if (fired) CHECK_ERROR_HAS("by plan");
        CHECK_OK(step_one(&w));
        CHECK_OK(quern_trainer_wait(w.trainer, NULL));
        for (const trainer_unit *u = w.trainer->units; u; u = u->next)
            CHECK_SAY(u->captures[TURN_ONLY][SEGMENT_FORWARD] != NULL, "kind %d of %d samples",
                      (int)u->kind, (int)u->batch_size);
        failed += fired;
        apart_close(&w);
    }
    CHECK_SAY(failed == 2, "%d captures", (int)failed); /* of 4 samples, and of the last 2 */
}
