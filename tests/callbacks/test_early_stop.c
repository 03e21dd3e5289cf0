/* Early stop: when it stops, what it puts back, and that its state goes on elsewhere. The metric is
 * a host metric, so that a test can say each of its values. */
#include "quern_test.h"
#include "state.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VALUES_MAX = 12, WEIGHTS_MAX = 256 };

typedef struct script {
    double values[VALUES_MAX];
    int at;
    float weights[VALUES_MAX][WEIGHTS_MAX]; /* after each evaluation */
    world *w;
} script;

static quern_status script_add(void *self, const quern_view *values, int64_t sample_count) {
    (void)self;
    (void)values;
    (void)sample_count;
    return QUERN_OK;
}

static double script_result(void *self) {
    script *s = self;
    return s->values[s->at++];
}

static quern_action keep_weights(void *self, const quern_event *event) {
    script *s = self;
    s->w->trainer = event->trainer;
    world_weights(s->w, s->weights[s->at - 1], WEIGHTS_MAX);
    return QUERN_CONTINUE;
}

/* A run of `epochs` whose val/score is the script's, under early stop. */
static quern_status scripted_create(world *w, script *s, quern_early_stop *e, int64_t epochs) {
    static quern_metric metric;
    metric = (quern_metric){.name = "score",
                            .kind = QUERN_METRIC_HOST,
                            .host = {.self = s,
                                     .tensors = {w->logits},
                                     .tensor_count = 1,
                                     .add = script_add,
                                     .result = script_result}};
    const quern_callback callbacks[] = {quern_early_stop_callback(e),
                                        {.name = "keep", .self = s, .eval_end = keep_weights}};
    s->w = w;
    quern_trainer_desc desc = world_with(w, callbacks, 2);
    desc.metrics = &metric;
    desc.metric_count = 1;
    desc.epoch_count = epochs;
    return quern_trainer_create(&w->trainer, &desc);
}

typedef struct outcome {
    int64_t epochs, best_step;
    quern_stop_reason reason;
    int weights_of; /* the evaluation whose weights the run ended with; -1: of none */
} outcome;

static bool scripted_run(const quern_early_stop_desc *desc, const double *values, int count,
                         outcome *out) {
    world w;
    static script s;
    quern_result r = {0};
    quern_early_stop *e = NULL;
    float end[WEIGHTS_MAX];
    memset(&s, 0, sizeof s);
    memcpy(s.values, values, (size_t)count * sizeof *values);
    if (world_open(&w, &(world_desc){0}) != QUERN_OK) return false;
    bool ok = quern_early_stop_create(&e, w.device, desc) == QUERN_OK &&
              scripted_create(&w, &s, e, count) == QUERN_OK &&
              quern_trainer_fit(w.trainer, &r) == QUERN_OK;
    if (ok) {
        const size_t bytes = (size_t)world_weights(&w, end, WEIGHTS_MAX) * sizeof *end;
        *out = (outcome){r.epochs, quern_early_stop_state_get(e).best_step, r.reason, -1};
        for (int i = 0; i < s.at; i++)
            if (memcmp(end, s.weights[i], bytes) == 0) out->weights_of = i;
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
    }
    quern_early_stop_destroy(e);
    world_close(&w);
    return ok;
}

#define RUN(out, desc, ...)                                                                        \
    REQUIRE(scripted_run(&(quern_early_stop_desc)desc, (const double[]){__VA_ARGS__},              \
                         (int)(sizeof(double[]){__VA_ARGS__} / sizeof(double)), (out)))
#define DESC(...)                                                                                  \
    { .metric = "val/score", __VA_ARGS__ }

/* An epoch is three updates. */
TEST_CASE(EarlyStop, patience_evaluations_in_a_row_without_improvement_end_the_run) {
    outcome o;
    RUN(&o, DESC(.patience = 2), 5, 4, 4, 3, 3, 3, 9, 9);
    CHECK(o.epochs == 6 && o.reason == QUERN_STOPPED_CALLBACK);
    CHECK(o.best_step == 12 && o.weights_of == 5); /* not asked to restore */
    RUN(&o, DESC(.patience = 1), 5, 5, 1);
    CHECK(o.epochs == 2 && o.best_step == 3);
    RUN(&o, DESC(.patience = 3), 5, 6, 6, 4);
    CHECK(o.epochs == 4 && o.reason == QUERN_STOPPED_EPOCHS && o.best_step == 12);
}

