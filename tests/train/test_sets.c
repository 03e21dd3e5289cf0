/* Several evaluation sets: golden tapes, names, values, what a stop does, requests. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A line an event, "log 2"; an evaluation of "val" at step 2 is "[val 2: 0 1 2]". */
typedef struct script {
    char text[8192];
    size_t length;
    /* what it answers, at the n-th event of a kind */
    quern_event_kind kind;
    int nth, fired;
    quern_action action;
    quern_request request; /* 0: none */
    quern_status answer;   /* to the request */
} script;

static void print(script *s, const char *format, const char *name, int64_t number) {
    if (s->length < sizeof s->text - 96)
        s->length += (size_t)snprintf(s->text + s->length, sizeof s->text - s->length, format, name,
                                      (int)number);
}

static quern_action note(void *self, const quern_event *event) {
    script *s = self;
    switch ((int)event->kind) {
    case QUERN_EVENT_eval_begin: print(s, "[%s %d:", event->evaluation, event->step); break;
    case QUERN_EVENT_eval_batch_end:
        CHECK(event->evaluation != NULL);
        print(s, "%s%d", " ", event->batch);
        break;
    case QUERN_EVENT_eval_end: print(s, "]\n", "", 0); break;
    default:
        CHECK(event->evaluation == NULL);
        print(s, "%s %d\n", quern_event_name(event->kind), event->step);
    }
    if (event->kind != s->kind || ++s->fired != s->nth) return QUERN_CONTINUE;
    if (s->request) s->answer = quern_event_request(event, s->request);
    return s->action;
}

static quern_callback script_callback(script *s) {
    return (quern_callback){.name = "script",
                            .self = s,
                            .epoch_begin = note,
                            .step_end = note,
                            .log = note,
                            .eval_begin = note,
                            .eval_batch_end = note,
                            .eval_end = note,
                            .epoch_end = note,
                            .stop_requested = note,
                            .fit_end = note,
                            .close = note};
}

/* 2 epochs of 3 batches; "val" has 3 batches, "more" 1. */
static quern_status run_script(script *s, const quern_trainer_desc *change, quern_result *r) {
    world w;
    quern_status status = world_open(&w, &(world_desc){0});
    if (status != QUERN_OK) return status;
    quern_dataset *more = NULL;
    const quern_callback callback = script_callback(s);
    status = quern_dataset_arrays(
        &more, w.device,
        &(quern_arrays_desc){.length = 3,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                        {.name = "label", .dtype = QUERN_I32}},
                             .data = {w.valid_x, w.valid_label}});
    const quern_evaluation_set set = {"more", more};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.evaluation_sets = &set;
    d.evaluation_set_count = 1;
    d.epoch_count = 2;
    d.evaluate_every = change->evaluate_every;
    d.evaluate_every_epochs = change->evaluate_every_epochs;
    d.log_every = change->log_every;
    d.step_limit = change->step_limit;
    d.worker_count = change->worker_count;
    d.run_ahead = change->run_ahead;
    if (status == QUERN_OK) status = quern_trainer_create(&w.trainer, &d);
    if (status == QUERN_OK) status = quern_trainer_fit(w.trainer, r);
    char text[1024];
    snprintf(text, sizeof text, "%s", quern_error());
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(more);
    world_close(&w);
    const quern_status again = quern_fail(status, "%s", text);
    return again;
}

/* Every 2 updates and at each epoch's end, a log every 2: at 2 and 4 both come, the log first; at 6
 * the evaluation is also the epoch's, and is run once. */
static const char golden[] = "epoch_begin 0\nstep_end 1\nstep_end 2\nlog 2\n"
                             "[val 2: 0 1 2]\n[more 2: 0]\n"
                             "step_end 3\nlog 3\n"
                             "[val 3: 0 1 2]\n[more 3: 0]\nepoch_end 3\n"
                             "epoch_begin 3\nstep_end 4\nlog 4\n"
                             "[val 4: 0 1 2]\n[more 4: 0]\n"
                             "step_end 5\nstep_end 6\nlog 6\n"
                             "[val 6: 0 1 2]\n[more 6: 0]\nepoch_end 6\n"
                             "fit_end 6\nclose 6\n";

