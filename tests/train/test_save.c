/* When a run saves, what it tells of it, what it refuses to save, and where it begins again. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static saved_run run, again;

static int64_t count_kind(const saved_run *r, quern_event_kind kind) {
    int64_t count = 0;
    for (int64_t i = 0; i < r->record_count; i++) count += r->records[i].kind == kind;
    return count;
}

static bool exists(temporary *t, const char *name) {
    struct stat info;
    return stat(temporary_join(t, name), &info) == 0;
}

static void check_times(int64_t every, int64_t step_limit, int64_t expected) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(
        &run, &(saved_run_desc){.directory = t.path, .every = every, .step_limit = step_limit}));
    CHECK_SAY(count_kind(&run, QUERN_EVENT_save_begin) == expected, "every %d: %d saves, not %d",
              (int)every, (int)count_kind(&run, QUERN_EVENT_save_begin), (int)expected);
    CHECK(count_kind(&run, QUERN_EVENT_save_snapshot) == expected);
    CHECK(count_kind(&run, QUERN_EVENT_save_durable) == expected);
    char last[600];
    snprintf(last, sizeof last, "%s/step-%d", t.path, (int)run.result.step);
    CHECK_TEXT(run.checkpoint, last);
    temporary_end(&t);
}

/* 3 epochs of 7 batches; attempts 5, 12 and 19 are skipped: 18 updates, 6 an epoch. */
TEST_CASE(Save, at_every_epochs_end_or_every_so_many_updates_and_at_the_end) {
    check_times(0, 0, 3);
    check_times(4, 0, 5); /* 4, 8, 12, 16, and the end */
    check_times(7, 0, 3);
    check_times(100, 0, 1);
    check_times(0, 3, 1);
    check_times(3, 3, 1);
}

TEST_CASE(Save, the_last_checkpoint_holds_the_final_state) {
    temporary t = {{0}, {0}};
    quern_device *device = NULL;
    quern_checkpoint *c = NULL;
    char digest[33];
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(&run, &(saved_run_desc){.directory = t.path, .every = 5}));
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    REQUIRE_OK(quern_checkpoint_open(&c, device, run.checkpoint));
    REQUIRE_OK(quern_checkpoint_digest(c, digest));
    CHECK_TEXT(digest, run.digest);
    const quern_checkpoint_info info = quern_checkpoint_info_get(c);
    CHECK(info.step == 18 && info.attempts == 21 && info.samples == 3 * SAVED_SAMPLES);
    CHECK(info.epoch == 3 && info.batch == 0 && info.sample == 0 && info.seed == 11);
    CHECK(info.train_seconds > 0);
    CHECK_HAS(info.configuration, "\"rule\":\"adamw\"");
    CHECK_HAS(info.configuration, "\"total\":40");
    quern_checkpoint_destroy(c);
    quern_device_destroy(device);
    temporary_end(&t);
}

TEST_CASE(Save, a_finished_run_that_is_resumed_does_nothing) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path, .every = 4};
    REQUIRE_OK(saved_run_whole(&run, &d));
    d.resume = true;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_TEXT(again.digest, run.digest);
    CHECK_TEXT(again.checkpoint, run.checkpoint);
    CHECK(again.result.reason == QUERN_STOPPED_EPOCHS && again.result.step == run.result.step);
    static const quern_event_kind expected[] = {QUERN_EVENT_init,     QUERN_EVENT_load_begin,
                                                QUERN_EVENT_load_end, QUERN_EVENT_fit_begin,
                                                QUERN_EVENT_fit_end,  QUERN_EVENT_close};
    REQUIRE(again.record_count == 6);
    for (int i = 0; i < 6; i++) CHECK(again.records[i].kind == expected[i]);
    temporary_end(&t);
}

static void more_epochs(void *self, quern_trainer_desc *desc) {
    desc->epoch_count = *(int64_t *)self;
}

/* Two epochs, then a third one after raising the count: the run of three. */
TEST_CASE(Save, a_finished_run_goes_on_when_its_limit_is_raised) {
    temporary t = {{0}, {0}}, other = {{0}, {0}};
    int64_t epochs = 3;
    REQUIRE(temporary_begin(&t) && temporary_begin(&other));
    saved_run_desc d = {.directory = t.path, .epochs = 2};
    REQUIRE_OK(saved_run_whole(&again, &d));
    d.resume = true;
    d.change = more_epochs;
    d.change_self = &epochs;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_HAS(again.log, "epoch_count was 2, is 3: the run stays bit-identical");
    REQUIRE_OK(saved_run_whole(&run, &(saved_run_desc){.directory = other.path}));
    CHECK_TEXT(again.digest, run.digest);
    temporary_end(&other);
    temporary_end(&t);
}

