/* What must not change a bit of a run of windows: who reads, how far the host runs ahead, how steps
 * are issued, a stop anywhere and another fit, a callback that fails anywhere and another fit. */
#include "quern_test.h"
#include "window_world.h"

#include <stdio.h>
#include <string.h>

typedef struct same_run {
    double state[WINDOW_STATE_MAX];
    quern_result first, result; /* of the first fit, of the last */
    int fits;
    /* the nth event of this kind stops, or fails */
    quern_event_kind kind;
    int nth;
    quern_action action;
    int64_t skip_attempt; /* this attempt is skipped at step_begin; -1: none */
    int fired;
} same_run;

static quern_action same_act(void *self, const quern_event *event) {
    same_run *r = self;
    if (event->kind == QUERN_EVENT_step_begin && event->attempts == r->skip_attempt)
        return QUERN_SKIP_STEP;
    if (event->kind != r->kind || r->nth == 0) return QUERN_CONTINUE;
    return ++r->fired == r->nth ? r->action : QUERN_CONTINUE;
}

static quern_callback same_callback(same_run *r) {
#define X(name, actions, text) .name = same_act,
    quern_callback callback = {.name = "same", .self = r, QUERN_EVENT_LIST(X)};
#undef X
    return callback;
}

/* 26 samples in 7 batches an epoch, of which the last is uneven; windows of 3. */
static void same_train(same_run *r, const quern_trainer_desc *change, int32_t threads) {
    world w;
    memset(r->state, 0, sizeof r->state);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 26, .thread_count = threads}));
    REQUIRE_OK(
        world_network(&w, &(network_desc){.batch_norm = true, .dropout = true, .ignore = true}));
    const quern_callback callback = same_callback(r);
    quern_trainer_desc desc = world_with(&w, &callback, r->nth > 0 || r->skip_attempt >= 0);
    desc.accumulate = 3;
    desc.tail = change->tail;
    desc.epoch_count = change->epoch_count;
    desc.step_limit = change->step_limit;
    desc.worker_count = change->worker_count;
    desc.run_ahead = change->run_ahead;
    desc.no_capture = change->no_capture;
    desc.log_every = change->log_every;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    quern_status s = quern_trainer_fit(w.trainer, &r->first);
    r->result = r->first;
    if (r->action == QUERN_FAIL && r->nth > 0) CHECK_STATUS(s, QUERN_CALLBACK);
    for (r->fits = 1;
         r->fits < 40 && r->result.reason != QUERN_STOPPED_STEPS && (r->nth > 0 || s != QUERN_OK);
         r->fits++) {
        s = quern_trainer_fit(w.trainer, &r->result);
        CHECK_OK(s);
    }
    CHECK_OK(s);
    window_state(&w, r->state);
    world_close(&w);
}

static void check_same(const quern_trainer_desc *change, int32_t threads) {
    same_run plain = {.skip_attempt = -1}, other = {.skip_attempt = -1};
    quern_trainer_desc base = {.tail = change->tail, .epoch_count = 3};
    quern_trainer_desc changed = *change;
    changed.epoch_count = 3;
    same_train(&plain, &base, 1);
    same_train(&other, &changed, threads);
    CHECK(plain.result.step == other.result.step && plain.result.step >= 6);
    CHECK(memcmp(plain.state, other.state, sizeof plain.state) == 0);
}

static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY, QUERN_TAIL_DROP};

TEST_CASE(WindowSame, workers_or_none) {
    for (int tail = 0; tail < 3; tail++)
        for (int32_t workers = 2; workers <= 4; workers += 2)
            check_same(&(quern_trainer_desc){.tail = tails[tail], .worker_count = workers}, 1);
}

TEST_CASE(WindowSame, however_far_the_host_runs_ahead) {
    static const int32_t aheads[] = {1, 2, 3, 4, 5, 6, 7, 8, 64, 128};
    for (int tail = 0; tail < 3; tail++)
        for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++)
            check_same(&(quern_trainer_desc){.tail = tails[tail], .run_ahead = aheads[i]}, 1);
}

