/* What leaves no trace: sanity batches before the first step, and a run that was reset. */
#include "ends.h"
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct counting_metric {
    int resets, adds, results;
} counting_metric;

static void metric_reset(void *self) { ((counting_metric *)self)->resets++; }

static quern_status metric_add(void *self, const quern_view *values, int64_t sample_count) {
    (void)values;
    (void)sample_count;
    ((counting_metric *)self)->adds++;
    return QUERN_OK;
}

static double metric_result(void *self) { return (double)++((counting_metric *)self)->results; }

typedef struct run_trace {
    char text[4096];
    size_t length;
    float weights[256];
    double confusion[9];
    counting_metric metric;
} run_trace;

static quern_action trace_event(void *self, const quern_event *event) {
    run_trace *r = self;
    if (r->length > sizeof r->text - 256) return QUERN_CONTINUE;
    r->length +=
        (size_t)snprintf(r->text + r->length, sizeof r->text - r->length, "%s %d %d",
                         quern_event_name(event->kind), (int)event->step, (int)event->batch);
    for (int32_t i = 0; i < event->scalar_count; i++)
        r->length += (size_t)snprintf(r->text + r->length, sizeof r->text - r->length, " %a",
                                      event->scalars[i].value);
    r->text[r->length++] = '\n';
    r->text[r->length] = 0;
    return QUERN_CONTINUE;
}

#define X(name, actions, text) .name = trace_event,
static quern_callback trace_callback(run_trace *r) {
    return (quern_callback){.name = "trace", .self = r, QUERN_EVENT_LIST(X)};
}
#undef X

/* With dropout and shuffle: a draw too many would show. */
static void traced_desc(world *w, run_trace *r, quern_metric *metrics,
                        const quern_callback *callback) {
    metrics[0] = w->metrics[0];
    metrics[1] = w->metrics[1];
    metrics[2] = (quern_metric){.name = "count",
                                .kind = QUERN_METRIC_HOST,
                                .host = {.tensors = {w->logits},
                                         .tensor_count = 1,
                                         .reset = metric_reset,
                                         .add = metric_add,
                                         .result = metric_result,
                                         .self = &r->metric}};
    w->desc.metrics = metrics;
    w->desc.metric_count = 3;
    w->desc.callbacks = callback;
    w->desc.callback_count = 1;
    w->desc.epoch_count = 2;
    w->desc.log_every = 2;
    w->desc.average_decay = 0.9;
}

static void traced_run(run_trace *r, int64_t sanity, int32_t workers) {
    world w;
    quern_metric metrics[3];
    const quern_callback callback = trace_callback(r);
    REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true}));
    traced_desc(&w, r, metrics, &callback);
    w.desc.sanity_batches = sanity;
    w.desc.worker_count = workers;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(world_weights(&w, r->weights, 256) > 0);
    CHECK_OK(quern_trainer_confusion(w.trainer, "confusion", r->confusion, 9));
    world_close(&w);
}

TEST_CASE(Sanity, leaves_no_trace) {
    for (int64_t batches = 1; batches <= 5; batches++) {
        run_trace with = {.length = 0}, without = {.length = 0};
        traced_run(&without, 0, 0);
        traced_run(&with, batches, batches % 2 ? 2 : 0);
        CHECK_TEXT(with.text, without.text);
        CHECK(memcmp(with.weights, without.weights, sizeof with.weights) == 0);
        CHECK(memcmp(with.confusion, without.confusion, sizeof with.confusion) == 0);
        CHECK(memcmp(&with.metric, &without.metric, sizeof with.metric) == 0);
    }
}

/* A set that cannot be read is found out before anything is trained. */
TEST_CASE(Sanity, a_failure_ends_the_fit_before_step_0) {
    world w;
    quern_result r = {0};
    ends e = {.kind = QUERN_EVENT_COUNT};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.valid_label[5] = 99; /* no such class */
    const quern_evaluation_set more = {"more", w.train};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.evaluation_sets = &more;
    d.evaluation_set_count = 1;
    d.sanity_batches = 1; /* samples 0 … 3: nothing is wrong with them */
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
    CHECK(r.step == 3);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    memset(e.fired, 0, sizeof e.fired);
    d.sanity_batches = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
    CHECK_ERROR_HAS("sanity evaluation of val: ");
    CHECK(r.step == 0 && r.attempts == 0 && r.reason == QUERN_STOPPED_FAILURE);
    CHECK(e.fired[QUERN_EVENT_epoch_begin] == 0 && e.fired[QUERN_EVENT_eval_begin] == 0);
    ends_check(&e, false, true);
    world_close(&w);
}

