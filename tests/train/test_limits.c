/* How far a fit runs: each limit alone and together, exact counters, and what continues what. */
#include "fault_host.h"
#include "quern_test.h"
#include "slow_clock.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* An epoch has 3 batches: 4, 4 and 2 samples. */
typedef struct limit_case {
    const char *name;
    int64_t epochs, steps, samples, batches;
    quern_stop_reason reason;
    int64_t step_found, epochs_found, samples_found;
} limit_case;

static const limit_case cases[] = {
    {"nothing", 0, 0, 0, 0, QUERN_STOPPED_EPOCHS, 3, 1, 10},
    {"epochs", 2, 0, 0, 0, QUERN_STOPPED_EPOCHS, 6, 2, 20},
    {"steps", 0, 5, 0, 0, QUERN_STOPPED_STEPS, 5, 1, 18},
    {"steps at an epoch's end", 0, 6, 0, 0, QUERN_STOPPED_STEPS, 6, 2, 20},
    {"samples within a batch", 0, 0, 13, 0, QUERN_STOPPED_SAMPLES, 4, 1, 14},
    {"samples at a batch's end", 0, 0, 14, 0, QUERN_STOPPED_SAMPLES, 4, 1, 14},
    {"samples behind a batch", 0, 0, 15, 0, QUERN_STOPPED_SAMPLES, 5, 1, 18},
    {"one sample", 0, 0, 1, 0, QUERN_STOPPED_SAMPLES, 1, 0, 4},
    {"samples at an epoch's end", 0, 0, 20, 0, QUERN_STOPPED_SAMPLES, 6, 2, 20},
    {"batches of an epoch", 3, 0, 0, 2, QUERN_STOPPED_EPOCHS, 6, 3, 24},
    {"more batches than there are", 2, 0, 0, 99, QUERN_STOPPED_EPOCHS, 6, 2, 20},
    {"batches and steps", 0, 3, 0, 2, QUERN_STOPPED_STEPS, 3, 1, 12},
    {"steps before epochs", 2, 4, 0, 0, QUERN_STOPPED_STEPS, 4, 1, 14},
    {"epochs before steps", 1, 4, 0, 0, QUERN_STOPPED_EPOCHS, 3, 1, 10},
    {"samples before all", 2, 5, 9, 0, QUERN_STOPPED_SAMPLES, 3, 1, 10},
    {"epochs before samples", 1, 0, 11, 0, QUERN_STOPPED_EPOCHS, 3, 1, 10},
};

static void limit_set(world *w, const limit_case *c) {
    w->desc.epoch_count = c->epochs;
    w->desc.step_limit = c->steps;
    w->desc.sample_limit = c->samples;
    w->desc.train_batch_limit = c->batches;
}

static void limit_check(const limit_case *c, int32_t run_ahead, int32_t workers) {
    world w;
    quern_result r = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    limit_set(&w, c);
    w.desc.run_ahead = run_ahead;
    w.desc.worker_count = workers;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK_SAY(r.reason == c->reason, "%s: %s", c->name, quern_stop_reason_name(r.reason));
    CHECK_SAY(r.step == c->step_found && r.epochs == c->epochs_found &&
                  r.samples == c->samples_found && r.attempts == r.step,
              "%s: step %d, epochs %d, samples %d", c->name, (int)r.step, (int)r.epochs,
              (int)r.samples);
    CHECK_SAY(quern_trainer_planned_steps(w.trainer) == r.step, "%s: %d planned", c->name,
              (int)quern_trainer_planned_steps(w.trainer));
    CHECK(!isnan(r.valid_loss)); /* what the run ends with has been evaluated */
    const world_score score = world_brute_force(&w, true);
    CHECK_NEAR(r.valid_loss, score.loss, 1e-5);
    world_close(&w);
}

TEST_CASE(Limits, end_a_run_at_exact_counters) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        limit_check(&cases[i], 1, 0);
        limit_check(&cases[i], 8, 2);
    }
}

