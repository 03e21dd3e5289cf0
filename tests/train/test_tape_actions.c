/* What every action of every event leads to, as golden tapes: the events from the one that was
 * answered on. Before it, each run is the one that nobody answers. */
#include "quern_test.h"
#include "tape_player.h"

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

/* 2 epochs of 3 batches, then one of validation; log every 2. */
static void play_answer(player *p, const answer *a) {
    world w;
    *p = (player){.answer = *a};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 12, .valid_length = 4}));
    w.desc.epoch_count = 2;
    w.desc.log_every = 2;
    w.desc.no_shuffle = a->provoked == POISONED; /* the second batch */
    play_fit(p, &w, w.desc, true);
    world_close(&w);
}

typedef struct row {
    answer answer;
    const char *tape; /* from the answered event on */
} row;

/* The run is, up to the answer, the one that nobody answers. */
static void check_before(const player *p) {
    static player whole;
    play_answer(&whole, &(answer){.kind = QUERN_EVENT_COUNT, .provoked = p->answer.provoked});
    CHECK_SAY(p->fired >= p->answer.nth, "%s %d never came", quern_event_name(p->answer.kind),
              p->answer.nth);
    CHECK(strncmp(p->before.text, whole.from.text, p->before.length) == 0);
}

static void check_row(const row *r, player *p) {
    play_answer(p, &r->answer);
    check_before(p);
    if (r->answer.action == QUERN_END_EPOCH) tape_cut(&p->from, "epoch_begin");
    CHECK_TEXT(p->from.text, r->tape);
}