TEST_CASE(EarlyStop, maximize_turns_the_comparison) {
    outcome o;
    RUN(&o, DESC(.patience = 2, .maximize = true), 1, 2, 1.5, 1.9, 3);
    CHECK(o.epochs == 4 && o.best_step == 6);
}

TEST_CASE(EarlyStop, less_than_min_delta_is_no_improvement) {
    outcome o;
    RUN(&o, DESC(.patience = 2, .min_delta = 0.5), 5, 4.5, 4.6, 1);
    CHECK(o.epochs == 3 && o.best_step == 3); /* exactly min_delta is not enough */
    RUN(&o, DESC(.patience = 2, .min_delta = 0.5), 5, 4.25, 4, 3.5, 3.5, 3.5, 1);
    CHECK(o.epochs == 6 && o.best_step == 12); /* against the best, not the last */
    RUN(&o, DESC(.patience = 2, .maximize = true, .min_delta = 0.5), 5, 5.5, 5.25, 9);
    CHECK(o.epochs == 3 && o.best_step == 3);
}

TEST_CASE(EarlyStop, nan_never_improves) {
    outcome o;
    RUN(&o, DESC(.patience = 3, .restore_best = true), NAN, NAN, NAN, 1);
    CHECK(o.epochs == 3 && o.best_step == -1 && o.weights_of == 2); /* nothing to restore */
    RUN(&o, DESC(.patience = 2, .restore_best = true), NAN, 4, NAN, NAN, 1);
    CHECK(o.epochs == 4 && o.best_step == 6 && o.weights_of == 1);
    RUN(&o, DESC(.patience = 2, .maximize = true), NAN, -INFINITY, NAN, 1, 2);
    CHECK(o.epochs == 5 && o.best_step == 15);
}

TEST_CASE(EarlyStop, the_best_weights_are_put_back_at_the_end) {
    outcome o;
    RUN(&o, DESC(.patience = 2, .restore_best = true), 5, 3, 4, 4, 1);
    CHECK(o.epochs == 4 && o.weights_of == 1);
    RUN(&o, DESC(.patience = 9, .restore_best = true), 5, 3, 4, 4, 6); /* ended by its epochs */
    CHECK(o.reason == QUERN_STOPPED_EPOCHS && o.weights_of == 1);
}

/* 5 epochs of which the second is the best; `digest` is of the end. */
static void saved_part(const char *directory, bool restore, bool resume, char digest[33]) {
    static script s;
    const quern_early_stop_desc desc = DESC(.patience = 2, .restore_best = restore);
    static const double values[] = {5, 3, 4, 4, 1};
    char of_checkpoint[33] = "";
    world w;
    quern_early_stop *e = NULL;
    quern_checkpoint *checkpoint = NULL;
    quern_result r;
    memset(&s, 0, sizeof s);
    memcpy(s.values, values, sizeof values);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.save = (quern_save_desc){.directory = directory, .resume = resume};
    REQUIRE_OK(quern_early_stop_create(&e, w.device, &desc));
    REQUIRE_OK(scripted_create(&w, &s, e, 5));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.epochs == 4 && r.reason == QUERN_STOPPED_CALLBACK && s.at == (resume ? 0 : 4));
    CHECK((r.checkpoint == NULL) == restore);
    CHECK_OK(quern_trainer_digest(w.trainer, digest));
    if (r.checkpoint) {
        CHECK_OK(quern_checkpoint_open(&checkpoint, w.device, r.checkpoint));
        CHECK_OK(quern_checkpoint_digest(checkpoint, of_checkpoint));
        CHECK_TEXT(of_checkpoint, digest);
        quern_checkpoint_destroy(checkpoint);
    }
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

/* Putting the best ones back comes behind the last save: no checkpoint is said to hold them, and a
 * resume that finds the run over puts them back again. */
