/* emit.c - fires events: the callbacks' order, which actions are legal, what an action does.
 *
 * Cost: an event that nobody subscribed to is one load. Actions of one event add up: every
 * callback is called, unless one fails; STOP, END_EPOCH and SKIP_STEP of any of them count. */
#include "../trainer.h"

#include <string.h>

enum {
    STOP = 1 << QUERN_STOP,
    END_EPOCH = 1 << QUERN_END_EPOCH,
    SKIP_STEP = 1 << QUERN_SKIP_STEP,
    SKIP_BATCH = 1 << QUERN_SKIP_BATCH,
    END_EVAL = 1 << QUERN_END_EVAL,
    ALWAYS = 1 << QUERN_CONTINUE | 1 << QUERN_FAIL,
};

#define X(name, actions, text) [QUERN_EVENT_##name] = (actions) | ALWAYS,
static const int legal_actions[QUERN_EVENT_COUNT] = {QUERN_EVENT_LIST(X)};
#undef X

typedef quern_action (*callback_function)(void *self, const quern_event *event);

static callback_function function_of(const quern_callback *callback, quern_event_kind kind) {
    switch (kind) {
#define X(name, actions, text)                                                                     \
    case QUERN_EVENT_##name: return callback->name;
        QUERN_EVENT_LIST(X)
#undef X
    case QUERN_EVENT_COUNT: break;
    }
    return NULL;
}

static const char *action_name(quern_action action) {
    switch (action) {
    case QUERN_CONTINUE: return "QUERN_CONTINUE";
    case QUERN_SKIP_BATCH: return "QUERN_SKIP_BATCH";
    case QUERN_SKIP_STEP: return "QUERN_SKIP_STEP";
    case QUERN_END_EPOCH: return "QUERN_END_EPOCH";
    case QUERN_END_EVAL: return "QUERN_END_EVAL";
    case QUERN_STOP: return "QUERN_STOP";
    case QUERN_FAIL: return "QUERN_FAIL";
    }
    return "an unknown action";
}

static const char *name_of(const quern_callback *callback) {
    return callback->name ? callback->name : "unnamed";
}

/* A sentence left during the call follows the callback's name; an older one does not. */
static quern_status fail_from(quern_trainer *t, const quern_callback *callback,
                              quern_event_kind kind, const error_text *before) {
    const quern_status status =
        t->callback_status != QUERN_OK ? t->callback_status : QUERN_CALLBACK;
    if (strcmp(before->text, quern_error()) != 0)
        return error_prefix(status, "callback %s failed at %s", name_of(callback),
                            quern_event_name(kind));
    return quern_fail(status, "callback %s failed at %s", name_of(callback),
                      quern_event_name(kind));
}

static quern_status call_one(quern_trainer *t, const quern_callback *callback,
                             const quern_event *event, int *asked) {
    const callback_function function = function_of(callback, event->kind);
    if (!function) return QUERN_OK;
    error_text before;
    error_save(&before);
    t->callback_status = QUERN_OK;
    const quern_action action = function(callback->self, event);
    if (action == QUERN_CONTINUE) return QUERN_OK;
    if (action == QUERN_FAIL) return fail_from(t, callback, event->kind, &before);
    if ((unsigned)action > QUERN_FAIL || !(legal_actions[event->kind] & 1 << action))
        return quern_fail(QUERN_CALLBACK, "callback %s returned %s at %s, where it is not legal",
                          name_of(callback), action_name(action), quern_event_name(event->kind));
    if (action == QUERN_STOP && !t->stopping && !(*asked & STOP)) t->stopped_by = callback->name;
    *asked |= 1 << action;
    return QUERN_OK;
}

const char *trainer_stopped_by(const quern_trainer *t) {
    return t->reason == QUERN_STOPPED_CALLBACK ? t->stopped_by : NULL;
}

static bool tells_the_end(quern_event_kind kind) {
    return kind == QUERN_EVENT_stop_requested || kind == QUERN_EVENT_fit_end;
}

static quern_event event_of(quern_trainer *t, const emission *e) {
    const bool timed = e->kind == QUERN_EVENT_log || e->kind == QUERN_EVENT_eval_end ||
                       e->kind == QUERN_EVENT_epoch_end;
    return (quern_event){
        .kind = e->kind,
        .trainer = t,
        .step = t->step,
        .attempts = e->attempts,
        .epoch = t->epoch,
        .batch = e->batch,
        .microbatch = e->microbatch,
        .outcome = e->outcome,
        .status = e->status,
        .reason = e->reason,
        .stopped_by = tells_the_end(e->kind) ? trainer_stopped_by(t) : NULL,
        .evaluation = e->evaluation,
        .checkpoint = e->checkpoint,
        .scalars = t->scalars,
        .scalar_count = e->scalar_count,
        .seconds = timed ? 1e-9 * (double)(trainer_now(t) - t->fit_begin_ns) : 0,
        .samples_per_second = e->samples_per_second,
    };
}