/* What a schedule stretches over is what comes, also of windows with their tails. */
TEST_CASE(Limits, planned_updates_are_those_that_come) {
    static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY, QUERN_TAIL_DROP};
    for (int i = 0; i < 3 * 60; i++) {
        world w;
        quern_result r = {0};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 18, .valid_length = -1}));
        w.desc.tail = tails[i % 3]; /* batches of 4, 4, 4, 4, 2 */
        w.desc.accumulate = 2 + i / 3 % 2;
        w.desc.sample_limit = 1 + i / 3;
        w.desc.train_batch_limit = i % 4 == 0 ? 4 : 0;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_SAMPLES && r.samples >= w.desc.sample_limit);
        CHECK_SAY(quern_trainer_planned_steps(w.trainer) == r.step,
                  "tail %d, accumulate %d, %d samples: %d planned, %d came", (int)w.desc.tail,
                  (int)w.desc.accumulate, (int)w.desc.sample_limit,
                  (int)quern_trainer_planned_steps(w.trainer), (int)r.step);
        world_close(&w);
    }
}

/* The same limits twice with one trainer are twice as much with another. */
static void continued(const char *what, quern_trainer_desc once, quern_trainer_desc twice) {
    world a, b;
    quern_result ra = {0}, rb = {0};
    float wa[256] = {0}, wb[256] = {0};
    REQUIRE_OK(world_open(&a, &(world_desc){.dropout = true}));
    REQUIRE_OK(world_open(&b, &(world_desc){.dropout = true}));
    quern_trainer_desc da = a.desc, db = b.desc;
    da.epoch_count = once.epoch_count, db.epoch_count = twice.epoch_count;
    da.step_limit = once.step_limit, db.step_limit = twice.step_limit;
    da.sample_limit = once.sample_limit, db.sample_limit = twice.sample_limit;
    REQUIRE_OK(quern_trainer_create(&a.trainer, &da));
    REQUIRE_OK(quern_trainer_create(&b.trainer, &db));
    CHECK_OK(quern_trainer_fit(a.trainer, &ra));
    CHECK_OK(quern_trainer_fit(a.trainer, &ra));
    CHECK_OK(quern_trainer_fit(b.trainer, &rb));
    CHECK_SAY(ra.step == rb.step && ra.epochs == rb.epochs && ra.samples == rb.samples,
              "%s: steps %d and %d, samples %d and %d", what, (int)ra.step, (int)rb.step,
              (int)ra.samples, (int)rb.samples);
    CHECK(world_weights(&a, wa, 256) > 0 && world_weights(&b, wb, 256) > 0);
    CHECK_SAY(memcmp(wa, wb, sizeof wa) == 0, "%s: other weights", what);
    world_close(&a);
    world_close(&b);
}

TEST_CASE(Limits, half_and_half_are_the_whole) {
    continued("steps", (quern_trainer_desc){.step_limit = 5},
              (quern_trainer_desc){.step_limit = 10});
    continued("epochs", (quern_trainer_desc){.epoch_count = 5},
              (quern_trainer_desc){.epoch_count = 10});
    continued("samples", (quern_trainer_desc){.sample_limit = 14},
              (quern_trainer_desc){.sample_limit = 28});
}

typedef struct batches {
    int fetched, evaluated, epochs;
    float first[WORLD_FEATURES]; /* a sample's input, when asked for */
} batches;

static quern_action count_evaluated(void *self, const quern_event *event) {
    (void)event;
    ((batches *)self)->evaluated++;
    return QUERN_CONTINUE;
}

static quern_action count_epochs(void *self, const quern_event *event) {
    (void)event;
    ((batches *)self)->epochs++;
    return QUERN_CONTINUE;
}

static quern_callback batches_callback(batches *b) {
    return (quern_callback){
        .name = "batches", .self = b, .eval_batch_end = count_evaluated, .epoch_end = count_epochs};
}