TEST_CASE(EarlyStop, a_results_checkpoint_holds_the_weights_that_the_run_ended_with) {
    for (int restore = 0; restore < 2; restore++) {
        temporary t;
        char first[33] = "", again[33] = "";
        REQUIRE(temporary_begin(&t));
        saved_part(t.path, restore == 1, false, first);
        saved_part(t.path, restore == 1, true, again);
        CHECK_TEXT(again, first);
        temporary_end(&t);
    }
}

static quern_action stop_later(void *self, const quern_event *event) {
    if (event->step == 7) quern_trainer_stop(event->trainer);
    (void)self;
    return QUERN_CONTINUE;
}

/* Whoever asks a run to stop wants it to go on later, from where it was. */
TEST_CASE(EarlyStop, a_requested_stop_leaves_the_weights_alone) {
    static float weights[2][WEIGHTS_MAX];
    for (int restore = 0; restore < 2; restore++) {
        world w;
        quern_early_stop *e = NULL;
        quern_result r;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        REQUIRE_OK(quern_early_stop_create(
            &e, w.device, &(quern_early_stop_desc){.patience = 9, .restore_best = restore == 1}));
        const quern_callback callbacks[] = {quern_early_stop_callback(e),
                                            {.name = "stop", .step_end = stop_later}};
        quern_trainer_desc desc = world_with(&w, callbacks, 2);
        desc.epoch_count = 9;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_REQUEST && r.step >= 7);
        REQUIRE(world_weights(&w, weights[restore], WEIGHTS_MAX) > 0);
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        quern_early_stop_destroy(e);
        world_close(&w);
    }
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
}

/* Judged at epoch_end: the loss of training falls, so a maximum is never passed again. */
TEST_CASE(EarlyStop, a_training_metric_is_judged_at_each_epochs_end) {
    world w;
    quern_early_stop *e = NULL;
    quern_result r;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(quern_early_stop_create(
        &e, w.device,
        &(quern_early_stop_desc){.metric = "train/loss", .maximize = true, .patience = 2}));
    const quern_callback callback = quern_early_stop_callback(e);
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 9;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.epochs == 3 && quern_early_stop_state_get(e).evaluations == 3);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

TEST_CASE(EarlyStop, a_metric_that_never_comes_is_refused) {
    world w;
    quern_early_stop *e = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_early_stop_create(
        &e, w.device, &(quern_early_stop_desc){.metric = "val/los", .patience = 1}));
    const quern_callback callback = quern_early_stop_callback(e);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    CHECK_STATUS(quern_trainer_create(&w.trainer, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("callback early_stop failed at init: early stop: init has no scalar val/los");
    CHECK_ERROR_HAS("val/loss");
    quern_early_stop_destroy(e);
    REQUIRE_OK(quern_early_stop_create(
        &e, w.device, &(quern_early_stop_desc){.metric = "train/gradient_norm", .patience = 1}));
    const quern_callback other = quern_early_stop_callback(e);
    const quern_trainer_desc second = world_with(&w, &other, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &second));
    CHECK_STATUS(quern_trainer_fit(w.trainer, NULL), QUERN_INVALID);
    CHECK_ERROR_HAS("epoch_end has no scalar train/gradient_norm");
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

TEST_CASE(EarlyStop, a_desc_that_makes_no_sense_is_refused) {
    world w;
    quern_early_stop *e = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_early_stop_create(&e, w.device, NULL), QUERN_INVALID);
    CHECK_STATUS(quern_early_stop_create(&e, w.device, &(quern_early_stop_desc){0}), QUERN_INVALID);
    CHECK_ERROR_HAS("patience");
    static const double deltas[] = {-1, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(
            quern_early_stop_create(
                &e, w.device, &(quern_early_stop_desc){.patience = 1, .min_delta = deltas[i]}),
            QUERN_INVALID);
        CHECK_ERROR_HAS("min_delta");
    }
    CHECK(e == NULL);
    quern_early_stop_destroy(NULL);
    world_close(&w);
}

static const double whole_script[] = {5, 3, 4, NAN, 3.5, 1, 1, 1};

/* Stopped after the third evaluation and taken up by another object, it ends where it would have
 * ended: at the fifth, with the weights of the second. */