/* Events that tell of a save or frame a fit come with no change of the state. */
static bool is_activity(quern_event_kind kind) {
    switch (kind) {
    case QUERN_EVENT_save_begin:
    case QUERN_EVENT_save_snapshot:
    case QUERN_EVENT_save_durable:
    case QUERN_EVENT_fit_begin:
    case QUERN_EVENT_fit_end: return false;
    default: return true;
    }
}

quern_status trainer_emit(quern_trainer *t, const emission *e) {
    if (is_activity(e->kind)) t->activity++;
    if (!t->subscribed[e->kind]) return QUERN_OK;
    QUERN_TRY(launch_all(t));
    const quern_event event = event_of(t, e);
    int asked = 0;
    quern_status status = QUERN_OK;
    t->emitting = true;
    t->emitted = e->kind;
    for (int32_t i = 0; i < t->desc.callback_count && status == QUERN_OK; i++)
        status = call_one(t, t->callbacks[i], &event, &asked);
    t->emitting = false;
    QUERN_TRY(status);
    if (asked & END_EPOCH) t->epoch_ending = true;
    if (asked & END_EVAL) t->end_eval = true;
    if (asked & SKIP_STEP) t->skip_next = true;
    if (asked & SKIP_BATCH) t->skip_batch = true;
    if (asked & STOP) return trainer_begin_stop(t, QUERN_STOPPED_CALLBACK);
    return QUERN_OK;
}

quern_status trainer_emit_known(quern_trainer *t, quern_event_kind kind) {
    return trainer_emit(t, &(emission){.kind = kind, .attempts = t->attempts, .batch = t->batch});
}

quern_status trainer_begin_stop(quern_trainer *t, quern_stop_reason reason) {
    if (t->stopping) return QUERN_OK;
    t->stopping = true;
    t->reason = reason;
    if (t->fitting && (reason == QUERN_STOPPED_CALLBACK || reason == QUERN_STOPPED_DATA))
        t->ended = 1 + (int64_t)reason;
    return trainer_emit(t, &(emission){.kind = QUERN_EVENT_stop_requested,
                                       .attempts = t->attempts,
                                       .batch = t->batch,
                                       .reason = quern_stop_reason_name(reason)});
}

quern_action quern_event_fail(const quern_event *event, quern_status status) {
    if (event) event->trainer->callback_status = status;
    return QUERN_FAIL;
}

/* Insertion keeps the order of registration within a band. */
quern_status callbacks_sort(quern_trainer *t) {
    static const int order[] = {[QUERN_BAND_MUTATOR] = 0,
                                [QUERN_BAND_USER] = 1,
                                [QUERN_BAND_MONITOR] = 2,
                                [QUERN_BAND_LOGGER] = 3,
                                [QUERN_BAND_CHECKPOINTER] = 4};
    const int32_t count = t->desc.callback_count;
    QUERN_TRY(arena_allocate(&t->memory, &t->callbacks, count, sizeof *t->callbacks, "callbacks"));
    for (int32_t i = 0; i < count; i++) {
        const quern_callback *callback = &t->desc.callbacks[i];
        int32_t at = i;
        for (; at > 0 && order[t->callbacks[at - 1]->band] > order[callback->band]; at--)
            t->callbacks[at] = t->callbacks[at - 1];
        t->callbacks[at] = callback;
        for (int32_t kind = 0; kind < QUERN_EVENT_COUNT; kind++)
            if (function_of(callback, (quern_event_kind)kind)) t->subscribed[kind] = true;
    }
    return QUERN_OK;
}

/* Destroy has no status to return: what a callback returns here goes to the log. */
void callbacks_close(quern_trainer *t) {
    if (!t->opened) return;
    t->opened = false;
    const emission e = {.kind = QUERN_EVENT_close, .attempts = t->attempts, .batch = t->batch};
    const quern_event event = event_of(t, &e);
    t->emitting = true;
    for (int32_t i = t->desc.callback_count; i-- > 0;) {
        int asked = 0;
        if (call_one(t, t->callbacks[i], &event, &asked) != QUERN_OK)
            log_write(t->host, QUERN_LOG_WARNING, "%s", quern_error());
    }
    t->emitting = false;
}
