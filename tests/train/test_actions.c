/* Every action from every event: what is legal ends the run in its way, what is not names callback
 * and event, and the ends fire exactly once whatever happens. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    STOP = 1 << QUERN_STOP,
    END_EPOCH = 1 << QUERN_END_EPOCH,
    SKIP_BATCH = 1 << QUERN_SKIP_BATCH,
    SKIP_STEP = 1 << QUERN_SKIP_STEP,
    END_EVAL = 1 << QUERN_END_EVAL,
};

#define X(name, actions, text) [QUERN_EVENT_##name] = (actions),
static const int legal[QUERN_EVENT_COUNT] = {QUERN_EVENT_LIST(X)};
#undef X

typedef struct actor {
    quern_event_kind kind;
    quern_action action;
    quern_status fail_status; /* with FAIL: through quern_event_fail; OK: plain */
    bool sentence;
    int fired[QUERN_EVENT_COUNT];
    quern_status exception_status, end_status;
    char end_reason[32], end_stopped_by[32];     /* "": NULL */
    int64_t updates[QUERN_OUTCOME_OVERFLOW + 1]; /* update_end by outcome */
} actor;

static quern_action act(void *self, const quern_event *event) {
    actor *a = self;
    a->fired[event->kind]++;
    if (event->kind == QUERN_EVENT_update_end) a->updates[event->outcome]++;
    if (event->kind == QUERN_EVENT_exception) a->exception_status = event->status;
    if (event->kind == QUERN_EVENT_fit_end) {
        a->end_status = event->status;
        snprintf(a->end_reason, sizeof a->end_reason, "%s", event->reason);
        snprintf(a->end_stopped_by, sizeof a->end_stopped_by, "%s",
                 event->stopped_by ? event->stopped_by : "");
    }
    if (event->kind != a->kind || a->fired[event->kind] != 1) return QUERN_CONTINUE;
    if (a->action != QUERN_FAIL) return a->action;
    if (a->fail_status == QUERN_OK && !a->sentence) return QUERN_FAIL;
    const quern_status said = quern_fail(QUERN_INVALID, "the moon is full");
    CHECK(said == QUERN_INVALID);
    return a->fail_status == QUERN_OK ? QUERN_FAIL : quern_event_fail(event, a->fail_status);
}

static quern_callback actor_callback(actor *a) {
#define X(name, actions, text) .name = act,
    quern_callback callback = {.name = "actor", .self = a, QUERN_EVENT_LIST(X)};
#undef X
    return callback;
}

/* 3 epochs of 3 batches with validation. The actor's counts stay after the trainer is gone. */
static quern_status run_actor(actor *a, quern_result *r) {
    world w;
    memset(r, 0, sizeof *r);
    quern_status s = world_open(&w, &(world_desc){0});
    if (s != QUERN_OK) return s;
    const quern_callback callback = actor_callback(a);
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 3;
    s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w.trainer, r);
    char text[1024];
    snprintf(text, sizeof text, "%s", quern_error());
    world_close(&w);
    const quern_status again = quern_fail(s, "%s", text); /* what close said is not of interest */
    return again;
}

static void check_ends(const actor *a, quern_status status) {
    const bool in_init = a->kind == QUERN_EVENT_init;
    CHECK(a->fired[QUERN_EVENT_close] == 1);
    CHECK(a->fired[QUERN_EVENT_fit_end] == (in_init && status != QUERN_OK ? 0 : 1));
    CHECK(a->fired[QUERN_EVENT_stop_requested] <= 1);
}

static bool never_fires(int kind) {
    if (kind >= QUERN_EVENT_save_begin && kind <= QUERN_EVENT_save_durable) return true;
    if (kind == QUERN_EVENT_load_begin || kind == QUERN_EVENT_load_end) return true;
    return kind == QUERN_EVENT_stop_requested || kind == QUERN_EVENT_exception;
}

static void check_stop(int kind) {
    actor a = {.kind = (quern_event_kind)kind, .action = QUERN_STOP};
    quern_result r;
    const quern_status s = run_actor(&a, &r);
    const char *name = quern_event_name(a.kind);
    CHECK_SAY(s == QUERN_OK, "%s: %s", name, quern_error());
    CHECK_SAY(r.reason == QUERN_STOPPED_CALLBACK, "%s: reason %s", name,
              quern_stop_reason_name(r.reason));
    CHECK_SAY(a.fired[QUERN_EVENT_stop_requested] == 1, "%s: stop_requested %d times", name,
              a.fired[QUERN_EVENT_stop_requested]);
    CHECK_SAY(a.fired[QUERN_EVENT_step_begin] <= 3, "%s: %d steps began", name,
              a.fired[QUERN_EVENT_step_begin]);
    CHECK(a.fired[QUERN_EVENT_step_begin] == a.fired[QUERN_EVENT_step_end]);
    CHECK(a.fired[QUERN_EVENT_exception] == 0);
    CHECK_TEXT(a.end_reason, "callback");
    CHECK_TEXT(a.end_stopped_by, "actor");
    CHECK(r.stopped_by && strcmp(r.stopped_by, "actor") == 0);
    check_ends(&a, s);
}

