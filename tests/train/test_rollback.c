/* QUERN_NOT_FINITE_ROLLBACK: what comes back, what goes on, and where it ends. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static saved_run run;

typedef struct policy {
    quern_not_finite not_finite;
    int64_t limit;
} policy;

static void set_policy(void *self, quern_trainer_desc *desc) {
    const policy *p = self;
    desc->not_finite = p->not_finite;
    desc->not_finite_limit = p->limit;
    desc->average_decay = 0;
    desc->average_warmup = false;
}

/* world.h's run with a NaN in one sample of each epoch's second window, nothing shuffled. */
static quern_status world_run(world *w, temporary *t, quern_not_finite not_finite, int64_t every,
                              float *weights, quern_result *r) {
    quern_status s = world_open(w, &(world_desc){.train_length = 20});
    if (s != QUERN_OK) return s;
    w->train_x[6][2] = NAN;
    w->desc.no_shuffle = true;
    w->desc.epoch_count = 2;
    w->desc.not_finite = not_finite;
    w->desc.optimizer.momentum = 0.9;
    w->desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    w->desc.save = (quern_save_desc){.directory = t->path, .every = every, .keep_every = 1};
    s = quern_trainer_create(&w->trainer, &w->desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, r);
    if (s == QUERN_OK) world_weights(w, weights, 256);
    world_close(w);
    return s;
}

/* Back to the state of the step before, with the data behind the window: that is a skip. */
TEST_CASE(Rollback, with_a_save_at_every_step_is_a_skip) {
    world w;
    quern_result skipped, back;
    temporary a = {{0}, {0}}, b = {{0}, {0}};
    float expected[256] = {0}, found[256] = {0};
    REQUIRE(temporary_begin(&a) && temporary_begin(&b));
    REQUIRE_OK(world_run(&w, &a, QUERN_NOT_FINITE_SKIP, 1, expected, &skipped));
    REQUIRE_OK(world_run(&w, &b, QUERN_NOT_FINITE_ROLLBACK, 1, found, &back));
    CHECK(memcmp(found, expected, sizeof found) == 0);
    CHECK(back.step == 8 && back.attempts == 10 && back.samples == 40);
    CHECK(back.step == skipped.step && back.attempts == skipped.attempts);
    temporary_end(&b);
    temporary_end(&a);
}

/* 5 windows an epoch, the second one fails. Saved at 0 and 4: failing at step 1 leads back to 0;
 * windows 2 3 4 and 0 make step 4, which is saved; window 1 fails there and leads back to 4. */
TEST_CASE(Rollback, goes_back_as_far_as_the_newest_checkpoint_lies) {
    world w;
    quern_result r;
    temporary t = {{0}, {0}};
    float weights[256] = {0};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_run(&w, &t, QUERN_NOT_FINITE_ROLLBACK, 4, weights, &r));
    CHECK(r.step == 7 && r.attempts == 10 && r.samples == 40);
    for (int i = 0; i < 256; i++) CHECK(isfinite(weights[i]));
    temporary_end(&t);
}

/* The same by hand: the weights are those of windows 2 3 4 0 and then 2 3 4. */
TEST_CASE(Rollback, leaves_no_trace_of_what_it_took_back) {
    world w;
    quern_result r;
    temporary t = {{0}, {0}};
    float found[256] = {0}, expected[256] = {0};
    static const int64_t order[] = {2, 3, 4, 0, 2, 3, 4};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_run(&w, &t, QUERN_NOT_FINITE_ROLLBACK, 4, found, &r));
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 20}));
    w.desc.train = NULL;
    w.desc.optimizer.momentum = 0.9;
    w.desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < 7; i++)
        REQUIRE_OK(quern_trainer_step(
            w.trainer,
            &(quern_batch){.sample_count = 4,
                           .field_count = 2,
                           .names = {"x", "label"},
                           .data = {w.train_x[4 * order[i]], &w.train_label[4 * order[i]]}}));
    REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
    world_weights(&w, expected, 256);
    CHECK(memcmp(found, expected, sizeof found) == 0);
    world_close(&w);
    temporary_end(&t);
}

TEST_CASE(Rollback, is_told_and_the_log_shows_what_was_not_finite) {
    temporary t = {{0}, {0}};
    policy p = {QUERN_NOT_FINITE_ROLLBACK, 0};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(&run, &(saved_run_desc){.directory = t.path,
                                                       .every = 2,
                                                       .poisoned = 1,
                                                       .change = set_policy,
                                                       .change_self = &p}));
    CHECK_HAS(run.log, "is not finite: back from step ");
    CHECK_HAS(run.log, "/step-");
    temporary_end(&t);
}

/* Every window fails: the limit, then the failure itself. */
TEST_CASE(Rollback, ends_after_so_many_in_a_row) {
    temporary t = {{0}, {0}};
    policy p = {QUERN_NOT_FINITE_ROLLBACK, 3};
    REQUIRE(temporary_begin(&t));
    CHECK_STATUS(saved_run_whole(&run, &(saved_run_desc){.directory = t.path,
                                                         .poisoned = SAVED_SAMPLES,
                                                         .change = set_policy,
                                                         .change_self = &p}),
                 QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("after 3 rollbacks in a row: step 0: ");
    CHECK(run.result.step == 0 && run.result.attempts == 4);
    CHECK(run.result.reason == QUERN_STOPPED_FAILURE);
    temporary_end(&t);
}

TEST_CASE(Rollback, needs_a_directory_and_data_that_can_start_again) {
    world w;
    temporary t = {{0}, {0}};
    policy p = {QUERN_NOT_FINITE_ROLLBACK, 0};
    CHECK_STATUS(saved_run_open(&run, &(saved_run_desc){.change = set_policy, .change_self = &p}),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("which needs save.directory");
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = NULL;
    w.desc.not_finite = QUERN_NOT_FINITE_ROLLBACK;
    w.desc.save.directory = t.path;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("own loop cannot be fetched again");
    world_close(&w);
    temporary_end(&t);
}