TEST_CASE(Sanity, is_of_a_trainer_that_has_trained_nothing) {
    world w;
    quern_result first = {0}, second = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.sanity_batches = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &first));
    w.valid_label[0] = 99;
    CHECK_STATUS(quern_trainer_fit(w.trainer, &second), QUERN_INPUT);
    CHECK(second.step == 6); /* found by the epoch's evaluation only */
    world_close(&w);
}

/* Whatever has been: limits, a half epoch, own batches, a scaled rate, a failure. */
static void disturb(world *w, int how) {
    quern_result r;
    const quern_batch batch = {.sample_count = 3,
                               .field_count = 2,
                               .names = {"x", "label"},
                               .data = {w->valid_x, w->valid_label}};
    if (how == 0) CHECK_OK(quern_trainer_fit(w->trainer, &r));
    if (how >= 1)
        for (int i = 0; i < 3; i++) CHECK_OK(quern_trainer_step(w->trainer, &batch));
    if (how == 2) CHECK_OK(quern_trainer_scale_learning_rate(w->trainer, 0.5));
    if (how == 2) CHECK_OK(quern_trainer_step(w->trainer, &batch));
    if (how == 3) {
        const int32_t label = w->train_label[7];
        w->train_label[7] = 99;
        CHECK_STATUS(quern_trainer_fit(w->trainer, &r), QUERN_INPUT);
        w->train_label[7] = label;
    }
    if (how == 4) quern_trainer_stop(w->trainer);
}

TEST_CASE(Reset, a_fit_behind_it_is_the_first_one_of_a_new_trainer) {
    run_trace fresh = {.length = 0};
    traced_run(&fresh, 0, 0);
    char *first = strstr(fresh.text, "fit_begin"), *close = strstr(fresh.text, "close");
    REQUIRE(first && close);
    *close = 0;
    for (int how = 0; how < 5; how++) {
        world w;
        run_trace r = {.length = 0};
        quern_metric metrics[3];
        quern_result result = {0};
        const quern_callback callback = trace_callback(&r);
        REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true}));
        traced_desc(&w, &r, metrics, &callback);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        disturb(&w, how);
        CHECK_OK(quern_trainer_reset(w.trainer));
        CHECK(isnan(quern_trainer_learning_rate(w.trainer)));
        double counts[9];
        CHECK_STATUS(quern_trainer_confusion(w.trainer, "confusion", counts, 9), QUERN_INVALID);
        r = (run_trace){.length = 0};
        CHECK_OK(quern_trainer_fit(w.trainer, &result));
        CHECK_SAY(strcmp(r.text, first) == 0, "%d:\n%sis not\n%s", how, r.text, first);
        CHECK(world_weights(&w, r.weights, 256) > 0);
        CHECK_SAY(memcmp(r.weights, fresh.weights, sizeof r.weights) == 0, "%d: weights", how);
        CHECK(result.step == 6 && result.epochs == 2 && result.samples == 20);
        world_close(&w);
    }
}

/* An epoch of 3 batches leaves one over for the next window of two: not for the next run. */
TEST_CASE(Reset, forgets_the_batches_that_an_epoch_left_over) {
    world w;
    quern_result first = {0}, again = {0};
    float weights[2][256] = {{0}};
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.desc.tail = QUERN_TAIL_CARRY;
    w.desc.accumulate = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &first));
    CHECK(world_weights(&w, weights[0], 256) > 0);
    CHECK_OK(quern_trainer_reset(w.trainer));
    CHECK_OK(quern_trainer_fit(w.trainer, &again));
    CHECK(world_weights(&w, weights[1], 256) > 0);
    CHECK(first.step == 1 && again.step == 1 && again.samples == first.samples);
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
    world_close(&w);
}

static quern_action stop_in_evaluation(void *self, const quern_event *event) {
    int *left = self;
    if (--*left == 0) quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

/* A stop cuts the first evaluation short, which the next fit would begin with. */
TEST_CASE(Reset, forgets_what_a_stopped_run_owes) {
    world w;
    int left = 2;
    run_trace r = {.length = 0};
    const quern_callback callbacks[] = {
        trace_callback(&r), {.name = "stop", .self = &left, .eval_batch_end = stop_in_evaluation}};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, callbacks, 2);
    d.evaluate_every = 2;
    d.step_limit = 3;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(left == 0);
    CHECK_OK(quern_trainer_reset(w.trainer));
    r.length = 0;
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK_SAY(strncmp(r.text, "fit_begin 0 0\nepoch_begin 0 0\nfetch_begin 0 0\n", 46) == 0, "%s",
              r.text);
    world_close(&w);
}

static quern_action reset_inside(void *self, const quern_event *event) {
    (void)self;
    CHECK_STATUS(quern_trainer_reset(event->trainer), QUERN_INVALID);
    return QUERN_CONTINUE;
}

TEST_CASE(Reset, is_refused_from_a_callback) {
    world w;
    const quern_callback callback = {.name = "reset", .log = reset_inside};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc d = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
}