TEST_CASE(EarlyStop, its_state_goes_on_in_another_object) {
    const quern_early_stop_desc desc = DESC(.patience = 3, .restore_best = true);
    static script s[2];
    world w[2];
    quern_early_stop *e[2] = {NULL, NULL};
    quern_result r;
    float end[WEIGHTS_MAX];
    memset(s, 0, sizeof s);
    memcpy(s[0].values, whole_script, sizeof whole_script);
    memcpy(s[1].values, whole_script + 3, 5 * sizeof(double));
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(world_open(&w[i], &(world_desc){0}));
        REQUIRE_OK(quern_early_stop_create(&e[i], w[i].device, &desc));
        REQUIRE_OK(scripted_create(&w[i], &s[i], e[i], i == 0 ? 3 : 5));
    }
    REQUIRE_OK(quern_trainer_fit(w[0].trainer, &r));
    REQUIRE(state_move(quern_early_stop_callback(e[0]), quern_early_stop_callback(e[1])));
    CHECK(state_loaded(quern_early_stop_callback(e[1]), w[1].trainer) == QUERN_CONTINUE);
    REQUIRE_OK(quern_trainer_fit(w[1].trainer, &r));
    const size_t bytes = (size_t)world_weights(&w[1], end, WEIGHTS_MAX) * sizeof *end;
    const quern_early_stop_state state = quern_early_stop_state_get(e[1]);
    CHECK(r.epochs == 2 && r.reason == QUERN_STOPPED_CALLBACK);
    CHECK(state.evaluations == 5 && state.without_improvement == 3);
    CHECK(state.best == 3 && state.best_step == 6);
    CHECK(memcmp(end, s[0].weights[1], bytes) == 0);
    for (int i = 0; i < 2; i++) {
        quern_trainer_destroy(w[i].trainer);
        w[i].trainer = NULL;
        quern_early_stop_destroy(e[i]);
        world_close(&w[i]);
    }
}

TEST_CASE(EarlyStop, a_state_that_cannot_be_is_refused) {
    static const quern_early_stop_state bad[] = {
        {.evaluations = -1, .best_step = -1, .best = NAN},
        {.evaluations = 1, .without_improvement = 2, .best_step = -1, .best = NAN},
        {.evaluations = 1, .best_step = -1, .best = 1},
        {.evaluations = 1, .best_step = 4, .best = NAN},
        {.evaluations = 1, .best_step = -2, .best = NAN},
        {.evaluations = 1, .without_improvement = -1, .best_step = 4, .best = 1}};
    world w;
    quern_early_stop *e = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_early_stop_create(&e, w.device, &(quern_early_stop_desc){.patience = 1}));
    const quern_callback callback = quern_early_stop_callback(e);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const quern_callback_state state = callback.state(callback.self);
    CHECK(state.bytes == sizeof bad[0] && state.block == NULL && state.block_bytes == 0);
    CHECK(state_loaded(callback, w.trainer) == QUERN_CONTINUE);
    for (int i = 0; i < 6; i++) {
        memcpy(state.data, &bad[i], sizeof bad[i]);
        CHECK(state_loaded(callback, w.trainer) == QUERN_FAIL);
        CHECK_ERROR_HAS("cannot be");
    }
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

static quern_action stop_here(void *self, const quern_event *event) {
    (void)event;
    return *(int *)self > 0 && --*(int *)self == 0 ? QUERN_STOP : QUERN_CONTINUE;
}

/* The NaN of an evaluation that a stop cut short says nothing about the weights. */
TEST_CASE(EarlyStop, an_evaluation_that_a_stop_cut_short_is_not_judged) {
    world w;
    quern_early_stop *e = NULL;
    quern_result r;
    int batches = 5; /* three a set: in the midst of the second evaluation */
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_early_stop_create(&e, w.device, &(quern_early_stop_desc){.patience = 1}));
    const quern_callback callbacks[] = {
        quern_early_stop_callback(e),
        {.name = "stop", .self = &batches, .eval_batch_end = stop_here}};
    quern_trainer_desc desc = world_with(&w, callbacks, 2);
    desc.epoch_count = 4;
    desc.optimizer.learning_rate = 0.01;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_CALLBACK && isnan(r.valid_loss));
    quern_early_stop_state state = quern_early_stop_state_get(e);
    CHECK(state.evaluations == 1 && state.without_improvement == 0 && state.best_step == 3);
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r)); /* and is judged again when the run goes on */
    state = quern_early_stop_state_get(e);
    CHECK(state.evaluations > 1);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

