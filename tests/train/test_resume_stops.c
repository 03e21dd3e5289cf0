/* A run that is asked to stop, at any event at all, saves; the one that is resumed from there comes
 * to the state that it would have come to: nothing is left out, and nothing is done twice. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <string.h>

/* Static: thousands of records are too much for a stack. */
static saved_run whole, stopped, resumed;

/* Durability is tested elsewhere, and thousands of saves would wait for the disk. */
static int64_t no_sync(void *self, int64_t file) {
    (void)self;
    (void)file;
    return 0;
}

static quern_host quick_host(void) {
    quern_host host = quern_host_default();
    host.files.sync = no_sync;
    return host;
}

typedef struct stopper {
    int64_t countdown;
} stopper;

static quern_action count_down(void *self, const quern_event *event) {
    stopper *s = self;
    if (--s->countdown == 0) quern_trainer_stop(event->trainer);
    return QUERN_CONTINUE;
}

static bool is_telling(const saved_record *r) {
    return r->kind == QUERN_EVENT_log || r->kind == QUERN_EVENT_eval_end ||
           r->kind == QUERN_EVENT_epoch_end;
}

static bool is_same(const saved_record *a, const saved_record *b) {
    return a->kind == b->kind && a->step == b->step && a->attempts == b->attempts &&
           a->hash == b->hash;
}

/* How far in `whole` one comes with what a run told; -1: it told something else. An evaluation that
 * the stop cut short is no evaluation. */
static int64_t follow(const saved_run *run, int64_t at) {
    bool stopping = false;
    for (int64_t i = 0; i < run->record_count && at >= 0; i++) {
        const saved_record *r = &run->records[i];
        stopping |= r->kind == QUERN_EVENT_stop_requested;
        if (!is_telling(r)) continue;
        while (at < whole.record_count && !is_telling(&whole.records[at])) at++;
        const bool same = at < whole.record_count && is_same(r, &whole.records[at]);
        if (same) at++;
        if (!same && !(stopping && r->kind == QUERN_EVENT_eval_end)) return -1;
    }
    return at;
}

/* Together the two told what the whole run tells: nothing is missing, nothing comes twice. */
static bool tell_the_same(void) {
    int64_t at = follow(&stopped, 0);
    if (at >= 0) at = follow(&resumed, at);
    while (at >= 0 && at < whole.record_count && !is_telling(&whole.records[at])) at++;
    return at == whole.record_count;
}

/* Stopped at the n-th event, resumed. False when the run has no so many events. */
static bool check_stop(const saved_run_desc *desc, int64_t n) {
    temporary t = {{0}, {0}};
    stopper s = {.countdown = n};
    saved_run_desc d = *desc;
    if (!temporary_begin(&t)) return false;
    d.directory = t.path;
    d.hook = count_down;
    d.hook_self = &s;
    CHECK_OK(saved_run_whole(&stopped, &d));
    const bool asked = stopped.result.reason == QUERN_STOPPED_REQUEST;
    if (asked) {
        d.hook = NULL;
        d.resume = true;
        CHECK_OK(saved_run_whole(&resumed, &d));
        CHECK_SAY(strcmp(resumed.digest, whole.digest) == 0,
                  "tail %d: stopped at event %d (%s, step %d, attempt %d): %s, expected %s",
                  (int)desc->tail, (int)n, quern_event_name(stopped.records[n - 1].kind),
                  (int)stopped.records[n - 1].step, (int)stopped.records[n - 1].attempts,
                  resumed.digest, whole.digest);
        CHECK_SAY(resumed.result.step == whole.result.step, "%d updates, expected %d, after %d",
                  (int)resumed.result.step, (int)whole.result.step, (int)stopped.result.step);
        CHECK(resumed.result.reason == whole.result.reason);
        CHECK_SAY(tell_the_same(), "tail %d: stopped at event %d (%s, step %d): other logs",
                  (int)desc->tail, (int)n, quern_event_name(stopped.records[n - 1].kind),
                  (int)stopped.records[n - 1].step);
    }
    temporary_end(&t);
    return s.countdown <= 0;
}

static void check_every_stop(const saved_run_desc *desc) {
    temporary t = {{0}, {0}};
    saved_run_desc d = *desc;
    REQUIRE(temporary_begin(&t));
    d.host = quick_host();
    d.directory = t.path;
    REQUIRE_OK(saved_run_whole(&whole, &d));
    temporary_end(&t);
    int64_t n = 1;
    while (check_stop(&d, n)) n++;
    CHECK_SAY(n > 60, "%d events", (int)n);
}

TEST_CASE(ResumeStops, a_run_stopped_at_any_event_goes_on_as_if_it_had_not_been) {
    check_every_stop(&(saved_run_desc){.epochs = 2});
}

TEST_CASE(ResumeStops, also_with_windows_and_each_of_their_tails) {
    check_every_stop(&(saved_run_desc){.epochs = 2, .accumulate = 3, .tail = QUERN_TAIL_FLUSH});
    check_every_stop(&(saved_run_desc){.epochs = 3, .accumulate = 3, .tail = QUERN_TAIL_CARRY});
    check_every_stop(&(saved_run_desc){.epochs = 2, .accumulate = 3, .tail = QUERN_TAIL_DROP});
    check_every_stop(&(saved_run_desc){.epochs = 4, .accumulate = 3, .tail = QUERN_TAIL_CARRY});
}

static void evaluate_often(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->evaluate_every = 2;
}

TEST_CASE(ResumeStops, also_with_evaluations_between_updates_and_a_step_limit) {
    check_every_stop(&(saved_run_desc){.step_limit = 9, .every = 3, .change = evaluate_often});
    check_every_stop(&(saved_run_desc){
        .accumulate = 2, .tail = QUERN_TAIL_CARRY, .step_limit = 9, .change = evaluate_often});
}