TEST_CASE(Sets, are_evaluated_in_order_at_updates_and_at_epochs_ends) {
    for (int i = 0; i < 6; i++) {
        script s = {.kind = QUERN_EVENT_COUNT};
        quern_result r;
        CHECK_OK(run_script(&s,
                            &(quern_trainer_desc){.evaluate_every = 2,
                                                  .evaluate_every_epochs = 1,
                                                  .log_every = 2,
                                                  .worker_count = i % 2 * 2,
                                                  .run_ahead = 1 + i},
                            &r));
        CHECK_TEXT(s.text, golden);
    }
}

/* By updates only: no evaluation at epochs' ends, but where the run ends. */
TEST_CASE(Sets, by_updates_alone_leave_epochs_ends_out) {
    script s = {.kind = QUERN_EVENT_COUNT};
    quern_result r;
    CHECK_OK(run_script(&s, &(quern_trainer_desc){.evaluate_every = 4}, &r));
    CHECK_TEXT(s.text, "epoch_begin 0\nstep_end 1\nstep_end 2\nstep_end 3\nlog 3\nepoch_end 3\n"
                       "epoch_begin 3\nstep_end 4\n[val 4: 0 1 2]\n[more 4: 0]\n"
                       "step_end 5\nstep_end 6\nlog 6\nepoch_end 6\n"
                       "[val 6: 0 1 2]\n[more 6: 0]\nfit_end 6\nclose 6\n");
}

TEST_CASE(Sets, every_other_epoch) {
    script s = {.kind = QUERN_EVENT_COUNT};
    quern_result r;
    CHECK_OK(run_script(&s, &(quern_trainer_desc){.evaluate_every_epochs = 2}, &r));
    CHECK_TEXT(s.text, "epoch_begin 0\nstep_end 1\nstep_end 2\nstep_end 3\nlog 3\nepoch_end 3\n"
                       "epoch_begin 3\nstep_end 4\nstep_end 5\nstep_end 6\nlog 6\n"
                       "[val 6: 0 1 2]\n[more 6: 0]\nepoch_end 6\nfit_end 6\nclose 6\n");
}

/* A stream says only when asked for more that the epoch is over: the evaluation has been. */
typedef struct stream {
    const world *w;
    int64_t next;
} stream;

static int64_t stream_length(void *self) {
    (void)self;
    return -1;
}

static int32_t stream_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status stream_next(void *self, void *const *data, bool *end) {
    stream *s = self;
    *end = s->next == 10;
    if (*end) return QUERN_OK;
    memcpy(data[0], s->w->train_x[s->next], sizeof s->w->train_x[0]);
    memcpy(data[1], &s->w->train_label[s->next++], sizeof(int32_t));
    return QUERN_OK;
}

static quern_status stream_rewind(void *self) {
    ((stream *)self)->next = 0;
    return QUERN_OK;
}

TEST_CASE(Sets, an_evaluation_at_a_streams_end_is_not_run_again) {
    world w;
    script s = {.kind = QUERN_EVENT_COUNT};
    stream data = {.w = &w};
    const quern_dataset_type type = {.name = "stream",
                                     .length = stream_length,
                                     .fields = stream_fields,
                                     .next = stream_next,
                                     .rewind = stream_rewind};
    quern_dataset *train = NULL;
    const quern_callback callback = script_callback(&s);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_dataset_custom(&train, w.device, &type, &data));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.train = train;
    d.epoch_count = 2;
    d.evaluate_every = 3;
    d.evaluate_every_epochs = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    CHECK_TEXT(s.text, "epoch_begin 0\nstep_end 1\nstep_end 2\nstep_end 3\n[val 3: 0 1 2]\nlog 3\n"
                       "epoch_end 3\nepoch_begin 3\nstep_end 4\nstep_end 5\nstep_end 6\n"
                       "[val 6: 0 1 2]\nlog 6\nepoch_end 6\nfit_end 6\nclose 6\n");
    quern_dataset_destroy(train);
    world_close(&w);
}

typedef struct answer_case {
    quern_event_kind kind;
    int nth;
    quern_action action;
    const char *tape; /* from "log 3" on */
} answer_case;