/* The mean is that of the samples seen. */
TEST_CASE(Limits, eval_batch_limit_ends_each_set) {
    world w, whole;
    quern_result r = {0};
    batches b = {0};
    const quern_callback callback = batches_callback(&b);
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = 13}));
    REQUIRE_OK(world_open(&whole, &(world_desc){.valid_length = 8}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.eval_batch_limit = 2;
    d.worker_count = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    REQUIRE_OK(quern_trainer_create(&whole.trainer, &whole.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    const double limited = r.valid_loss;
    CHECK_OK(quern_trainer_fit(whole.trainer, &r));
    CHECK(b.evaluated == 2);
    CHECK(limited == r.valid_loss);
    quern_scalar loss;
    REQUIRE_OK(quern_trainer_evaluate(w.trainer, w.valid, &loss, 1, NULL));
    CHECK_NEAR(loss.value, world_brute_force(&w, true).loss, 1e-5); /* asked for: the whole set */
    world_close(&w);
    world_close(&whole);
}

TEST_CASE(Limits, fast_dev_run_is_one_window_whatever_else_is_asked_for) {
    world w;
    quern_result r = {0};
    batches b = {0};
    const quern_callback callback = batches_callback(&b);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_evaluation_set other = {"other", w.train};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.fast_dev_run = true;
    d.epoch_count = 50;
    d.step_limit = 100;
    d.sample_limit = 1000;
    d.seconds_limit = 1e-9;
    d.sanity_batches = 3;
    d.evaluation_sets = &other;
    d.evaluation_set_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    const quern_trainer_desc *found = quern_trainer_resolved(w.trainer);
    CHECK(found->epoch_count == 1 && found->step_limit == 1 && found->eval_batch_limit == 1);
    CHECK(found->sample_limit == 0 && found->seconds_limit == 0 && found->sanity_batches == 0);
    CHECK(found->train_batch_limit == 1 && found->save.directory == NULL);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 1 && r.attempts == 1 && r.reason == QUERN_STOPPED_STEPS);
    CHECK(b.evaluated == 2 && b.epochs == 1); /* one batch of each set */
    world_close(&w);
}

typedef struct window_watch {
    quern_tensor *x;
    float seen[8][4 * WORLD_FEATURES];
    double loss[64];
    int count, epochs;
} window_watch;

static quern_action watch_window(void *self, const quern_event *event) {
    window_watch *s = self;
    if (s->count == 8) return QUERN_CONTINUE;
    CHECK_OK(quern_trainer_read(event->trainer, s->x, s->seen[s->count++], sizeof s->seen[0]));
    return QUERN_CONTINUE;
}

static quern_action watch_epoch(void *self, const quern_event *event) {
    window_watch *s = self;
    if (s->epochs < 64) s->loss[s->epochs++] = quern_event_scalar(event, "train/loss");
    return QUERN_CONTINUE;
}

TEST_CASE(Limits, overfit_batch_sees_the_same_samples_each_epoch_and_learns_them) {
    world w;
    quern_result r = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40}));
    window_watch s = {.x = w.x};
    const quern_callback callback = {
        .name = "watch", .self = &s, .update_end = watch_window, .epoch_end = watch_epoch};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    quern_tensor *outputs[] = {w.logits, w.x};
    d.outputs = outputs;
    d.output_count = 2;
    d.overfit_batch = true;
    d.epoch_count = 60;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK(quern_trainer_resolved(w.trainer)->no_shuffle);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 60 && r.samples == 240 && s.epochs == 60);
    CHECK_SAY(s.loss[59] < 0.25 * s.loss[0], "%g to %g", s.loss[0], s.loss[59]);
    for (int i = 0; i < s.count; i++) CHECK(memcmp(s.seen[i], w.train_x, sizeof s.seen[i]) == 0);
    world_close(&w);
}

static bool exists(temporary *t, const char *name) {
    char text[4];
    return temporary_read(t, name, text, sizeof text) >= 0;
}

typedef struct file_drop {
    temporary *at;
    int64_t step;
    slow_clock *clock;
} file_drop;

static quern_action drop_file(void *self, const quern_event *event) {
    file_drop *d = self;
    if (event->step == d->step) CHECK(temporary_write(d->at, "stop", "", 0));
    d->clock->now_ns += 40000000;
    return QUERN_CONTINUE;
}

/* 40 ms a step, 3 steps an epoch: looked for at begin, then every 100 ms, and at epochs' ends. */
TEST_CASE(Limits, a_stop_file_ends_the_run_and_is_removed) {
    static const struct { int64_t drop, end; } runs[] = {{1, 3}, {3, 3}, {4, 6}, {5, 6}};
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        world w;
        quern_result r = {0};
        temporary files;
        slow_clock clock = {0};
        REQUIRE(temporary_begin(&files));
        file_drop drop = {&files, runs[i].drop, &clock};
        const quern_callback callback = {.name = "drop", .self = &drop, .step_end = drop_file};
        REQUIRE_OK(world_open(
            &w,
            &(world_desc){.host.clock = {.monotonic_ns = slow_now, .wall_ns = slow_now, &clock}}));
        quern_trainer_desc d = world_with(&w, &callback, 1);
        d.stop_file = temporary_join(&files, "stop");
        d.epoch_count = 10;
        d.run_ahead = 1;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_FILE && !exists(&files, "stop"));
        CHECK_SAY(r.step >= runs[i].drop && r.step <= runs[i].end, "dropped at %d, ended at %d",
                  (int)runs[i].drop, (int)r.step);
        CHECK(temporary_write(&files, "stop", "", 0)); /* there before the next one */
        const int64_t before = r.step;
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_FILE && r.step == before && !exists(&files, "stop"));
        world_close(&w);
        temporary_end(&files);
    }
}

