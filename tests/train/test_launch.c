/* Several attempts with one launch: nothing but the launches may tell the difference, whatever ends
 * a row: a trigger, an epoch, a shorter batch, a stop, a failure. */
#include "host/train/trainer.h"
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NOTES = 400, WIDE = 1203 };

/* How a run differs from the plain one of 3 epochs, each of 14 batches of 4 and one of 2. */
typedef struct launch_run {
    quern_trainer_desc change;
    int64_t stop_at;     /* step_end of this update says STOP */
    int64_t bad;         /* this sample holds an infinity, from 1 */
    quern_callback more; /* beside what is told */
    int fits;            /* default 1 */
    bool wide;           /* one epoch of 301 batches */
    bool ignore;         /* a class counts for nothing, so that batches have different weights */
} launch_run;

/* What it tells, and what it leaves. */
typedef struct told {
    int64_t steps[NOTES], logs[NOTES];
    double losses[NOTES], accuracies[NOTES]; /* of records, of sums on the device */
    int step_count, log_count;
    int64_t stop_at;
    float weights[256];
    quern_result result;
    quern_status status;
    char error[400], log[400]; /* the last line of the log that speaks of launches or splits */
    int32_t steps_per_launch, run_ahead;
    int launches, widest; /* attempts in a launch */
} told;

static quern_action on_step_end(void *self, const quern_event *event) {
    told *o = self;
    CHECK(o->step_count < NOTES);
    o->steps[o->step_count++] =
        (event->attempts * 1000 + event->step) * 10 + (int64_t)event->outcome;
    return o->stop_at > 0 && event->step == o->stop_at ? QUERN_STOP : QUERN_CONTINUE;
}

static quern_action on_log(void *self, const quern_event *event) {
    told *o = self;
    CHECK(o->log_count < NOTES);
    o->losses[o->log_count] = quern_event_scalar(event, "train/loss");
    o->accuracies[o->log_count] = quern_event_scalar(event, "train/accuracy");
    /* Behind a rollback there may be nothing yet that counts. */
    if (!isnan(o->losses[o->log_count]))
        CHECK(o->accuracies[o->log_count] >= 0 && o->accuracies[o->log_count] <= 1);
    o->logs[o->log_count++] = event->step;
    return QUERN_CONTINUE;
}

static void note_line(void *self, quern_log_level level, const char *sentence) {
    told *o = self;
    (void)level;
    if (strstr(sentence, "launched") || strstr(sentence, "split"))
        snprintf(o->log, sizeof o->log, "%s", sentence);
}

/* Launches of the trainer under test. */
static const quern_backend *real;
static quern_trainer *watched;
static told *noted;

static quern_status counting_launch(backend_capture *capture, quern_stream *stream) {
    int count = 1;
    for (int i = 0; i < ROW_COUNT; i++)
        if (capture == watched->rows[i]) count = 1 << i;
    if (count > noted->widest) noted->widest = count;
    noted->launches++;
    return real->capture_launch(capture, stream);
}

static void fit_counted(quern_trainer *t, told *o) {
    quern_backend counting = *t->backend;
    counting.capture_launch = counting_launch;
    real = t->backend;
    watched = t;
    noted = o;
    t->backend = &counting;
    o->status = quern_trainer_fit(t, &o->result);
    snprintf(o->error, sizeof o->error, "%s", o->status == QUERN_OK ? "" : quern_error());
    t->backend = real;
}

static quern_status wide_open(quern_dataset **out, quern_device *device) {
    static float x[WIDE][WORLD_FEATURES];
    static int32_t label[WIDE];
    for (int i = 0; i < WIDE; i++) {
        for (int j = 0; j < WORLD_FEATURES; j++) x[i][j] = (float)((i * 7 + j * 13) % 31) / 31;
        label[i] = i * i % WORLD_CLASSES;
    }
    return quern_dataset_arrays(
        out, device,
        &(quern_arrays_desc){.length = WIDE,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                        {.name = "label", .dtype = QUERN_I32}},
                             .data = {x, label}});
}