/* A run of one epoch and one step more; the first evaluation is at the epoch's end. */
static const answer_case answers[] = {
    {QUERN_EVENT_eval_begin, 1, QUERN_END_EVAL,
     "[val 3:]\n[more 3: 0]\nepoch_end 3\nepoch_begin 3\nstep_end 4\nlog 4\n"
     "[val 4: 0 1 2]\n[more 4: 0]\nfit_end 4\nclose 4\n"},
    {QUERN_EVENT_eval_batch_end, 2, QUERN_END_EVAL,
     "[val 3: 0 1]\n[more 3: 0]\nepoch_end 3\nepoch_begin 3\nstep_end 4\nlog 4\n"
     "[val 4: 0 1 2]\n[more 4: 0]\nfit_end 4\nclose 4\n"},
    {QUERN_EVENT_eval_begin, 1, QUERN_STOP,
     "[val 3:stop_requested 3\n]\nepoch_end 3\nfit_end 3\nclose 3\n"},
    {QUERN_EVENT_eval_batch_end, 1, QUERN_STOP,
     "[val 3: 0stop_requested 3\n]\nepoch_end 3\nfit_end 3\nclose 3\n"},
    {QUERN_EVENT_eval_end, 1, QUERN_STOP,
     "[val 3: 0 1 2]\nstop_requested 3\nepoch_end 3\nfit_end 3\nclose 3\n"},
    {QUERN_EVENT_eval_end, 2, QUERN_STOP,
     "[val 3: 0 1 2]\n[more 3: 0]\nstop_requested 3\nepoch_end 3\nfit_end 3\nclose 3\n"},
};

TEST_CASE(Sets, stop_and_end_eval_from_their_events) {
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const answer_case *c = &answers[i];
        script s = {.kind = c->kind, .nth = c->nth, .action = c->action};
        quern_result r;
        CHECK_OK(run_script(&s, &(quern_trainer_desc){.step_limit = 4}, &r));
        const char *from = strstr(s.text, "log 3\n");
        CHECK_TEXT(from ? from + 6 : s.text, c->tape);
        CHECK(r.reason == (c->action == QUERN_STOP ? QUERN_STOPPED_CALLBACK : QUERN_STOPPED_STEPS));
        const bool cut = c->action == QUERN_STOP && c->kind != QUERN_EVENT_eval_end;
        CHECK(isnan(r.valid_loss) == cut);
    }
}

/* What is asked for comes behind the attempts already issued: two, when nothing else falls due. */
static const struct {
    quern_event_kind kind;
    int nth;
    const char *expected;
} requests[] = {
    {QUERN_EVENT_fit_begin, 1, "epoch_begin 0\n[val 0: 0 1 2]\n[more 0: 0 1 2]\nstep_end 1\n"},
    {QUERN_EVENT_epoch_begin, 1, "epoch_begin 0\n[val 0: 0 1 2]\n[more 0: 0 1 2]\nstep_end 1\n"},
    {QUERN_EVENT_fetch_begin, 1, "epoch_begin 0\nstep_end 1\n[val 1: 0 1 2]\n"},
    {QUERN_EVENT_fetch_end, 2, "step_end 1\nstep_end 2\n[val 2: 0 1 2]\n"},
    {QUERN_EVENT_step_begin, 1, "epoch_begin 0\nstep_end 1\n[val 1: 0 1 2]\n"},
    {QUERN_EVENT_loss_ready, 1, "epoch_begin 0\nstep_end 1\n[val 1: 0 1 2]\n"},
    {QUERN_EVENT_update_end, 1, "step_end 1\nstep_end 2\nstep_end 3\n[val 3: 0 1 2]\n"},
    {QUERN_EVENT_step_end, 1, "step_end 1\nstep_end 2\nstep_end 3\n[val 3: 0 1 2]\n"},
    {QUERN_EVENT_step_end, 4, "step_end 5\nlog 5\n[val 5: 0 1 2]\n[more 5: 0 1 2]\nepoch_end 5\n"},
    {QUERN_EVENT_log, 1, "log 5\n[val 5: 0 1 2]\n[more 5: 0 1 2]\nepoch_end 5\n"},
    {QUERN_EVENT_eval_end, 1,
     "[val 5: 0 1 2]\n[more 5: 0 1 2]\nepoch_end 5\nepoch_begin 5\n[val 5: 0 1 2]\n"},
    {QUERN_EVENT_epoch_end, 1, "epoch_end 5\nepoch_begin 5\n[val 5: 0 1 2]\n[more 5: 0 1 2]\n"},
};

static quern_action ask_only(void *self, const quern_event *event) {
    script *s = self;
    if (event->kind == s->kind && ++s->fired == s->nth)
        s->answer = quern_event_request(event, s->request);
    return QUERN_CONTINUE;
}

