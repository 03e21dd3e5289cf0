/* attempt.c - issues one attempt: the data into the inputs, then the captured segments, with the
 * events inside the step fired by the host where somebody subscribed. Nothing waits here.
 *
 * A window of one batch is one run of all segments. A window of several is three parts: the weight
 * of each is added up, from the inputs that it needs; then, with the whole weight known, each one's
 * forward and backward pass; then norm, decision and update. */
#include "../trainer.h"

#include <inttypes.h>

/* An attempt on its way. A failing callback leaves it to be finished as skipped, so that the
 * device's counters stay in step with the host's. */
typedef struct passage {
    const attempt *attempt;
    quern_status failed;
    error_text text;
} passage;

static quern_status skip_upload(quern_trainer *t) {
    if (!t->skip_next) return QUERN_OK;
    t->skip_next = false;
    return t->backend->copy(t->stream, &t->state->skip, &t->pinned->skip, sizeof t->pinned->skip);
}

static quern_status tell(quern_trainer *t, passage *p, quern_event_kind kind, int32_t microbatch) {
    if (p->failed != QUERN_OK) return QUERN_OK;
    p->failed = trainer_emit(t, &(emission){.kind = kind,
                                            .attempts = t->attempts_issued,
                                            .batch = p->attempt->batch,
                                            .microbatch = microbatch});
    if (p->failed != QUERN_OK) {
        error_save(&p->text);
        t->skip_next = true;
    }
    return skip_upload(t);
}

static quern_status tell_behind(quern_trainer *t, passage *p, segment behind, int32_t microbatch) {
    switch (behind) {
    case SEGMENT_FORWARD: return tell(t, p, QUERN_EVENT_loss_ready, microbatch);
    case SEGMENT_BACKWARD:
        QUERN_TRY(tell(t, p, QUERN_EVENT_micro_end, microbatch));
        if (microbatch + 1 < p->attempt->count) return QUERN_OK;
        return tell(t, p, QUERN_EVENT_grads_ready, 0);
    case SEGMENT_NORM: return tell(t, p, QUERN_EVENT_update_begin, 0);
    case SEGMENT_GATHER:
    case SEGMENT_UPDATE:
    case SEGMENT_COUNT: break;
    }
    return QUERN_OK;
}

static quern_status segments_issue(quern_trainer *t, passage *p, const trainer_unit *unit,
                                   window_turn turn, int32_t microbatch, segment first,
                                   segment last) {
    for (int at = (int)first; at <= (int)last;) {
        const segment end = unit_run_end(t, (segment)at, last);
        QUERN_TRY(unit_issue(t, unit, turn, (segment)at, end));
        QUERN_TRY(tell_behind(t, p, end, microbatch));
        at = (int)end + 1;
    }
    return QUERN_OK;
}

/* A resident set's batch is gathered by the first segment, any other is uploaded here. */
static quern_status batch_put(quern_trainer *t, const attempt *a, const window_batch *m,
                              const trainer_unit *unit, segment *first) {
    *first = m->data ? SEGMENT_FORWARD : SEGMENT_GATHER;
    if (!m->data) return QUERN_OK;
    return m->staged ? feed_put(t, a->feed, m->data, unit) : feed_copy(t, a->feed, m->data, unit);
}

window_turn turn_of(int64_t count, int64_t microbatch) {
    if (count == 1) return TURN_ONLY;
    return microbatch == 0 ? TURN_FIRST : TURN_FOLLOWING;
}

static quern_status weights_issue(quern_trainer *t, const attempt *a) {
    for (int32_t i = 0; a->count > 1 && i < a->count; i++) {
        const window_batch *m = &a->microbatches[i];
        segment first;
        QUERN_TRY(batch_put(t, a, m, m->weigh, &first));
        QUERN_TRY(unit_issue(t, m->weigh, turn_of(a->count, i), first, SEGMENT_FORWARD));
    }
    return QUERN_OK;
}

static quern_status window_issue(quern_trainer *t, passage *p) {
    const attempt *a = p->attempt;
    const segment last = a->count == 1 ? SEGMENT_UPDATE : SEGMENT_BACKWARD;
    QUERN_TRY(weights_issue(t, a));
    for (int32_t i = 0; i < a->count; i++) {
        const window_batch *m = &a->microbatches[i];
        segment first;
        QUERN_TRY(batch_put(t, a, m, m->unit, &first));
        t->last_unit = m->unit; /* for a callback that reads inside the step */
        QUERN_TRY(segments_issue(t, p, m->unit, turn_of(a->count, i), i, first, last));
    }
    if (a->count == 1) return QUERN_OK;
    return segments_issue(t, p, &t->closing, TURN_ONLY, 0, SEGMENT_NORM, SEGMENT_UPDATE);
}