TEST_CASE(WindowSame, captured_or_eager_one_thread_or_two_however_often_it_logs) {
    for (int tail = 0; tail < 3; tail++) {
        check_same(&(quern_trainer_desc){.tail = tails[tail], .no_capture = true}, 1);
        check_same(&(quern_trainer_desc){.tail = tails[tail]}, 2);
        check_same(&(quern_trainer_desc){.tail = tails[tail], .log_every = 1}, 1);
    }
}

#define X(name, actions, text) [QUERN_EVENT_##name] = (actions),
enum { STOP = 1, END_EPOCH = 0, SKIP_BATCH = 0, SKIP_STEP = 0, END_EVAL = 0 };
static const int may_stop[QUERN_EVENT_COUNT] = {QUERN_EVENT_LIST(X)};
#undef X

static bool comes_inside(int kind) {
    return kind >= QUERN_EVENT_fetch_begin && kind <= QUERN_EVENT_log;
}

/* A fit of 11 updates, cut in two by a stop in any event: 5 + 6 are 11. */
static void check_stop(quern_tail tail, quern_event_kind kind, int nth, int32_t workers) {
    same_run plain = {.skip_attempt = -1};
    same_run cut = {.skip_attempt = -1, .kind = kind, .nth = nth, .action = QUERN_STOP};
    const quern_trainer_desc desc = {.tail = tail, .step_limit = 11, .worker_count = workers};
    same_train(&cut, &desc, 1);
    quern_trainer_desc whole = {.tail = tail, .step_limit = cut.result.step};
    same_train(&plain, &whole, 1);
    CHECK(cut.first.reason == QUERN_STOPPED_CALLBACK && cut.first.step < 11 && cut.fits == 2);
    CHECK(plain.fits == 1 && plain.result.step == cut.result.step);
    CHECK(plain.result.samples == cut.result.samples);
    CHECK_SAY(memcmp(plain.state, cut.state, sizeof plain.state) == 0, "%s %d, tail %d",
              quern_event_name(kind), nth, (int)tail);
}

TEST_CASE(WindowSame, a_stop_at_any_event_and_another_fit) {
    for (int tail = 0; tail < 3; tail++)
        for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
            for (int nth = 1; nth <= 8; nth++)
                if (comes_inside(kind) && kind != QUERN_EVENT_log && may_stop[kind])
                    check_stop(tails[tail], (quern_event_kind)kind, nth, nth % 2 * 2);
}

/* Before the attempt is issued nothing is lost; inside it the window is skipped, as by a callback
 * that says so. */
static void check_fail(quern_tail tail, quern_event_kind kind, int nth, int32_t workers) {
    same_run plain = {.skip_attempt = -1};
    same_run failed = {.skip_attempt = -1, .kind = kind, .nth = nth, .action = QUERN_FAIL};
    const quern_trainer_desc desc = {.tail = tail, .step_limit = 11, .worker_count = workers};
    same_train(&failed, &desc, 1);
    if (kind >= QUERN_EVENT_loss_ready && kind <= QUERN_EVENT_update_begin)
        plain.skip_attempt = failed.first.attempts - 1;
    quern_trainer_desc whole = {.tail = tail, .step_limit = failed.result.step};
    same_train(&plain, &whole, 1);
    CHECK(failed.first.reason == QUERN_STOPPED_FAILURE && failed.fits == 2);
    CHECK(plain.result.step == failed.result.step &&
          plain.result.attempts == failed.result.attempts);
    CHECK_SAY(memcmp(plain.state, failed.state, sizeof plain.state) == 0, "%s %d, tail %d",
              quern_event_name(kind), nth, (int)tail);
}

TEST_CASE(WindowSame, a_callback_that_fails_at_any_event_and_another_fit) {
    for (int tail = 0; tail < 3; tail++)
        for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
            for (int nth = 1; nth <= 8; nth++)
                if (comes_inside(kind) && kind != QUERN_EVENT_log)
                    check_fail(tails[tail], (quern_event_kind)kind, nth, nth % 2 * 2);
}