#define ANSWER(event, nth, action)                                                                 \
    { QUERN_EVENT_##event, nth, QUERN_##action, NOTHING, 0 }
#define PROVOKED(event, nth, action, by)                                                           \
    { QUERN_EVENT_##event, nth, QUERN_##action, by, 0 }
#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

/* What has been issued runs to its end; an evaluation and an epoch that have begun are told of. */
static const row stops[] = {
    {ANSWER(fit_begin, 1, STOP),
     "fit_begin 0/0 0.0, stop_requested 0/0 0.0, fit_end 0/0 0.0, close 0/0 0.0"},
    {ANSWER(epoch_begin, 2, STOP),
     "epoch_begin 3/3 1.0, stop_requested 3/3 1.0, fit_end 3/3 1.0, close 3/3 1.0"},
    {ANSWER(fetch_begin, 2, STOP),
     "fetch_begin 0/1 0.1, stop_requested 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, "
     "log 1/1 0.0, fit_end 1/1 0.0, close 1/1 0.0"},
    {ANSWER(fetch_end, 2, STOP),
     "fetch_end 0/1 0.1, stop_requested 0/0 0.0, step_begin 0/1 0.1, loss_ready 0/1 0.1, "
     "micro_end 0/1 0.1, grads_ready 0/1 0.1, update_begin 0/1 0.1, update_end 1/1 0.0, "
     "step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, "
     "close 2/2 0.1"},
    {ANSWER(step_begin, 2, STOP),
     "step_begin 0/1 0.1, stop_requested 0/0 0.0, loss_ready 0/1 0.1, micro_end 0/1 0.1, "
     "grads_ready 0/1 0.1, update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, "
     "update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(loss_ready, 2, STOP),
     "loss_ready 0/1 0.1, stop_requested 0/0 0.0, micro_end 0/1 0.1, grads_ready 0/1 0.1, "
     "update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(micro_end, 2, STOP),
     "micro_end 0/1 0.1, stop_requested 0/0 0.0, grads_ready 0/1 0.1, update_begin 0/1 0.1, "
     "update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(grads_ready, 2, STOP),
     "grads_ready 0/1 0.1, stop_requested 0/0 0.0, update_begin 0/1 0.1, "
     "update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(update_begin, 2, STOP),
     "update_begin 0/1 0.1, stop_requested 0/0 0.0, update_end 1/1 0.0, step_end 1/1 0.0, "
     "update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(update_end, 1, STOP),
     "update_end 1/1 0.0, stop_requested 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(step_end, 1, STOP),
     "step_end 1/1 0.0, stop_requested 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "log 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(log, 1, STOP), "log 2/2 0.1, stop_requested 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(log, 2, STOP),
     "log 3/3 0.2, stop_requested 3/3 0.2, epoch_end 3/3 0.3, fit_end 3/3 1.2, close 3/3 1.2"},
    {ANSWER(eval_begin, 1, STOP),
     "eval_begin 3/3 0.0, stop_requested 3/3 0.2, eval_end 3/3 0.0, epoch_end 3/3 0.3, "
     "fit_end 3/3 1.2, close 3/3 1.2"},
    {ANSWER(eval_batch_end, 1, STOP),
     "eval_batch_end 3/3 0.0, stop_requested 3/3 0.2, eval_end 3/3 0.0, epoch_end 3/3 0.3, "
     "fit_end 3/3 1.2, close 3/3 1.2"},
    {ANSWER(eval_end, 1, STOP),
     "eval_end 3/3 0.0, stop_requested 3/3 0.2, epoch_end 3/3 0.3, fit_end 3/3 1.2, "
     "close 3/3 1.2"},
    {ANSWER(epoch_end, 1, STOP),
     "epoch_end 3/3 0.3, stop_requested 3/3 0.2, fit_end 3/3 1.2, close 3/3 1.2"},
};

TEST_CASE(TapeActions, stop_from_every_event_where_it_is_legal) {
    static player p;
    row again;
    uint32_t everywhere = 0;
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        if (legal[kind] & STOP) everywhere |= UINT32_C(1) << kind;
    int seen[QUERN_EVENT_COUNT] = {0};
    for (int i = 0; i < COUNT(stops); i++) {
        check_row(&stops[i], &p);
        CHECK_OK(p.status);
        CHECK(p.result.reason == QUERN_STOPPED_CALLBACK);
        again = stops[i]; /* a run that is ending is not stopped a second time */
        again.answer.again_at = everywhere;
        check_row(&again, &p);
        seen[stops[i].answer.kind] = 1;
    }
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        CHECK_SAY(seen[kind] == ((legal[kind] & STOP) != 0), "%s has no row",
                  quern_event_name((quern_event_kind)kind));
}

/* Up to where the next epoch begins. */
static const row epoch_ends[] = {
    {ANSWER(epoch_begin, 1, END_EPOCH),
     "epoch_begin 0/0 0.0, eval_begin 0/0 0.0, eval_batch_end 0/0 0.0, eval_end 0/0 0.0, "
     "epoch_end 0/0 0.0, epoch_begin 0/0 1.0"},
    {ANSWER(fetch_begin, 1, END_EPOCH),
     "fetch_begin 0/0 0.0, eval_begin 0/0 0.0, eval_batch_end 0/0 0.0, eval_end 0/0 0.0, "
     "epoch_end 0/0 0.0, epoch_begin 0/0 1.0"},
    {ANSWER(fetch_begin, 2, END_EPOCH),
     "fetch_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, log 1/1 0.0, "
     "eval_begin 1/1 0.0, eval_batch_end 1/1 0.0, eval_end 1/1 0.0, epoch_end 1/1 0.1, "
     "epoch_begin 1/1 1.0"},
    {ANSWER(fetch_end, 2, END_EPOCH),
     "fetch_end 0/1 0.1, step_begin 0/1 0.1, loss_ready 0/1 0.1, micro_end 0/1 0.1, "
     "grads_ready 0/1 0.1, update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, "
     "update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, eval_begin 2/2 0.0, "
     "eval_batch_end 2/2 0.0, eval_end 2/2 0.0, epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(step_begin, 2, END_EPOCH),
     "step_begin 0/1 0.1, loss_ready 0/1 0.1, micro_end 0/1 0.1, grads_ready 0/1 0.1, "
     "update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, log 2/2 0.1, eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, "
     "eval_end 2/2 0.0, epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(loss_ready, 2, END_EPOCH),
     "loss_ready 0/1 0.1, micro_end 0/1 0.1, grads_ready 0/1 0.1, update_begin 0/1 0.1, "
     "update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "log 2/2 0.1, eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, eval_end 2/2 0.0, "
     "epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(micro_end, 2, END_EPOCH),
     "micro_end 0/1 0.1, grads_ready 0/1 0.1, update_begin 0/1 0.1, update_end 1/1 0.0, "
     "step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, "
     "eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, eval_end 2/2 0.0, epoch_end 2/2 0.2, "
     "epoch_begin 2/2 1.0"},
    {ANSWER(grads_ready, 2, END_EPOCH),
     "grads_ready 0/1 0.1, update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, "
     "update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, eval_begin 2/2 0.0, "
     "eval_batch_end 2/2 0.0, eval_end 2/2 0.0, epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(update_begin, 2, END_EPOCH),
     "update_begin 0/1 0.1, update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, "
     "step_end 2/2 0.1, log 2/2 0.1, eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, "
     "eval_end 2/2 0.0, epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(update_end, 1, END_EPOCH),
     "update_end 1/1 0.0, step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, "
     "log 2/2 0.1, eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, eval_end 2/2 0.0, "
     "epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(step_end, 1, END_EPOCH),
     "step_end 1/1 0.0, update_end 2/2 0.1, step_end 2/2 0.1, log 2/2 0.1, "
     "eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, eval_end 2/2 0.0, epoch_end 2/2 0.2, "
     "epoch_begin 2/2 1.0"},
    {ANSWER(log, 1, END_EPOCH),
     "log 2/2 0.1, eval_begin 2/2 0.0, eval_batch_end 2/2 0.0, eval_end 2/2 0.0, "
     "epoch_end 2/2 0.2, epoch_begin 2/2 1.0"},
    {ANSWER(log, 2, END_EPOCH),
     "log 3/3 0.2, eval_begin 3/3 0.0, eval_batch_end 3/3 0.0, eval_end 3/3 0.0, "
     "epoch_end 3/3 0.3, epoch_begin 3/3 1.0"},
};

TEST_CASE(TapeActions, end_epoch_from_every_event_where_it_is_legal) {
    static player p;
    int seen[QUERN_EVENT_COUNT] = {0};
    for (int i = 0; i < COUNT(epoch_ends); i++) {
        check_row(&epoch_ends[i], &p);
        CHECK_OK(p.status);
        CHECK(p.result.reason == QUERN_STOPPED_EPOCHS && p.result.epochs == 2);
        seen[epoch_ends[i].answer.kind] = 1;
    }
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        CHECK_SAY(seen[kind] == ((legal[kind] & END_EPOCH) != 0), "%s has no row",
                  quern_event_name((quern_event_kind)kind));
}

/* What has been issued is read back without a word. The tape hears of close behind the player. */
static const row failures[] = {
    {ANSWER(init, 1, FAIL), "init 0/0 0.0, close 0/0 0.0"},
    {ANSWER(fit_begin, 1, FAIL),
     "fit_begin 0/0 0.0, exception 0/0 0.0, fit_end 0/0 0.0, close 0/0 0.0"},
    {ANSWER(epoch_begin, 2, FAIL),
     "epoch_begin 3/3 1.0, exception 3/3 1.0, fit_end 3/3 1.0, close 3/3 1.0"},
    {ANSWER(fetch_begin, 2, FAIL),
     "fetch_begin 0/1 0.1, exception 1/1 0.0, fit_end 1/1 0.0, close 1/1 0.0"},
    {ANSWER(fetch_end, 2, FAIL),
     "fetch_end 0/1 0.1, exception 1/1 0.0, fit_end 1/1 0.0, close 1/1 0.0"},
    {ANSWER(step_begin, 2, FAIL),
     "step_begin 0/1 0.1, exception 1/1 0.0, fit_end 1/1 0.0, close 1/1 0.0"},
    {ANSWER(loss_ready, 2, FAIL),
     "loss_ready 0/1 0.1, exception 1/2 0.1, fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(micro_end, 2, FAIL),
     "micro_end 0/1 0.1, exception 1/2 0.1, fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(grads_ready, 2, FAIL),
     "grads_ready 0/1 0.1, exception 1/2 0.1, fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(update_begin, 2, FAIL),
     "update_begin 0/1 0.1, exception 1/2 0.1, fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(update_end, 1, FAIL),
     "update_end 1/1 0.0, exception 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(step_end, 1, FAIL),
     "step_end 1/1 0.0, exception 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(log, 1, FAIL), "log 2/2 0.1, exception 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {ANSWER(eval_begin, 1, FAIL),
     "eval_begin 3/3 0.0, exception 3/3 0.2, fit_end 3/3 0.2, close 3/3 0.2"},
    {ANSWER(eval_batch_end, 1, FAIL),
     "eval_batch_end 3/3 0.0, exception 3/3 0.2, fit_end 3/3 0.2, close 3/3 0.2"},
    {ANSWER(eval_end, 1, FAIL),
     "eval_end 3/3 0.0, exception 3/3 0.2, fit_end 3/3 0.2, close 3/3 0.2"},
    {ANSWER(epoch_end, 1, FAIL),
     "epoch_end 3/3 0.3, exception 3/3 1.2, fit_end 3/3 1.2, close 3/3 1.2"},
    {PROVOKED(stop_requested, 1, FAIL, STOPPED),
     "stop_requested 2/2 0.1, exception 2/2 0.1, fit_end 2/2 0.1, close 2/2 0.1"},
    {PROVOKED(exception, 1, FAIL, POISONED), "exception 1/2 0.1, fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(fit_end, 1, FAIL), "fit_end 6/6 2.2, close 6/6 2.2"},
    {PROVOKED(fit_end, 1, FAIL, STOPPED), "fit_end 2/2 0.1, close 2/2 0.1"},
    {PROVOKED(fit_end, 1, FAIL, POISONED), "fit_end 1/2 0.1, close 1/2 0.1"},
    {ANSWER(close, 1, FAIL), "fit_end 6/6 2.2, close 6/6 2.2"},
};

static bool saves_or_loads(int kind) { /* test_actions_save.c */
    return kind == QUERN_EVENT_load_begin || kind == QUERN_EVENT_load_end ||
           (kind >= QUERN_EVENT_save_begin && kind <= QUERN_EVENT_save_durable);
}

/* A failure that others came before keeps their sentence. */
static bool is_told(const answer *a) {
    return a->kind != QUERN_EVENT_close && a->provoked != POISONED;
}

TEST_CASE(TapeActions, fail_from_every_event) {
    static player p;
    char expected[96];
    int seen[QUERN_EVENT_COUNT] = {0};
    for (int i = 0; i < COUNT(failures); i++) {
        const answer *a = &failures[i].answer;
        check_row(&failures[i], &p);
        snprintf(expected, sizeof expected, "callback player failed at %s",
                 quern_event_name(a->kind));
        if (is_told(a)) CHECK_TEXT(p.sentence, expected);
        if (a->kind != QUERN_EVENT_close)
            CHECK_STATUS(p.status, a->provoked == POISONED ? QUERN_NOT_FINITE : QUERN_CALLBACK);
        seen[a->kind] = 1;
    }
    for (int kind = 0; kind < QUERN_EVENT_COUNT; kind++)
        CHECK_SAY(seen[kind] == !saves_or_loads(kind), "%s has no row",
                  quern_event_name((quern_event_kind)kind));
}

/* Is that of a failure there, with a sentence of its own. 99 is none that there is. */
static void check_illegal(const row *r, int action) {
    static player p;
    row illegal = *r;
    char expected[96];
    illegal.answer.action = (quern_action)action;
    check_row(&illegal, &p);
    if (!is_told(&r->answer)) return;
    CHECK_STATUS(p.status, QUERN_CALLBACK);
    snprintf(expected, sizeof expected, " at %s, where it is not legal",
             quern_event_name(r->answer.kind));
    CHECK_HAS(p.sentence, "callback player returned ");
    CHECK_HAS(p.sentence, expected);
}

TEST_CASE(TapeActions, every_action_where_it_is_illegal) {
    static const int actions[] = {QUERN_SKIP_BATCH, QUERN_SKIP_STEP, QUERN_END_EPOCH,
                                  QUERN_END_EVAL,   QUERN_STOP,      99};
    for (int i = 0; i < COUNT(failures); i++)
        for (int k = 0; k < COUNT(actions); k++)
            if (actions[k] == 99 || !(legal[failures[i].answer.kind] & 1 << actions[k]))
                check_illegal(&failures[i], actions[k]);
}