static void read_average(world *w, float *out) {
    quern_parameters *average = quern_trainer_average(w->trainer);
    for (int32_t i = 0; i < quern_graph_parameter_count(w->graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(w->graph, i);
        const quern_shape shape = quern_tensor_shape(tensor);
        int64_t count = 1;
        for (int32_t d = 0; d < shape.rank; d++) count *= shape.dim[d];
        REQUIRE_OK(quern_parameters_read(average, tensor, out, (size_t)count * sizeof *out));
        out += count;
    }
}

static float kept_average[VALUES_MAX][WEIGHTS_MAX];

static quern_action keep_average(void *self, const quern_event *event) {
    script *s = self;
    s->w->trainer = event->trainer;
    read_average(s->w, kept_average[s->at - 1]);
    return QUERN_CONTINUE;
}

/* The best evaluation was of the average, so that comes back with the weights behind it. */
TEST_CASE(EarlyStop, the_best_moving_average_is_put_back_with_the_weights) {
    static script s;
    world w;
    quern_early_stop *e = NULL;
    quern_result r;
    float weights[WEIGHTS_MAX], average[WEIGHTS_MAX] = {0};
    memset(&s, 0, sizeof s);
    memset(kept_average, 0, sizeof kept_average);
    memcpy(s.values, (const double[]){5, 3, 4, 4}, 4 * sizeof(double));
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_early_stop_create(
        &e, w.device,
        &(quern_early_stop_desc){.metric = "val/score", .patience = 2, .restore_best = true}));
    quern_metric metric = {.name = "score",
                           .kind = QUERN_METRIC_HOST,
                           .host = {.self = &s,
                                    .tensors = {w.logits},
                                    .tensor_count = 1,
                                    .add = script_add,
                                    .result = script_result}};
    s.w = &w;
    const quern_callback callbacks[] = {quern_early_stop_callback(e),
                                        {.name = "keep", .self = &s, .eval_end = keep_weights},
                                        {.name = "average", .self = &s, .eval_end = keep_average}};
    quern_trainer_desc desc = world_with(&w, callbacks, 3);
    desc.metrics = &metric;
    desc.metric_count = 1;
    desc.epoch_count = 9;
    desc.average_decay = 0.9;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.epochs == 4);
    const size_t bytes = (size_t)world_weights(&w, weights, WEIGHTS_MAX) * sizeof *weights;
    read_average(&w, average);
    CHECK(memcmp(weights, s.weights[1], bytes) == 0);
    CHECK(memcmp(average, kept_average[1], bytes) == 0);
    CHECK(memcmp(average, weights, bytes) != 0);
    CHECK(memcmp(average, kept_average[3], bytes) != 0);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    world_close(&w);
}

static quern_status whole_run(const quern_host *host) {
    world w;
    quern_early_stop *e = NULL;
    quern_status s = world_open(&w, &(world_desc){.host = *host});
    if (s == QUERN_OK)
        s = quern_early_stop_create(&e, w.device,
                                    &(quern_early_stop_desc){.patience = 1, .restore_best = true});
    if (s == QUERN_OK) {
        const quern_callback callback = quern_early_stop_callback(e);
        const quern_trainer_desc desc = world_with(&w, &callback, 1);
        s = quern_trainer_create(&w.trainer, &desc);
    }
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, NULL);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(e);
    if (w.device) world_close(&w);
    return s;
}

TEST_CASE(EarlyStop, failing_allocations_leave_nothing) {
    for (int64_t n = 1;; n++) {
        fault_host faults;
        fault_host_begin(&faults, NULL);
        faults.fault[FAULT_ALLOCATE] = (fault){.at = n};
        const quern_status s = whole_run(&faults.host);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
            CHECK_STATUS(s, QUERN_OK);
            break;
        }
        REQUIRE_STATUS(s, QUERN_HOST_MEMORY);
    }
}