TEST_CASE(Save, without_a_checkpoint_a_resumed_run_begins_anew_and_says_so) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    char nowhere[300];
    snprintf(nowhere, sizeof nowhere, "%s/a/b", t.path);
    REQUIRE_OK(saved_run_open(&run, &(saved_run_desc){.directory = nowhere, .resume = true}));
    CHECK(quern_trainer_resumed(run.trainer) == NULL);
    CHECK_HAS(run.log, "holds no checkpoint: the run begins anew");
    CHECK(count_kind(&run, QUERN_EVENT_load_begin) == 0);
    saved_run_close(&run);
    CHECK(exists(&t, "a/b"));
    temporary_end(&t);
}

TEST_CASE(Save, a_directory_with_another_runs_checkpoints_is_refused) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path, .epochs = 1};
    REQUIRE_OK(saved_run_whole(&run, &d));
    CHECK_STATUS(saved_run_open(&again, &d), QUERN_INVALID);
    CHECK_ERROR_HAS("holds checkpoints of another run, the newest step-6: set save.resume");
    CHECK(exists(&t, "step-6/manifest.json"));
    temporary_end(&t);
}

typedef struct field_change {
    quern_save_desc save;
    const char *says;
} field_change;

static void change_save(void *self, quern_trainer_desc *desc) {
    const char *directory = desc->save.directory;
    desc->save = ((const field_change *)self)->save;
    if (!desc->save.directory) desc->save.directory = directory;
}

TEST_CASE(Save, the_desc_is_checked) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    field_change changes[] = {
        {{.keep_last = 1}, "save.keep_last is 1, not 2"},
        {{.every = -1}, "save.every"},
        {{.best_metric = "val/loss"}, "save.best_metric is set without keep_best"},
        {{.best_is_largest = true}, "save.best_is_largest is set without keep_best"},
        {{.keep_best = 1, .best_metric = "val/nothing"}, "which no evaluation of this run gives"},
        {{.directory = ""}, "save.directory is empty"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const saved_run_desc d = {
            .directory = t.path, .change = change_save, .change_self = &changes[i]};
        CHECK_STATUS(saved_run_open(&run, &d), QUERN_INVALID);
        CHECK_ERROR_HAS(changes[i].says);
    }
    field_change alone[] = {{{.every = 3}, "save.every is set without save.directory"},
                            {{.resume = true}, "save.resume is set without"},
                            {{.two_snapshots = true}, "save.two_snapshots is set without"}};
    for (size_t i = 0; i < 3; i++) {
        const saved_run_desc d = {.change = change_save, .change_self = &alone[i]};
        CHECK_STATUS(saved_run_open(&run, &d), QUERN_INVALID);
        CHECK_ERROR_HAS(alone[i].says);
    }
    temporary_end(&t);
}

/* keep_last 2, keep_best 1: the best of the evaluations stays however old it is. */
static void keep_the_best(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->save.keep_every = 0;
    desc->save.keep_last = 2;
    desc->save.keep_best = 1;
    desc->save.best_metric = "val/accuracy"; /* smaller is better here: the first one wins */
    desc->epoch_count = 5;
}

TEST_CASE(Save, the_best_and_the_last_ones_stay) {
    temporary t = {{0}, {0}};
    quern_device *device = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(
        saved_run_whole(&run, &(saved_run_desc){.directory = t.path, .change = keep_the_best}));
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    int whole = 0;
    double kept[8], best = INFINITY;
    for (int step = 0; step < 60; step++) {
        char name[40];
        snprintf(name, sizeof name, "step-%d", step);
        if (!exists(&t, name)) continue;
        quern_checkpoint *c = NULL;
        REQUIRE_OK(quern_checkpoint_open(&c, device, temporary_join(&t, name)));
        const quern_checkpoint_info info = quern_checkpoint_info_get(c);
        CHECK_TEXT(info.metric, "val/accuracy");
        kept[whole++] = info.metric_value;
        if (info.metric_value < best) best = info.metric_value;
        quern_checkpoint_destroy(c);
    }
    CHECK(whole == 2 || whole == 3);
    CHECK(isfinite(best) && isfinite(kept[0]));
    quern_device_destroy(device);
    temporary_end(&t);
}