typedef struct sentences {
    char text[1024];
} sentences;

static void note_sentence(void *self, quern_log_level level, const char *sentence) {
    sentences *s = self;
    if (level >= QUERN_LOG_WARNING) snprintf(s->text, sizeof s->text, "%s", sentence);
}

TEST_CASE(Limits, a_stop_file_that_cannot_be_removed_is_told_and_ends_the_run) {
    world w;
    quern_result r = {0};
    temporary files;
    fault_host faults;
    sentences log = {{0}};
    REQUIRE(temporary_begin(&files));
    CHECK(temporary_write(&files, "stop", "", 0));
    fault_host_begin(&faults, NULL);
    faults.host.log = (quern_log_sink){note_sentence, &log};
    faults.fault[FAULT_UNLINK] = (fault){.at = 1, .error = 13, .for_ever = true};
    REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
    w.desc.stop_file = temporary_join(&files, "stop");
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_FILE && r.step == 0);
    CHECK_HAS(log.text, "the stop file stays: removing ");
    CHECK_HAS(log.text, "ermission denied");
    world_close(&w);
    CHECK(fault_host_live(&faults) == 0);
    temporary_end(&files);
}

/* Looked for rarely: a fit of some hundred steps in no time asks the file system a few times. */
TEST_CASE(Limits, a_stop_file_is_not_looked_for_at_every_step) {
    world w;
    fault_host faults;
    slow_clock clock = {.step_ns = 1000};
    fault_host_begin(&faults, NULL);
    faults.host.clock = (quern_clock){slow_now, slow_now, &clock};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 64, .host = faults.host}));
    w.desc.stop_file = "/nowhere/at/all";
    w.desc.epoch_count = 10;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    const int64_t looks = faults.count[FAULT_INFO];
    CHECK_SAY(looks == 11, "%d looks", (int)looks); /* at begin, and at each epoch's end */
    world_close(&w);
}

/* A field that nothing would read, and a number that means nothing. */
TEST_CASE(Limits, what_is_set_without_being_read_is_refused) {
    static const struct {
        const char *says;
        quern_trainer_desc set;
        bool no_train, no_valid;
    } bad[] = {
        {"accumulate is set without a training set", {.accumulate = 2}, true, false},
        {"sample_limit is set without a training set", {.sample_limit = 1}, true, false},
        {"seconds_limit is set without a training set", {.seconds_limit = 1}, true, false},
        {"evaluate_every is set without a training set", {.evaluate_every = 1}, true, false},
        {"fast_dev_run is set without a training set", {.fast_dev_run = true}, true, false},
        {"handle_signals is set without a training set", {.handle_signals = true}, true, false},
        {"evaluate_every is set without an evaluation set", {.evaluate_every = 1}, false, true},
        {"eval_batch_limit is set without an evaluation", {.eval_batch_limit = 1}, false, true},
        {"sanity_batches is set without an evaluation set", {.sanity_batches = 1}, false, true},
        {"save.every is set without a training set",
         {.save = {.directory = "/nowhere", .every = 1}},
         true,
         false},
        {"train_batch_limit is set, but overfit_batch",
         {.overfit_batch = true, .train_batch_limit = 2},
         false,
         false},
        {"seconds_limit is nan", {.seconds_limit = (double)NAN}, false, false},
        {"seconds_limit is -1", {.seconds_limit = -1}, false, false},
        {"sample_limit is -1", {.sample_limit = -1}, false, false},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        quern_trainer_desc d = bad[i].set;
        d.graph = w.graph;
        d.loss = w.loss;
        d.train = bad[i].no_train ? NULL : w.train;
        d.valid = bad[i].no_valid ? NULL : w.valid;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &d), QUERN_INVALID);
        CHECK_ERROR_HAS(bad[i].says);
        world_close(&w);
    }
}