TEST_CASE(Actions, stop_from_every_event_where_it_is_legal) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        if (legal[kind] & STOP) check_stop(kind);
}

/* The first epoch ends early, the other two are whole. */
static void check_end_epoch(int kind) {
    actor a = {.kind = (quern_event_kind)kind, .action = QUERN_END_EPOCH};
    quern_result r;
    const quern_status s = run_actor(&a, &r);
    const char *name = quern_event_name(a.kind);
    CHECK_SAY(s == QUERN_OK, "%s: %s", name, quern_error());
    CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.epochs == 3);
    const bool late =
        kind == QUERN_EVENT_update_end || kind == QUERN_EVENT_step_end || kind == QUERN_EVENT_log;
    const int64_t first = kind == QUERN_EVENT_epoch_begin || kind == QUERN_EVENT_fetch_begin ? 0
                          : late                                                             ? 3
                                                                                             : 1;
    CHECK_SAY(r.attempts == first + 6, "%s: %d attempts", name, (int)r.attempts);
    CHECK(a.fired[QUERN_EVENT_epoch_end] == 3 && a.fired[QUERN_EVENT_eval_end] == 3);
    CHECK(a.fired[QUERN_EVENT_stop_requested] == 0);
    check_ends(&a, s);
}

TEST_CASE(Actions, end_epoch_from_every_event_where_it_is_legal) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        if (legal[kind] & END_EPOCH) check_end_epoch(kind);
}

TEST_CASE(Actions, skip_step_consumes_the_data_and_updates_nothing) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        if (!(legal[kind] & SKIP_STEP)) continue;
        actor a = {.kind = (quern_event_kind)kind, .action = QUERN_SKIP_STEP};
        quern_result r;
        CHECK_OK(run_actor(&a, &r));
        CHECK_SAY(r.attempts == 9 && r.step == 8, "%s: %d attempts, %d steps",
                  quern_event_name(a.kind), (int)r.attempts, (int)r.step);
        CHECK(a.updates[QUERN_OUTCOME_SKIPPED] == 1 && a.updates[QUERN_OUTCOME_APPLIED] == 8);
        check_ends(&a, QUERN_OK);
    }
}

/* Of 3 epochs of 4, 4, 2 samples one batch of 4 is left out: no attempt, no sample. */
TEST_CASE(Actions, skip_batch_consumes_no_attempt) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        if (!(legal[kind] & SKIP_BATCH)) continue;
        actor a = {.kind = (quern_event_kind)kind, .action = QUERN_SKIP_BATCH};
        quern_result r;
        CHECK_OK(run_actor(&a, &r));
        CHECK(r.attempts == 8 && r.step == 8 && r.samples == 26 && r.epochs == 3);
        CHECK(a.fired[QUERN_EVENT_fetch_end] == 9 && a.fired[QUERN_EVENT_step_begin] == 8);
        check_ends(&a, QUERN_OK);
    }
}

/* A run of skips alone leaves the initial weights bit-equal. */
static quern_action always_skip(void *self, const quern_event *event) {
    (void)self;
    (void)event;
    return QUERN_SKIP_STEP;
}

TEST_CASE(Actions, skipped_updates_leave_the_weights_bit_equal) {
    world w;
    quern_result r;
    float before[256] = {0}, after[256] = {0};
    const quern_callback callback = {.name = "skip", .update_begin = always_skip};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    world_weights(&w, before, 256);
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    world_weights(&w, after, 256);
    CHECK(r.attempts == 3 && r.step == 0);
    CHECK(memcmp(before, after, sizeof before) == 0);
    world_close(&w);
}

TEST_CASE(Actions, end_eval_ends_that_evaluation_only) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        if (!(legal[kind] & END_EVAL)) continue;
        actor a = {.kind = (quern_event_kind)kind, .action = QUERN_END_EVAL};
        quern_result r;
        CHECK_OK(run_actor(&a, &r));
        CHECK(a.fired[QUERN_EVENT_eval_end] == 3);
        const int batches = kind == QUERN_EVENT_eval_begin ? 6 : 7;
        CHECK(a.fired[QUERN_EVENT_eval_batch_end] == batches);
        CHECK(r.step == 9);
    }
}

