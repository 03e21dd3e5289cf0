/* Rollbacks wherever they may fall in an epoch, and each part of the state that comes back:
 * compared with the same windows trained by hand. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 5 windows of 4 samples an epoch, or 2 of 8 and a tail of 4. */
enum { LENGTH = 20, WINDOWS = 5, SIZE = 4, WEIGHTS = 256 };

typedef struct script {
    quern_action (*log)(void *self, const quern_event *e);
    quern_action (*eval_end)(void *self, const quern_event *e);
    quern_action (*fetch_end)(void *self, const quern_event *e);
    quern_action (*step_end)(void *self, const quern_event *e);
    const char *directory, *foreign;
    int evaluations, logs;
    int64_t not_finite_logs;
} script;

static quern_callback script_callback(script *s) {
    return (quern_callback){.name = "script",
                            .self = s,
                            .log = s->log,
                            .eval_end = s->eval_end,
                            .fetch_end = s->fetch_end,
                            .step_end = s->step_end};
}

/* A world whose window `poisoned` of each epoch is not finite; saved before step 0 only. */
static quern_status open_poisoned(world *w, temporary *t, int64_t poisoned) {
    const quern_status s = world_open(w, &(world_desc){.train_length = LENGTH});
    if (s != QUERN_OK) return s;
    w->train_x[SIZE * poisoned + 2][2] = NAN;
    w->desc.no_shuffle = true;
    w->desc.not_finite = QUERN_NOT_FINITE_ROLLBACK;
    w->desc.optimizer.momentum = 0.9;
    w->desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    w->desc.save = (quern_save_desc){.directory = t->path, .every = 1000};
    return QUERN_OK;
}

static void run_by_hand(world *w, const int64_t *order, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        CHECK_OK(quern_trainer_step(w->trainer,
                                    &(quern_batch){.sample_count = SIZE,
                                                   .field_count = 2,
                                                   .names = {"x", "label"},
                                                   .data = {w->train_x[SIZE * order[i]],
                                                            &w->train_label[SIZE * order[i]]}}));
    CHECK_OK(quern_trainer_wait(w->trainer, NULL));
}

static void average_read(world *w, float *out) {
    CHECK_OK(quern_parameters_read(quern_trainer_average(w->trainer),
                                   quern_tensor_find(w->graph, "fc1.bias"), out,
                                   WORLD_HIDDEN * sizeof *out));
}

/* What these windows lead to from the start. */
static void expect_windows(const int64_t *order, int64_t count, float *weights, float *average) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = LENGTH}));
    w.desc.train = NULL;
    w.desc.optimizer.momentum = 0.9;
    w.desc.optimizer.kind = QUERN_OPTIMIZER_SGD;
    w.desc.average_decay = 0.75;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    run_by_hand(&w, order, count);
    world_weights(&w, weights, WEIGHTS);
    average_read(&w, average);
    world_close(&w);
}

static const int64_t in_order[] = {0, 1, 2, 3, 4};

static void check_window(int64_t poisoned, int32_t run_ahead) {
    world w;
    temporary t;
    quern_result r;
    float found[WEIGHTS] = {0}, expected[WEIGHTS] = {0}, average[WORLD_HIDDEN] = {0},
          expected_average[WORLD_HIDDEN] = {0};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, poisoned));
    w.desc.epoch_count = 3;
    w.desc.run_ahead = run_ahead;
    w.desc.average_decay = 0.75;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    const int64_t behind = WINDOWS - 1 - poisoned;
    CHECK_SAY(r.attempts == 15 && r.samples == 3 * LENGTH && r.step == behind,
              "window %d, %d ahead: %d attempts, %d samples, %d steps", (int)poisoned,
              (int)run_ahead, (int)r.attempts, (int)r.samples, (int)r.step);
    world_weights(&w, found, WEIGHTS);
    average_read(&w, average);
    expect_windows(in_order + poisoned + 1, behind, expected, expected_average);
    CHECK_SAY(memcmp(found, expected, sizeof found) == 0, "window %d, %d ahead: other weights",
              (int)poisoned, (int)run_ahead);
    CHECK_SAY(memcmp(average, expected_average, sizeof average) == 0,
              "window %d, %d ahead: another average", (int)poisoned, (int)run_ahead);
    world_close(&w);
    temporary_end(&t);
}

/* Also of the last windows, whose failure is read when the epoch's data has all been issued: what
 * was issued behind it is issued again before the epoch ends. */
TEST_CASE(RollbackState, any_window_of_an_epoch_may_fail) {
    for (int64_t poisoned = 0; poisoned < WINDOWS; poisoned++)
        for (int32_t ahead = 1; ahead <= 8; ahead += ahead < 4 ? 1 : 4)
            check_window(poisoned, ahead);
}

/* Saved at step 2; window 2 makes step 3, and is taken back with what 3 would have made of it. */
TEST_CASE(RollbackState, optimizer_and_average_are_those_of_the_checkpoint) {
    static const int64_t order[] = {0, 1, 4};
    world w;
    temporary t;
    quern_result r;
    float found[WEIGHTS] = {0}, expected[WEIGHTS] = {0}, average[WORLD_HIDDEN] = {0},
          expected_average[WORLD_HIDDEN] = {0};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, 3));
    w.desc.save.every = 2;
    w.desc.average_decay = 0.75;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 3 && r.attempts == 5);
    world_weights(&w, found, WEIGHTS);
    average_read(&w, average);
    expect_windows(order, 3, expected, expected_average);
    CHECK(memcmp(found, expected, sizeof found) == 0);
    CHECK(memcmp(average, expected_average, sizeof average) == 0);
    world_close(&w);
    temporary_end(&t);
}