/* At once, or later with others. */
static quern_status attempt_launch(quern_trainer *t, passage *p) {
    if (launch_put_off(t, p->attempt)) return QUERN_OK;
    QUERN_TRY(launch_all(t));
    QUERN_TRY(skip_upload(t));
    return window_issue(t, p);
}

quern_status attempt_units(quern_trainer *t, attempt *a) {
    if (a->count > 1) QUERN_TRY(units_open_windows(t));
    for (int32_t i = 0; i < a->count; i++) {
        window_batch *m = &a->microbatches[i];
        QUERN_TRY(unit_get(&m->unit, t, UNIT_TRAIN, m->sample_count));
        if (a->count > 1) QUERN_TRY(unit_get(&m->weigh, t, UNIT_WEIGH, m->sample_count));
    }
    return QUERN_OK;
}

bool status_is_of_device(quern_status status) {
    return status == QUERN_DEVICE_LOST || status == QUERN_DEVICE_MEMORY ||
           status == QUERN_PEER_LOST || status == QUERN_INTERNAL || status == QUERN_UNSUPPORTED;
}

quern_status attempt_locate(const quern_trainer *t, int64_t number, quern_status status) {
    if (!status_is_of_device(status)) return status;
    if (status == QUERN_DEVICE_MEMORY) (void)memory_explain_run(t);
    return error_prefix(status, "attempt %" PRId64 ", behind step %" PRId64, number, t->step);
}

quern_status attempt_issue(quern_trainer *t, const attempt *a) {
    QUERN_ENSURE(t->in_flight_count < t->lanes);
    QUERN_ENSURE(a->count >= 1 && a->count <= t->window_capacity);
    trace_begin(t->host, "train", "step", t->attempts_issued);
    passage p = {.attempt = a};
    quern_status status = average_follow(t);
    if (status == QUERN_OK) status = parameters_copies_renew(t->parameters, t->stream);
    if (status == QUERN_OK) status = optimizer_feed(&t->optimizer, t->step);
    gather_announce(t, a);
    if (status == QUERN_OK) status = attempt_launch(t, &p);
    quern_status marked = flight_add(t, a);
    if (marked == QUERN_OK) marked = launch_row(t);
    trace_end(t->host);
    if (status == QUERN_OK && p.failed == QUERN_OK) status = marked;
    if (status != QUERN_OK) return attempt_locate(t, t->attempts_issued - 1, status);
    if (p.failed == QUERN_OK) return QUERN_OK;
    error_restore(&p.text);
    return p.failed;
}

quern_status attempt_repeat(quern_trainer *t, const attempt *a) {
    QUERN_TRY(weights_issue(t, a));
    for (int32_t i = 0; i < a->count; i++) {
        const window_batch *m = &a->microbatches[i];
        segment first;
        QUERN_TRY(batch_put(t, a, m, m->unit, &first));
        QUERN_TRY(unit_issue_eager(t, m->unit, turn_of(a->count, i), first, SEGMENT_BACKWARD));
    }
    return QUERN_OK;
}

quern_status state_upload(quern_trainer *t) {
    QUERN_ENSURE(t->in_flight_count == 0);
    QUERN_TRY(trainer_wait_stream(t));
    upload_settle(t);
    t->lost = QUERN_OK;
    t->dropping = false;
    for (int64_t i = 0; i < t->record.ring_count; i++)
        t->pinned->ring[i].attempt = -1; /* taken back */
    t->pinned->state = (task_state){.run = {.seed = t->device->seed, .attempt = t->attempts},
                                    .step = t->step,
                                    .learning_rate = t->last.learning_rate,
                                    .scale = t->last.scale,
                                    .seeded = t->last.scale,
                                    .scale_age = t->last.scale_age,
                                    .not_finite = t->last.not_finite};
    t->frozen = false;
    t->since_log = (loss_sums){0}; /* with the device's sums, which begin anew too */
    t->attempts_issued = t->marked = t->reached = t->attempts;
    t->sums_current = false;
    QUERN_TRY(t->backend->copy(t->stream, t->state, &t->pinned->state, sizeof *t->state));
    const size_t bytes = (size_t)(t->train_sum_count + t->eval_sum_count) * sizeof(double);
    return t->backend->fill(t->stream, t->sums, 0, bytes);
}