/* All events, behind the script's own: `asker` has the request, `told` the tape. */
static quern_callback asker_callback(script *asker) {
#define X(name, actions, text) .name = ask_only,
    quern_callback callback = {.name = "asker", .self = asker, QUERN_EVENT_LIST(X)};
#undef X
    return callback;
}

static quern_status run_asked(script *asker, script *told, bool sets) {
    world w;
    quern_status status =
        world_open(&w, &(world_desc){.train_length = 20, .valid_length = sets ? 10 : -1});
    if (status != QUERN_OK) return status;
    const quern_evaluation_set set = {"more", w.valid};
    const quern_callback callbacks[2] = {asker_callback(asker), script_callback(told)};
    quern_trainer_desc d = world_with(&w, callbacks, 2);
    d.epoch_count = 2;
    d.run_ahead = 2;
    d.evaluation_sets = &set;
    d.evaluation_set_count = sets ? 1 : 0;
    if (sets) d.eval_batch_limit = 3;
    status = quern_trainer_create(&w.trainer, &d);
    if (status == QUERN_OK) status = quern_trainer_fit(w.trainer, NULL);
    world_close(&w);
    return status;
}

TEST_CASE(Sets, a_requested_evaluation_comes_at_the_next_boundary) {
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        script asker = {.kind = requests[i].kind,
                        .nth = requests[i].nth,
                        .request = QUERN_REQUEST_EVALUATION,
                        .answer = QUERN_INTERNAL};
        script told = {.kind = QUERN_EVENT_COUNT};
        CHECK_OK(run_asked(&asker, &told, true));
        CHECK_STATUS(asker.answer, QUERN_OK);
        CHECK_SAY(strstr(told.text, requests[i].expected) != NULL, "%s: no\n%sin\n%s",
                  quern_event_name(requests[i].kind), requests[i].expected, told.text);
    }
}

/* Legal from fit_begin to epoch_end, and then only with something to do. */
TEST_CASE(Sets, a_request_is_refused_elsewhere) {
    static const quern_request both[] = {QUERN_REQUEST_EVALUATION, QUERN_REQUEST_SAVE,
                                         (quern_request)3};
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        for (int i = 0; i < 6; i++) {
            const bool sets = i < 3;
            const bool legal = kind >= QUERN_EVENT_fit_begin && kind <= QUERN_EVENT_epoch_end;
            script asker = {.kind = (quern_event_kind)kind,
                            .nth = 1,
                            .request = both[i % 3],
                            .answer = QUERN_IO};
            script told = {.kind = QUERN_EVENT_COUNT};
            CHECK_OK(run_asked(&asker, &told, sets));
            if (asker.fired == 0) continue; /* exception, saves, a resume's events */
            const bool ok = legal && sets && both[i % 3] == QUERN_REQUEST_EVALUATION;
            CHECK_SAY(asker.answer == (ok ? QUERN_OK : QUERN_INVALID),
                      "%s, request %d, sets %d: %s", quern_event_name((quern_event_kind)kind),
                      (int)both[i % 3], (int)sets, quern_status_name(asker.answer));
        }
}

typedef struct found {
    char names[1024];
    double values[8]; /* val/loss, more/loss, more/accuracy at epoch_end; the same at eval_end */
    int evaluations;
    double counts[9]; /* at more's eval_end */
} found;

static quern_action found_init(void *self, const quern_event *event) {
    found *f = self;
    size_t at = 0;
    for (int32_t i = 0; i < event->scalar_count; i++) {
        at += (size_t)snprintf(f->names + at, sizeof f->names - at, "%s ", event->scalars[i].name);
        CHECK(isnan(event->scalars[i].value));
    }
    return QUERN_CONTINUE;
}

static quern_action found_eval(void *self, const quern_event *event) {
    found *f = self;
    f->evaluations++;
    if (strcmp(event->evaluation, "val") == 0) {
        f->values[3] = quern_event_scalar(event, "val/loss");
        CHECK(isnan(quern_event_scalar(event, "more/loss")));
    } else {
        f->values[4] = quern_event_scalar(event, "more/loss");
        f->values[5] = quern_event_scalar(event, "more/accuracy");
        CHECK(isnan(quern_event_scalar(event, "val/loss")));
        CHECK_OK(quern_trainer_confusion(event->trainer, "confusion", f->counts, 9));
    }
    CHECK(event->scalar_count == 2);
    return QUERN_CONTINUE;
}

