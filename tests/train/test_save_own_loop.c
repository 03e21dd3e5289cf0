/* Saving, resuming and digests in the application's own loop. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <string.h>

static quern_status own_open(world *w, const char *directory, bool resume) {
    const quern_status s = world_open(w, &(world_desc){.train_length = 40, .dropout = true});
    if (s != QUERN_OK) return s;
    w->desc.train = w->desc.valid = NULL;
    w->desc.log_every = 4;
    w->desc.average_decay = 0.9;
    w->desc.save.directory = directory;
    w->desc.save.resume = resume;
    return quern_trainer_create(&w->trainer, &w->desc);
}

static void steps(world *w, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++)
        CHECK_OK(quern_trainer_step(
            w->trainer, &(quern_batch){.sample_count = 4,
                                       .field_count = 2,
                                       .names = {"x", "label"},
                                       .data = {w->train_x[4 * i], &w->train_label[4 * i]}}));
}

TEST_CASE(SaveOwnLoop, a_resumed_loop_is_the_one_that_never_stopped) {
    world w;
    temporary t = {{0}, {0}};
    char whole[33], saved[33], found[33];
    quern_result r;
    REQUIRE_OK(own_open(&w, NULL, false));
    steps(&w, 0, 9);
    REQUIRE_OK(quern_trainer_digest(w.trainer, whole));
    world_close(&w);
    for (int64_t at = 1; at < 9; at++) {
        REQUIRE(temporary_begin(&t));
        REQUIRE_OK(own_open(&w, t.path, false));
        steps(&w, 0, at);
        REQUIRE_OK(quern_trainer_save(w.trainer));
        REQUIRE_OK(quern_trainer_wait(w.trainer, &r));
        CHECK(r.checkpoint != NULL && r.step == at);
        REQUIRE_OK(quern_trainer_digest(w.trainer, saved));
        steps(&w, at, at + 1); /* lost */
        world_close(&w);
        REQUIRE_OK(own_open(&w, t.path, true));
        CHECK(quern_trainer_resumed(w.trainer) != NULL);
        REQUIRE_OK(quern_trainer_digest(w.trainer, found));
        CHECK_TEXT(found, saved);
        steps(&w, at, 9);
        REQUIRE_OK(quern_trainer_digest(w.trainer, found));
        CHECK_TEXT(found, whole);
        world_close(&w);
        temporary_end(&t);
    }
}

TEST_CASE(SaveOwnLoop, saving_needs_a_directory) {
    world w;
    REQUIRE_OK(own_open(&w, NULL, false));
    CHECK_STATUS(quern_trainer_save(w.trainer), QUERN_INVALID);
    CHECK_ERROR_HAS("the trainer has no save.directory");
    CHECK(quern_trainer_resumed(w.trainer) == NULL);
    world_close(&w);
}

/* Weights that the application writes are the state at once, and so is what the average is. */
TEST_CASE(SaveOwnLoop, the_digest_follows_what_the_application_writes) {
    world w;
    char before[33], after[33], back[33];
    float bias[WORLD_CLASSES] = {1, 2, 3}, old[WORLD_CLASSES];
    REQUIRE_OK(own_open(&w, NULL, false));
    const quern_tensor *tensor = quern_tensor_find(w.graph, "fc2.bias");
    quern_parameters *p = quern_trainer_parameters(w.trainer);
    REQUIRE_OK(quern_trainer_digest(w.trainer, before));
    REQUIRE_OK(quern_parameters_read(p, tensor, old, sizeof old));
    REQUIRE_OK(quern_parameters_write(p, tensor, bias, sizeof bias));
    REQUIRE_OK(quern_trainer_digest(w.trainer, after));
    REQUIRE_OK(quern_parameters_write(p, tensor, old, sizeof old));
    REQUIRE_OK(quern_trainer_digest(w.trainer, back));
    CHECK(strcmp(before, after) != 0);
    CHECK_TEXT(back, before);
    world_close(&w);
}