static void run(const launch_run *r, told *o) {
    world w;
    memset(o, 0, sizeof *o);
    o->stop_at = r->stop_at;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 58,
                                            .valid_length = 10,
                                            .dropout = true,
                                            .host.log = {note_line, o}}));
    if (r->bad > 0) w.train_x[r->bad - 1][1] = INFINITY;
    const quern_callback callbacks[] = {
        {.name = "told", .self = o, .step_end = on_step_end, .log = on_log}, r->more};
    quern_trainer_desc desc = r->change;
    desc.graph = w.graph;
    desc.loss = r->ignore ? quern_softmax_cross_entropy(w.graph, w.logits, w.label,
                                                        &(quern_softmax_cross_entropy_desc){
                                                            .ignore = true, .ignore_index = 2})
                          : w.loss;
    desc.metrics = w.metrics;
    desc.metric_count = 2;
    desc.train = w.train;
    desc.valid = w.valid;
    desc.batch_size = 4;
    desc.callbacks = callbacks;
    desc.callback_count = 2;
    quern_dataset *wide = NULL;
    if (r->wide) {
        REQUIRE_OK(wide_open(&wide, w.device));
        desc.train = wide;
    }
    if (desc.epoch_count == 0 && desc.step_limit == 0) desc.epoch_count = r->wide ? 1 : 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    o->steps_per_launch = quern_trainer_resolved(w.trainer)->steps_per_launch;
    o->run_ahead = quern_trainer_resolved(w.trainer)->run_ahead;
    for (int i = 0; i < (r->fits > 0 ? r->fits : 1); i++) fit_counted(w.trainer, o);
    CHECK(world_weights(&w, o->weights, 256) > 50);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(wide);
    world_close(&w);
}

static void check_same(const told *a, const told *b) {
    CHECK_SAY(a->status == b->status && strcmp(a->error, b->error) == 0, "\"%s\", \"%s\"", a->error,
              b->error);
    CHECK_SAY(a->result.step == b->result.step && a->result.attempts == b->result.attempts &&
                  a->result.samples == b->result.samples && a->result.reason == b->result.reason,
              "%d and %d steps, %d and %d attempts", (int)a->result.step, (int)b->result.step,
              (int)a->result.attempts, (int)b->result.attempts);
    CHECK(memcmp(a->weights, b->weights, sizeof a->weights) == 0);
    CHECK(a->step_count == b->step_count && a->log_count == b->log_count);
    CHECK(memcmp(a->steps, b->steps, sizeof a->steps) == 0);
    CHECK(memcmp(a->logs, b->logs, sizeof a->logs) == 0);
    CHECK(memcmp(a->losses, b->losses, sizeof a->losses) == 0);
    CHECK(memcmp(a->accuracies, b->accuracies, sizeof a->accuracies) == 0);
}

/* One by one from the host, and from the device with rows of every length; the last in *out. */
static void check_rows(const launch_run *r, told *out) {
    static told single, rows;
    launch_run one = *r;
    one.change.run_ahead = 127;
    run(&one, &single);
    CHECK(single.widest <= 1 && single.step_count > 0 && single.steps_per_launch == 1);
    one.change.resident = QUERN_RESIDENT_ON;
    for (int32_t wanted = 1; wanted <= 64; wanted *= 2) {
        int32_t steps = wanted;
        while (steps > 1 && steps * r->change.accumulate > 64) steps /= 2;
        one.change.steps_per_launch = wanted;
        run(&one, &rows);
        check_same(&single, &rows);
        CHECK_SAY(rows.widest <= steps && rows.steps_per_launch == steps, "rows of %d, %d at most",
                  rows.widest, (int)steps);
    }
    if (out) *out = rows;
}