static quern_action found_epoch(void *self, const quern_event *event) {
    found *f = self;
    f->values[0] = quern_event_scalar(event, "val/loss");
    f->values[1] = quern_event_scalar(event, "more/loss");
    f->values[2] = quern_event_scalar(event, "more/accuracy");
    return QUERN_CONTINUE;
}

/* "more" is the training set, so that both are known from the weights. */
static void values_check(bool valid) {
    world w;
    found f = {.evaluations = 0};
    quern_result r = {0};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 11, .valid_length = 13}));
    const quern_callback callback = {.name = "found",
                                     .self = &f,
                                     .init = found_init,
                                     .eval_end = found_eval,
                                     .epoch_end = found_epoch};
    const quern_evaluation_set set = {"more", w.train};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    if (!valid) d.valid = NULL;
    d.evaluation_sets = &set;
    d.evaluation_set_count = 1;
    d.evaluate_every = 3; /* the epoch's last step: epoch_end still has the values */
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK_TEXT(f.names, valid ? "train/loss train/accuracy train/learning_rate train/gradient_norm "
                                "val/loss val/accuracy more/loss more/accuracy "
                              : "train/loss train/accuracy train/learning_rate train/gradient_norm "
                                "more/loss more/accuracy ");
    const world_score train = world_brute_force(&w, false), score = world_brute_force(&w, true);
    CHECK(f.evaluations == (valid ? 2 : 1));
    CHECK_NEAR(f.values[4], train.loss, 1e-5);
    CHECK_NEAR(f.values[5], train.accuracy, 1e-12);
    CHECK(f.values[1] == f.values[4] && f.values[2] == f.values[5]);
    for (int i = 0; i < 9; i++) CHECK(f.counts[i] == train.confusion[i]);
    if (valid) {
        CHECK_NEAR(f.values[3], score.loss, 1e-5);
        CHECK(f.values[0] == f.values[3] && r.valid_loss == f.values[3]);
        CHECK_NEAR(r.valid_accuracy, score.accuracy, 1e-12);
    } else {
        CHECK(isnan(r.valid_loss) && isnan(r.valid_accuracy) && isnan(f.values[0]));
    }
    world_close(&w);
}

TEST_CASE(Sets, values_are_each_sets_own) {
    values_check(true);
    values_check(false);
}

TEST_CASE(Sets, names_are_checked) {
    static const struct {
        const char *first, *second, *says;
    } bad[] = {
        {NULL, NULL, "evaluation set 0 has no name"},
        {"", NULL, "evaluation set 0 has no name"},
        {"train", NULL, "an evaluation set cannot be named train"},
        {"val", NULL, "an evaluation set cannot be named val"},
        {"epoch", NULL, "an evaluation set cannot be named epoch"},
        {"a/b", NULL, "has a '/' or more than 48 bytes"},
        {"a", "a", "two evaluation sets are named a"},
        {"0123456789012345678901234567890123456789012345678", NULL, "has a '/' or more"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        const quern_evaluation_set sets[2] = {{bad[i].first, w.train}, {bad[i].second, w.train}};
        w.desc.evaluation_sets = sets;
        w.desc.evaluation_set_count = bad[i].second ? 2 : 1;
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
        CHECK_ERROR_HAS(bad[i].says);
        world_close(&w);
    }
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_evaluation_set none = {"none", NULL};
    w.desc.evaluation_sets = &none;
    w.desc.evaluation_set_count = 1;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
    CHECK_ERROR_HAS("the dataset of evaluation set none is NULL");
    world_close(&w);
}

/* An early stop by the second set's loss is judged once an evaluation, not at every set's end. */
TEST_CASE(Sets, early_stop_follows_the_set_that_its_metric_names) {
    world w;
    quern_result r = {0};
    quern_early_stop *stop = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_early_stop_create(
        &stop, w.device, &(quern_early_stop_desc){.metric = "more/loss", .patience = 2}));
    const quern_callback callback = quern_early_stop_callback(stop);
    const quern_evaluation_set set = {"more", w.train};
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.evaluation_sets = &set;
    d.evaluation_set_count = 1;
    d.epoch_count = 20;
    d.optimizer = (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = QUERN_ZERO};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(quern_early_stop_state_get(stop).evaluations == 3); /* the first is the best */
    CHECK(r.epochs == 3 && r.reason == QUERN_STOPPED_CALLBACK);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_early_stop_destroy(stop);
    world_close(&w);
}
