/* What a callback asks for is done at the next boundary, from every event at which it may ask. */
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <math.h>
#include <string.h>

typedef struct request_run {
    quern_event_kind kind; /* asked at the nth of these */
    int nth;
    quern_request request;
    quern_status status; /* of the request; INTERNAL: it was never asked */
    int fired[QUERN_EVENT_COUNT];
    int64_t asked_step, done_step; /* updates when asked, and when done; -1: was not */
} request_run;

static quern_action ask(void *self, const quern_event *event) {
    request_run *r = self;
    const bool evaluation = r->request == QUERN_REQUEST_EVALUATION;
    const quern_event_kind done = evaluation ? QUERN_EVENT_eval_begin : QUERN_EVENT_save_begin;
    if (event->kind == done && r->asked_step >= 0 && r->done_step < 0) r->done_step = event->step;
    if (++r->fired[event->kind] == r->nth && event->kind == r->kind) {
        r->status = quern_event_request(event, r->request);
        r->asked_step = event->step;
    }
    return QUERN_CONTINUE;
}

/* Two epochs of three batches, evaluated at the end of each, saved at the end of all. */
static void run_asking(request_run *r, bool sets, bool saves) {
    world w;
    temporary folder;
#define X(name, actions, text) .name = ask,
    const quern_callback callback = {.name = "ask", .self = r, QUERN_EVENT_LIST(X)};
#undef X
    REQUIRE(temporary_begin(&folder));
    r->status = QUERN_INTERNAL;
    r->asked_step = r->done_step = -1;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = sets ? 0 : -1}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.epoch_count = 2;
    d.log_every = 2;
    if (saves) d.save = (quern_save_desc){.directory = folder.path, .every = 100};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
    temporary_end(&folder);
}

static bool is_legal(quern_event_kind kind) {
    return kind >= QUERN_EVENT_fit_begin && kind <= QUERN_EVENT_epoch_end;
}

static void check_granted(quern_event_kind kind, quern_request request) {
    const bool evaluation = request == QUERN_REQUEST_EVALUATION;
    const quern_event_kind done = evaluation ? QUERN_EVENT_eval_begin : QUERN_EVENT_save_begin;
    request_run r = {.kind = kind, .nth = 1, .request = request};
    const char *name = quern_event_name(kind);
    run_asking(&r, true, true);
    CHECK_SAY(r.status == QUERN_OK, "%s: %s", name, quern_status_name(r.status));
    CHECK_SAY(r.fired[done] == (evaluation ? 3 : 2), "%s: %s came %d times", name,
              quern_event_name(done), r.fired[done]);
    CHECK_SAY(r.done_step >= r.asked_step && r.done_step <= r.asked_step + 3,
              "%s: asked at step %d, done at step %d", name, (int)r.asked_step, (int)r.done_step);
}

/* One more than without. */
TEST_CASE(Requests, are_granted_from_every_event_of_a_fit) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        if (!is_legal((quern_event_kind)kind)) continue;
        check_granted((quern_event_kind)kind, QUERN_REQUEST_EVALUATION);
        check_granted((quern_event_kind)kind, QUERN_REQUEST_SAVE);
    }
}

/* At fit_begin and the last epoch_end: the first boundary of all, and none any more. */
TEST_CASE(Requests, before_the_first_window_and_behind_the_last) {
    request_run r = {.kind = QUERN_EVENT_fit_begin, .nth = 1, .request = QUERN_REQUEST_EVALUATION};
    run_asking(&r, true, true);
    CHECK(r.done_step == 0);
    r = (request_run){.kind = QUERN_EVENT_epoch_end, .nth = 2, .request = QUERN_REQUEST_EVALUATION};
    run_asking(&r, true, true);
    CHECK(r.status == QUERN_OK && r.fired[QUERN_EVENT_eval_begin] == 2 && r.done_step == -1);
}

TEST_CASE(Requests, are_refused_everywhere_else) {
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++) {
        request_run r = {
            .kind = (quern_event_kind)kind, .nth = 1, .request = QUERN_REQUEST_EVALUATION};
        if (is_legal(r.kind)) continue;
        run_asking(&r, true, true);
        CHECK_SAY(r.status == QUERN_INVALID || r.fired[kind] == 0, "%s: %s",
                  quern_event_name(r.kind), quern_status_name(r.status));
        CHECK(r.fired[QUERN_EVENT_eval_begin] == 2);
    }
    request_run r = {.kind = QUERN_EVENT_log, .nth = 1, .request = QUERN_REQUEST_EVALUATION};
    run_asking(&r, false, true);
    CHECK_STATUS(r.status, QUERN_INVALID);
    CHECK_ERROR_HAS("there is no set to evaluate");
    r.fired[QUERN_EVENT_log] = 0;
    r.request = QUERN_REQUEST_SAVE;
    run_asking(&r, true, false);
    CHECK_STATUS(r.status, QUERN_INVALID);
    CHECK_ERROR_HAS("there is no directory to save to");
}

typedef struct cut_run {
    int evaluations, batches, stop_at; /* a stop in so manyth batch of an evaluation */
    char order[256];
} cut_run;

static quern_action note_cut(void *self, const quern_event *event) {
    cut_run *r = self;
    const bool batch = event->kind == QUERN_EVENT_eval_batch_end;
    if (batch && ++r->batches == r->stop_at) quern_trainer_stop(event->trainer);
    if (!batch && strlen(r->order) < sizeof r->order - 16) {
        strcat(r->order, quern_event_name(event->kind));
        strcat(r->order, " ");
    }
    return QUERN_CONTINUE;
}

/* The evaluation that a limit ends a run with is cut short by a stop: the next fit makes up for it,
 * as for one that was due inside the run. */
TEST_CASE(Requests, an_evaluation_at_a_limit_that_a_stop_cut_short_begins_the_next_fit) {
    world w;
    quern_result result = {0};
    cut_run r = {.stop_at = 2};
    const quern_callback callback = {.name = "cut",
                                     .self = &r,
                                     .eval_begin = note_cut,
                                     .eval_batch_end = note_cut,
                                     .fit_begin = note_cut,
                                     .fit_end = note_cut,
                                     .step_begin = note_cut};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.step_limit = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &result));
    CHECK(result.step == 2 && result.reason == QUERN_STOPPED_REQUEST && isnan(result.valid_loss));
    CHECK_TEXT(r.order, "fit_begin step_begin step_begin eval_begin fit_end ");
    r.order[0] = 0;
    CHECK_OK(quern_trainer_fit(w.trainer, &result));
    CHECK(result.step == 4 && result.reason == QUERN_STOPPED_STEPS);
    CHECK_HAS(r.order, "fit_begin eval_begin step_begin ");
    world_close(&w);
}