static void check_illegal(int kind, int action) {
    actor a = {.kind = (quern_event_kind)kind, .action = (quern_action)action};
    quern_result r;
    char expected[96];
    const quern_status s = run_actor(&a, &r);
    const char *name = quern_event_name(a.kind);
    if (kind == QUERN_EVENT_close) { /* destroy has no status */
        CHECK(s == QUERN_OK && a.fired[kind] == 1);
        return;
    }
    snprintf(expected, sizeof expected, "at %s, where it is not legal", name);
    CHECK_SAY(s == QUERN_CALLBACK, "%s %d: %s", name, action, quern_status_name(s));
    CHECK_ERROR_HAS("callback actor returned ");
    CHECK_ERROR_HAS(expected);
    check_ends(&a, s);
}

TEST_CASE(Actions, an_illegal_action_names_callback_and_event) {
    static const quern_action actions[] = {QUERN_SKIP_STEP, QUERN_SKIP_BATCH, QUERN_END_EPOCH,
                                           QUERN_END_EVAL, QUERN_STOP};
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        for (int i = 0; i < 5; i++)
            if (!never_fires(kind) && !(legal[kind] & 1 << actions[i]))
                check_illegal(kind, (int)actions[i]);
}

TEST_CASE(Actions, an_unknown_action_is_illegal) { check_illegal(QUERN_EVENT_step_end, 77); }

static void check_fail(int kind) {
    actor a = {.kind = (quern_event_kind)kind, .action = QUERN_FAIL};
    quern_result r;
    char expected[96];
    const quern_status s = run_actor(&a, &r);
    const char *name = quern_event_name(a.kind);
    if (kind == QUERN_EVENT_close) {
        CHECK(s == QUERN_OK);
        return;
    }
    snprintf(expected, sizeof expected, "callback actor failed at %s", name);
    CHECK_SAY(s == QUERN_CALLBACK, "%s: %s", name, quern_status_name(s));
    CHECK_TEXT(quern_error(), expected);
    check_ends(&a, s);
    if (kind == QUERN_EVENT_init) return;
    CHECK(r.reason == QUERN_STOPPED_FAILURE);
    if (kind == QUERN_EVENT_fit_end) return;
    CHECK_SAY(a.fired[QUERN_EVENT_exception] == 1, "%s: exception %d times", name,
              a.fired[QUERN_EVENT_exception]);
    CHECK(a.exception_status == QUERN_CALLBACK && a.end_status == QUERN_CALLBACK);
    CHECK_TEXT(a.end_reason, "failure");
    CHECK_TEXT(a.end_stopped_by, "");
}

TEST_CASE(Actions, a_callback_that_fails_ends_the_run_from_every_event) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        if (!never_fires(kind)) check_fail(kind);
}

TEST_CASE(Actions, a_failing_callback_may_say_why_and_with_which_status) {
    quern_result r;
    actor plain = {.kind = QUERN_EVENT_log, .action = QUERN_FAIL, .sentence = true};
    CHECK_STATUS(run_actor(&plain, &r), QUERN_CALLBACK);
    CHECK_TEXT(quern_error(), "callback actor failed at log: the moon is full");
    actor named = {.kind = QUERN_EVENT_log, .action = QUERN_FAIL, .fail_status = QUERN_IO};
    CHECK_STATUS(run_actor(&named, &r), QUERN_IO);
    CHECK_TEXT(quern_error(), "callback actor failed at log: the moon is full");
    CHECK(named.end_status == QUERN_IO);
}

/* After a failing callback the trainer is whole: the next fit goes on. */
TEST_CASE(Actions, a_fit_after_a_failure_goes_on) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        if (never_fires(kind) || kind == QUERN_EVENT_init || kind == QUERN_EVENT_close) continue;
        world w;
        quern_result r;
        actor a = {.kind = (quern_event_kind)kind, .action = QUERN_FAIL};
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        const quern_callback callback = actor_callback(&a);
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.epoch_count = 2;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_CALLBACK);
        const int64_t before = r.epochs;
        CHECK_SAY(quern_trainer_fit(w.trainer, &r) == QUERN_OK, "%s: %s", quern_event_name(a.kind),
                  quern_error());
        CHECK_SAY(r.epochs == before + 2, "%s: %d epochs", quern_event_name(a.kind), (int)r.epochs);
        CHECK(r.step == r.attempts - a.updates[QUERN_OUTCOME_SKIPPED] || r.step == r.attempts - 1);
        world_close(&w);
    }
}