static quern_action stop_at_third(void *self, const quern_event *e) {
    script *s = self;
    return e->batch == 2 && s->logs++ == 0 ? QUERN_STOP : QUERN_CONTINUE;
}

/* A window that was being filled is begun anew behind the one that failed. */
TEST_CASE(RollbackState, what_was_fetched_for_an_open_window_is_fetched_again) {
    world w;
    temporary t;
    quern_result r;
    script s = {.fetch_end = stop_at_third};
    const quern_callback callback = script_callback(&s);
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, 0));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.accumulate = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_CALLBACK);
    CHECK_SAY(r.step == 0 && r.attempts == 1 && r.samples == 2 * SIZE, "%d samples",
              (int)r.samples);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK_SAY(r.step == 2 && r.attempts == 3 && r.samples == LENGTH, "%d attempts of %d samples",
              (int)r.attempts, (int)r.samples);
    world_close(&w);
    temporary_end(&t);
}

static quern_action count_evaluation(void *self, const quern_event *e) {
    script *s = self;
    (void)e;
    s->evaluations++;
    return QUERN_CONTINUE;
}

/* Evaluated at step 3, back to 0, and at its end at step 3 again, whatever led there. */
TEST_CASE(RollbackState, an_evaluation_of_weights_taken_back_counts_for_nothing) {
    world w;
    temporary t;
    quern_result r;
    script s = {.eval_end = count_evaluation};
    const quern_callback callback = script_callback(&s);
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, 4));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.evaluate_every = 3;
    d.epoch_count = 3;
    d.sample_limit = LENGTH + 3 * SIZE;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_SAMPLES && r.step == 3);
    CHECK_SAY(s.evaluations == 2, "%d evaluations", s.evaluations);
    CHECK_NEAR(r.valid_loss, world_brute_force(&w, true).loss, 1e-6);
    world_close(&w);
    temporary_end(&t);
}

static quern_action halve_once(void *self, const quern_event *e) {
    script *s = self;
    if (s->logs++ == 0) CHECK_OK(quern_trainer_scale_learning_rate(e->trainer, 0.5));
    s->not_finite_logs += !isfinite(quern_event_scalar(e, "train/loss"));
    return QUERN_CONTINUE;
}

/* What a callback scaled behind the checkpoint is taken back too; the log keeps what it saw. */
TEST_CASE(RollbackState, the_learning_rates_scale_comes_back_and_the_log_shows_the_failure) {
    world w;
    temporary t;
    quern_result r;
    script s = {.log = halve_once};
    const quern_callback callback = script_callback(&s);
    float found[WEIGHTS] = {0}, expected[WEIGHTS] = {0}, average[WORLD_HIDDEN];
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, 2));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.log_every = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 2 && s.logs == 2 && s.not_finite_logs == 1);
    CHECK_NEAR(quern_trainer_learning_rate(w.trainer), 0.05, 1e-8);
    world_weights(&w, found, WEIGHTS);
    expect_windows(in_order + 3, 2, expected, average);
    CHECK(memcmp(found, expected, sizeof found) == 0);
    world_close(&w);
    temporary_end(&t);
}

/* One rollback in a row is allowed; each epoch has one, and gets further in between. */
TEST_CASE(RollbackState, those_with_progress_between_are_not_in_a_row) {
    world w;
    temporary t;
    quern_result r;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(open_poisoned(&w, &t, 2));
    w.desc.save.every = 1;
    w.desc.not_finite_limit = 1;
    w.desc.epoch_count = 4;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 16 && r.attempts == 20);
    world_close(&w);
    temporary_end(&t);
}

static quern_action bring_foreign(void *self, const quern_event *e) {
    script *s = self;
    if (e->attempts == 1) CHECK(saved_copy(s->foreign, s->directory, 5));
    return QUERN_CONTINUE;
}

/* Another run's checkpoint, newer than all of its own, has come into the directory. */
TEST_CASE(RollbackState, does_not_go_back_to_another_runs_checkpoint) {
    world w;
    temporary t, other;
    REQUIRE(temporary_begin(&t) && temporary_begin(&other));
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = LENGTH}));
    w.desc.save = (quern_save_desc){.directory = other.path};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
    script s = {.step_end = bring_foreign, .directory = t.path, .foreign = other.path};
    const quern_callback callback = script_callback(&s);
    REQUIRE_OK(open_poisoned(&w, &t, 3));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.average_decay = 0.5;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("step-5/state.safetensors: there is no tensor average.");
    world_close(&w);
    temporary_end(&other);
    temporary_end(&t);
}

static quern_action bring_unreadable(void *self, const quern_event *e) {
    const script *s = self;
    char path[512];
    if (e->attempts != 1) return QUERN_CONTINUE;
    snprintf(path, sizeof path, "%s/step-900", s->directory);
    CHECK(mkdir(path, 0777) == 0);
    snprintf(path, sizeof path, "%s/step-900/manifest.json", s->directory);
    CHECK(symlink("manifest.json", path) == 0);
    return QUERN_CONTINUE;
}

/* Why the run ended, and why that could not be mended. */
TEST_CASE(RollbackState, where_there_is_no_going_back_both_failures_are_told) {
    world w;
    temporary t;
    REQUIRE(temporary_begin(&t));
    script s = {.step_end = bring_unreadable, .directory = t.path};
    const quern_callback callback = script_callback(&s);
    REQUIRE_OK(open_poisoned(&w, &t, 3));
    const quern_trainer_desc d = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_INPUT);
    CHECK_ERROR_HAS("is not finite");
    CHECK_ERROR_HAS("no going back");
    CHECK_ERROR_HAS("step-900/manifest.json");
    world_close(&w);
    temporary_end(&t);
}