static quern_status overflow(const quern_kernel_args *args) {
    const quern_update *u = args->attributes;
    if (!*u->applied) return QUERN_OK;
    float *values = u->parameters;
    for (int32_t s = 0; s < u->segment_count; s++)
        for (int64_t i = 0; i < u->segments[s].count; i++)
            values[u->segments[s].start + i] = u->hyper->n < 10 ? 0.5f : INFINITY;
    return QUERN_OK;
}

static const quern_update_rule overflowing = {.name = "overflowing",
                                              .update = {[QUERN_BACKEND_CPU] = overflow}};

/* The loss stays finite behind a clipped logit; the weights do not. */
static void use_overflow(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->optimizer = (quern_optimizer_desc){.rule = &overflowing};
    desc->step_limit = 10;
    desc->average_decay = 0;
    desc->average_warmup = false;
    desc->valid = NULL;
}

typedef struct last_save {
    quern_status status;
    char path[600];
} last_save;

static quern_action note_save(void *self, const quern_event *e) {
    last_save *last = self;
    if (e->kind != QUERN_EVENT_save_durable) return QUERN_CONTINUE;
    last->status = e->status;
    snprintf(last->path, sizeof last->path, "%s", e->checkpoint);
    return QUERN_CONTINUE;
}

TEST_CASE(Save, a_state_that_is_not_finite_never_replaces_one_that_is) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    last_save last = {QUERN_OK, ""};
    const saved_run_desc d = {.directory = t.path,
                              .every = 3,
                              .change = use_overflow,
                              .hook = note_save,
                              .hook_self = &last};
    CHECK_STATUS(saved_run_whole(&run, &d), QUERN_IO);
    CHECK_STATUS(last.status, QUERN_NOT_FINITE);
    CHECK_TEXT(last.path, temporary_join(&t, "step-10"));
    CHECK_ERROR_HAS("the last state could not be saved: ");
    CHECK_ERROR_HAS("is not finite at element 0");
    CHECK(exists(&t, "step-9/manifest.json") && !exists(&t, "step-10"));
    CHECK(!exists(&t, "step-10.partial"));
    temporary_end(&t);
}

static quern_action stop_at_7(void *self, const quern_event *e) {
    (void)self;
    return e->kind == QUERN_EVENT_step_end && e->step == 7 ? QUERN_STOP : QUERN_CONTINUE;
}

/* Stopped by a callback: over, also for who resumes it. */
TEST_CASE(Save, a_run_that_a_callback_stopped_is_over) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path, .every = 100, .hook = stop_at_7};
    REQUIRE_OK(saved_run_whole(&run, &d));
    CHECK(run.result.reason == QUERN_STOPPED_CALLBACK && run.checkpoint[0]);
    d.resume = true;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK(again.result.reason == QUERN_STOPPED_CALLBACK);
    CHECK(again.record_count == 6);
    CHECK_TEXT(again.digest, run.digest);
    temporary_end(&t);
}

/* What the run before it saved of later steps is not what a resume goes on with. */
TEST_CASE(Save, a_run_behind_a_reset_is_the_one_that_is_resumed) {
    temporary t = {{0}, {0}};
    char expected[600];
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path, .every = 4};
    REQUIRE_OK(saved_run_open(&run, &d));
    REQUIRE_OK(saved_run_fit(&run));
    CHECK(exists(&t, "step-16") && exists(&t, "step-18"));
    REQUIRE_OK(quern_trainer_reset(run.trainer));
    CHECK(exists(&t, "step-16") && exists(&t, "step-18"));
    run.desc.hook = stop_at_7;
    REQUIRE_OK(saved_run_fit(&run));
    const int64_t last = run.result.step;
    CHECK(exists(&t, "step-4") && last >= 7 && last < 16);
    CHECK(!exists(&t, "step-16") && !exists(&t, "step-18"));
    saved_run_close(&run);
    d.resume = true;
    REQUIRE_OK(saved_run_open(&again, &d));
    snprintf(expected, sizeof expected, "%s/step-%d", t.path, (int)last);
    CHECK_TEXT(quern_trainer_resumed(again.trainer), expected);
    saved_run_close(&again);
    temporary_end(&t);
}

static quern_action request_stop(void *self, const quern_event *e) {
    (void)self;
    if (e->kind == QUERN_EVENT_step_end && e->step == 7) quern_trainer_stop(e->trainer);
    return QUERN_CONTINUE;
}