/* Each epoch: 1 + 2 + 4 + 7 as 4 + 2 + 1, and the short batch; behind it an evaluation's. */
TEST_CASE(Launch, rows_of_steps_are_single_steps_bit_for_bit) {
    static const int64_t log_every[] = {1, 2, 5, 7, 10, 1000};
    for (int i = 0; i < 6; i++) {
        told rows;
        check_rows(&(launch_run){.change = {.log_every = log_every[i]}}, &rows);
        CHECK(rows.result.step == 45);
        if (log_every[i] == 1000)
            CHECK_SAY(rows.widest == 4 && rows.launches == 3 * (7 + 3), "%d launches",
                      rows.launches);
    }
}

TEST_CASE(Launch, rows_of_steps_are_eager_steps_bit_for_bit) {
    told eager, rows;
    run(&(launch_run){.change = {.no_capture = true, .run_ahead = 127}}, &eager);
    run(&(launch_run){.change = {.resident = QUERN_RESIDENT_ON, .run_ahead = 127}}, &rows);
    CHECK(rows.widest == 4 && rows.steps_per_launch == 32 && eager.launches == 0);
    check_same(&eager, &rows);
}

/* Windows of several batches, with what is left at an epoch's end dealt with in each way. */
TEST_CASE(Launch, rows_of_windows_are_single_windows_bit_for_bit) {
    static const int64_t sizes[] = {2, 3, 4, 7, 20, 64};
    for (int i = 0; i < 6; i++) {
        for (int tail = QUERN_TAIL_FLUSH; tail <= QUERN_TAIL_DROP; tail++) {
            if (tail == QUERN_TAIL_DROP && sizes[i] > 15) continue; /* no update at all */
            const quern_trainer_desc d = {.accumulate = sizes[i], .tail = (quern_tail)tail};
            launch_run r = {.change = d, .ignore = true};
            if (sizes[i] == 64) r.wide = true;
            told eager, rows;
            check_rows(&r, &rows);
            r.change.no_capture = true;
            r.change.run_ahead = 127;
            run(&r, &eager);
            check_same(&eager, &rows);
        }
    }
    /* An epoch ends in a window of two whole batches, where a row's have four. */
    check_rows(&(launch_run){.change = {.accumulate = 4, .drop_last = true}}, NULL);
}

/* 7 windows of two batches and a batch of 2 samples an epoch, and 3 batches of an evaluation. */
TEST_CASE(Launch, a_window_of_several_batches_is_one_launch) {
    static told parts, whole, rows;
    launch_run r = {.change = {.accumulate = 2, .log_every = 1000, .run_ahead = 127}};
    run(&r, &parts);
    CHECK_SAY(parts.launches == 3 * (7 * 5 + 1 + 3), "%d launches in parts", parts.launches);
    r.change.resident = QUERN_RESIDENT_ON;
    r.change.steps_per_launch = 1;
    run(&r, &whole);
    CHECK_SAY(whole.launches == 3 * (7 + 1 + 3), "%d launches of windows", whole.launches);
    r.change.steps_per_launch = 4;
    run(&r, &rows); /* each epoch: 1 + 2 + 4 windows */
    CHECK_SAY(rows.launches == 3 * (3 + 1 + 3) && rows.widest == 4, "%d launches of rows",
              rows.launches);
    check_same(&parts, &whole);
    check_same(&parts, &rows);
}