typedef struct order {
    char text[256];
} order;
typedef struct order_member {
    order *into;
    const char *letter;
} order_member;

static quern_action order_add(void *self, const quern_event *event) {
    order_member *m = self;
    (void)event;
    strncat(m->into->text, m->letter, sizeof m->into->text - strlen(m->into->text) - 1);
    return QUERN_CONTINUE;
}

TEST_CASE(Actions, callbacks_run_by_band_then_registration_and_close_in_reverse) {
    world w;
    order o = {{0}};
    order_member members[] = {{&o, "c"}, {&o, "l"}, {&o, "u"}, {&o, "m"}, {&o, "o"}, {&o, "v"}};
    const quern_band bands[] = {QUERN_BAND_CHECKPOINTER, QUERN_BAND_LOGGER,  QUERN_BAND_USER,
                                QUERN_BAND_MUTATOR,      QUERN_BAND_MONITOR, QUERN_BAND_USER};
    quern_callback callbacks[6];
    for (int i = 0; i < 6; i++)
        callbacks[i] = (quern_callback){
            .self = &members[i], .band = bands[i], .fit_begin = order_add, .close = order_add};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc desc = world_with(&w, callbacks, 6);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK_TEXT(o.text, "muvolc");
    world_close(&w);
    CHECK_TEXT(o.text, "muvolcclovum");
}

static quern_action stop_trainer(void *self, const quern_event *event) {
    (void)self;
    if (event->step == 4) quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

TEST_CASE(Actions, a_stop_request_ends_the_run_and_the_next_fit_goes_on) {
    world w;
    quern_result r;
    const quern_callback callback = {.name = "stopper", .step_end = stop_trainer};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 5;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_REQUEST);
    CHECK(r.step >= 4 && r.step <= 6);
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.epochs == 6);
    quern_trainer_stop(w.trainer); /* before a fit: that fit ends at once */
    const int64_t step = r.step;
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_REQUEST && r.step == step);
    world_close(&w);
}

typedef struct cutter {
    int64_t at;
    int ends;
    double shown;
} cutter;

static quern_action cut_evaluation(void *self, const quern_event *event) {
    return event->batch == ((cutter *)self)->at ? QUERN_STOP : QUERN_CONTINUE;
}

static quern_action note_evaluation(void *self, const quern_event *event) {
    cutter *c = self;
    c->ends++;
    c->shown = quern_event_scalar(event, "val/loss");
    return QUERN_CONTINUE;
}

/* What a part of the validation set says is not shown as the whole set's. */
TEST_CASE(Actions, a_stop_inside_an_evaluation_leaves_no_value_of_a_part) {
    for (int64_t at = 0; at < 3; at++) {
        world w;
        quern_result r;
        double counts[WORLD_CLASSES * WORLD_CLASSES];
        cutter c = {.at = at};
        const quern_callback callback = {.name = "cutter",
                                         .self = &c,
                                         .eval_batch_end = cut_evaluation,
                                         .eval_end = note_evaluation};
        const bool whole = at == 2; /* 10 samples in batches of 4: the last one */
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        const quern_trainer_desc desc = world_with(&w, &callback, 1);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(r.reason == QUERN_STOPPED_CALLBACK && c.ends == 1);
        CHECK(isfinite(r.valid_loss) == whole && isfinite(r.valid_accuracy) == whole);
        CHECK(isfinite(c.shown) == whole);
        CHECK((quern_trainer_confusion(w.trainer, "confusion", counts, 9) == QUERN_OK) == whole);
        if (whole) CHECK_NEAR(r.valid_loss, world_brute_force(&w, true).loss, 1e-6);
        world_close(&w);
    }
}

static quern_action call_back(void *self, const quern_event *event) {
    int *refused = self;
    *refused += quern_trainer_fit(event->trainer, NULL) == QUERN_INVALID;
    *refused += quern_trainer_step(event->trainer, &(quern_batch){0}) == QUERN_INVALID;
    *refused += quern_trainer_wait(event->trainer, NULL) == QUERN_INVALID;
    return QUERN_CONTINUE;
}

TEST_CASE(Actions, the_loop_does_not_nest) {
    world w;
    int refused = 0;
    const quern_callback callback = {.name = "nest", .self = &refused, .step_end = call_back};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(refused == 9);
    world_close(&w);
}