/* Stopped from outside: saved where it stood, and the resumed rest makes it the whole run. */
TEST_CASE(Save, a_run_that_was_stopped_from_outside_goes_on) {
    temporary t = {{0}, {0}};
    static saved_run plain;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(&plain, &(saved_run_desc){0}));
    saved_run_desc d = {.directory = t.path, .every = 100, .hook = request_stop};
    REQUIRE_OK(saved_run_whole(&run, &d));
    CHECK(run.result.reason == QUERN_STOPPED_REQUEST && run.result.step < 12 && run.checkpoint[0]);
    d.resume = true;
    d.hook = NULL;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK(again.result.reason == QUERN_STOPPED_EPOCHS);
    CHECK_TEXT(again.digest, plain.digest);
    temporary_end(&t);
}

static quern_action request_save(void *self, const quern_event *e) {
    (void)self;
    if (e->kind == QUERN_EVENT_update_end && e->attempts == 4)
        CHECK_OK(quern_event_request(e, QUERN_REQUEST_SAVE));
    return QUERN_CONTINUE;
}

TEST_CASE(Save, a_callback_may_ask_for_a_save) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(
        &run, &(saved_run_desc){
                  .directory = t.path, .every = 100, .run_ahead = 3, .hook = request_save}));
    CHECK(count_kind(&run, QUERN_EVENT_save_begin) == 2);
    saved_run_desc d = {.directory = t.path, .every = 100};
    int64_t step = 0;
    for (int64_t i = 0; i < run.record_count && step == 0; i++)
        if (run.records[i].kind == QUERN_EVENT_save_begin) step = run.records[i].step;
    CHECK(step >= 4 && step < 9);
    temporary one = {{0}, {0}};
    REQUIRE(temporary_begin(&one));
    REQUIRE(saved_copy(t.path, one.path, step));
    d.directory = one.path;
    d.resume = true;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_TEXT(again.digest, run.digest);
    temporary_end(&one);
    temporary_end(&t);
}

static void handle_signals(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->handle_signals = true;
}

static quern_action raise_signals(void *self, const quern_event *e) {
    const int *times = self;
    if (e->kind != QUERN_EVENT_step_end || e->step != 3) return QUERN_CONTINUE;
    for (int i = 0; i < *times; i++) CHECK(raise(SIGTERM) == 0);
    return QUERN_CONTINUE;
}

TEST_CASE(Save, one_signal_saves_and_two_do_not) {
    for (int times = 1; times <= 2; times++) {
        temporary t = {{0}, {0}};
        REQUIRE(temporary_begin(&t));
        REQUIRE_OK(saved_run_whole(&run, &(saved_run_desc){.directory = t.path,
                                                           .every = 100,
                                                           .change = handle_signals,
                                                           .hook = raise_signals,
                                                           .hook_self = &times}));
        CHECK(run.result.reason == QUERN_STOPPED_SIGNAL && run.result.signal == SIGTERM);
        CHECK((run.checkpoint[0] != 0) == (times == 1));
        CHECK(count_kind(&run, QUERN_EVENT_save_begin) == (times == 1));
        temporary_end(&t);
    }
}

/* The learning rate's scale is part of the state, and so are an evaluation's sums. */
TEST_CASE(Save, what_changes_behind_it_is_not_in_it) {
    temporary t = {{0}, {0}};
    quern_result r = {0};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_open(&run, &(saved_run_desc){.directory = t.path, .epochs = 1}));
    REQUIRE_OK(saved_run_fit(&run));
    CHECK_OK(quern_trainer_wait(run.trainer, &r));
    CHECK(r.checkpoint != NULL);
    CHECK_OK(quern_trainer_scale_learning_rate(run.trainer, 0.5));
    CHECK_OK(quern_trainer_wait(run.trainer, &r));
    CHECK(r.checkpoint == NULL);
    CHECK_OK(quern_trainer_save(run.trainer));
    CHECK_OK(quern_trainer_wait(run.trainer, &r));
    CHECK(r.checkpoint != NULL);
    CHECK_OK(quern_trainer_evaluate(run.trainer, quern_trainer_resolved(run.trainer)->train, NULL,
                                    0, NULL)); /* leaves its sums */
    CHECK_OK(quern_trainer_wait(run.trainer, &r));
    CHECK(r.checkpoint == NULL);
    saved_run_close(&run);
    temporary_end(&t);
}