/* 32 attempts of at most 64 batches. */
TEST_CASE(Launch, the_default_of_a_row_is_bounded_by_its_batches) {
    static const struct {
        int64_t accumulate;
        int32_t steps;
    } cases[] = {{1, 32}, {2, 32}, {3, 16}, {4, 16}, {32, 2}, {33, 1}, {64, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        told o;
        run(&(launch_run){.change = {.accumulate = cases[i].accumulate,
                                     .run_ahead = 127,
                                     .resident = QUERN_RESIDENT_ON}},
            &o);
        CHECK_SAY(o.steps_per_launch == cases[i].steps, "%d steps of %d batches",
                  (int)o.steps_per_launch, (int)cases[i].accumulate);
    }
}

/* 300 batches of 4, one of 3: half of the ring is launched as 1 … 32 and 1, then as one row. */
TEST_CASE(Launch, rows_grow_to_half_of_the_ring) {
    told rows;
    check_rows(&(launch_run){.wide = true, .change = {.log_every = 1000}}, &rows);
    CHECK_SAY(rows.widest == 64 && rows.result.step == 301, "%d at once", rows.widest);
    check_rows(&(launch_run){.wide = true, .change = {.log_every = 100}}, &rows);
    CHECK_SAY(rows.widest == 32 && rows.log_count == 4, "%d at once", rows.widest);
}

TEST_CASE(Launch, triggers_and_limits_fall_where_they_do_without_rows) {
    check_rows(&(launch_run){.change = {.step_limit = 13}, .fits = 3}, NULL);
    check_rows(&(launch_run){.change = {.step_limit = 5, .log_every = 3}, .fits = 4}, NULL);
    check_rows(&(launch_run){.change = {.sample_limit = 101, .epoch_count = 5}}, NULL);
    check_rows(&(launch_run){.change = {.train_batch_limit = 9}}, NULL);
    check_rows(&(launch_run){.change = {.evaluate_every = 6}}, NULL);
    check_rows(&(launch_run){.change = {.drop_last = true, .no_shuffle = true}}, NULL);
    check_rows(&(launch_run){.change = {.average_decay = 0.9}}, NULL);
}

TEST_CASE(Launch, a_stop_lets_the_same_attempts_run) {
    for (int64_t stop = 1; stop < 20; stop += 3)
        check_rows(&(launch_run){.stop_at = stop, .fits = 2}, NULL);
}

TEST_CASE(Launch, what_is_not_finite_ends_or_is_skipped_at_the_same_attempt) {
    for (int64_t bad = 1; bad <= 58; bad += 19) {
        told rows;
        check_rows(&(launch_run){.bad = bad}, &rows);
        CHECK(rows.status == QUERN_NOT_FINITE);
        CHECK_SAY(strstr(rows.error, "is not finite") != NULL, "%s", rows.error);
        check_rows(&(launch_run){.bad = bad, .change = {.not_finite = QUERN_NOT_FINITE_SKIP}},
                   &rows);
        CHECK(rows.status == QUERN_OK && rows.result.step == 42);
        const quern_trainer_desc windows = {.accumulate = 2, .not_finite = QUERN_NOT_FINITE_SKIP};
        check_rows(&(launch_run){.bad = bad, .change = windows}, &rows);
        CHECK(rows.status == QUERN_OK && rows.result.step == 21 && rows.result.attempts == 24);
    }
}

TEST_CASE(Launch, saves_resumes_and_rolls_back_the_same) {
    for (int way = 0; way < 4; way++) {
        const bool back = way % 2 == 1, windows = way > 1;
        told parts[2][2];
        for (int rows = 0; rows < 2; rows++) {
            temporary t;
            REQUIRE(temporary_begin(&t));
            launch_run r = {
                .bad = back ? 30 : 0,
                .change = {.step_limit = 17,
                           .run_ahead = 15,
                           .steps_per_launch = rows ? 8 : 0,
                           .resident = rows ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF,
                           .accumulate = windows ? 3 : 0,
                           .tail = windows ? QUERN_TAIL_CARRY : QUERN_TAIL_FLUSH,
                           .not_finite = back ? QUERN_NOT_FINITE_ROLLBACK : QUERN_NOT_FINITE_STOP,
                           .save = {.directory = t.path, .every = 5}}};
            run(&r, &parts[rows][0]);
            r.change.step_limit = 40;
            r.change.save.resume = true;
            run(&r, &parts[rows][1]);
            temporary_end(&t);
        }
        CHECK(parts[1][0].widest > 1 && parts[0][0].widest == 1);
        CHECK(parts[1][0].result.step == 17 && parts[1][1].result.step == 40);
        for (int part = 0; part < 2; part++) {
            told *a = &parts[0][part], *b = &parts[1][part];
            a->error[0] = b->error[0] = 0;
            check_same(a, b);
        }
    }
}

static quern_action nothing(void *self, const quern_event *event) {
    (void)self, (void)event;
    return QUERN_CONTINUE;
}

static void check_single(const launch_run *r, const char *line) {
    told o;
    launch_run wanted = *r;
    wanted.change.steps_per_launch = 8;
    wanted.change.log_every = 1000;
    if (wanted.change.resident == QUERN_RESIDENT_AUTO) wanted.change.resident = QUERN_RESIDENT_ON;
    run(&wanted, &o);
    CHECK(o.status == QUERN_OK && o.widest <= 1 && o.steps_per_launch == 1);
    CHECK(o.run_ahead == 2); /* rows that there are not ask for nothing */
    CHECK_SAY(strstr(o.log, line) != NULL, "\"%s\" has no \"%s\"", o.log, line);
}

TEST_CASE(Launch, the_log_says_why_steps_are_launched_one_by_one) {
    check_single(&(launch_run){.change.resident = QUERN_RESIDENT_OFF},
                 "steps are launched one by one, not 8 at once: their data comes from the host");
    check_single(&(launch_run){.change.no_capture = true}, "not 8 at once: they are not recorded");
    check_single(&(launch_run){.change.accumulate = 65}, "not 8 at once: a window has more than");
    check_single(&(launch_run){.more = {.name = "n", .step_begin = nothing}},
                 "a callback subscribes to step_begin: steps are launched one by one, not 8 at");
    check_single(&(launch_run){.more = {.name = "n", .fetch_end = nothing}},
                 "a callback subscribes to fetch_end: steps are launched one by one");
}

TEST_CASE(Launch, the_log_says_where_a_callback_splits_the_recorded_step) {
    const struct {
        quern_callback callback;
        const char *line;
    } cases[] = {
        {{.name = "n", .loss_ready = nothing},
         "a callback subscribes to loss_ready: the recorded "
         "step is split there"},
        {{.name = "n", .micro_end = nothing}, "to micro_end: the recorded step is split there"},
        {{.name = "n", .grads_ready = nothing}, "to grads_ready: the recorded step is split there"},
        {{.name = "n", .update_begin = nothing}, "to update_begin: the recorded step is split"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        told o, none;
        run(&(launch_run){.more = cases[i].callback, .change.step_limit = 10}, &o);
        CHECK_SAY(strstr(o.log, cases[i].line) != NULL, "\"%s\" has no \"%s\"", o.log,
                  cases[i].line);
        run(&(launch_run){.more = cases[i].callback,
                          .change = {.step_limit = 10, .no_capture = true}},
            &none);
        CHECK_TEXT(none.log, "");
        run(&(launch_run){.change.step_limit = 10}, &none);
        CHECK_TEXT(none.log, "");
        CHECK_SAY(o.launches == none.launches + 10, "%d launches, %d unsplit", o.launches,
                  none.launches);
        check_same(&o, &none);
    }
}

TEST_CASE(Launch, a_number_that_cannot_be_is_refused) {
    static const struct {
        int32_t steps, ahead;
        const char *sentence;
    } cases[] = {
        {3, 0, "trainer: steps_per_launch is 3, not a power of two, 1 … 64"},
        {-1, 0, "trainer: steps_per_launch is -1, not a power of two, 1 … 64"},
        {128, 0, "trainer: steps_per_launch is 128, not a power of two, 1 … 64"},
        {8, 14, "trainer: steps_per_launch is 8, for which run_ahead must be 15 or more, not 14"},
    };
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        w.desc.steps_per_launch = cases[i].steps;
        w.desc.run_ahead = cases[i].ahead;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
        CHECK_TEXT(quern_error(), cases[i].sentence);
    }
    w.desc.run_ahead = 0;
    w.desc.steps_per_launch = 2;
    w.desc.train = w.desc.valid = NULL;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
    CHECK_TEXT(quern_error(), "trainer: steps_per_launch is set without a training set");
    world_close(&w);
}
