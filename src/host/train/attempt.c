/* attempt.c - issues one attempt: the batch into the inputs, then the captured segments, with the
 * events inside the step fired by the host where somebody subscribed. Nothing waits here. */
#include "trainer.h"

static quern_status skip_upload(quern_trainer *t) {
    if (!t->skip_next) return QUERN_OK;
    t->skip_next = false;
    return t->backend->copy(t->stream, &t->state->skip, &t->pinned->skip, sizeof t->pinned->skip);
}

static quern_status emit_inside(quern_trainer *t, segment behind, const attempt *a) {
    static const quern_event_kind kinds[SEGMENT_UPDATE] = {
        [SEGMENT_FORWARD] = QUERN_EVENT_loss_ready,
        [SEGMENT_BACKWARD] = QUERN_EVENT_grads_ready,
        [SEGMENT_NORM] = QUERN_EVENT_update_begin,
    };
    if (behind == SEGMENT_UPDATE) return QUERN_OK;
    QUERN_TRY(trainer_emit(
        t, &(emission){.kind = kinds[behind], .attempts = t->attempts_issued, .batch = a->batch}));
    return skip_upload(t);
}

/* A failing callback inside the step leaves the attempt to be finished as skipped, so that the
 * device's counters stay in step with the host's. */
static quern_status segments_issue(quern_trainer *t, const attempt *a) {
    quern_status failed = QUERN_OK;
    error_text text;
    for (int first = 0; first < SEGMENT_COUNT;) {
        const segment last = unit_run_end(t, (segment)first);
        QUERN_TRY(unit_issue(t, a->unit, (segment)first, last));
        if (failed == QUERN_OK) {
            failed = emit_inside(t, last, a);
            if (failed != QUERN_OK) {
                error_save(&text);
                t->skip_next = true;
                QUERN_TRY(skip_upload(t));
            }
        }
        first = (int)last + 1;
    }
    if (failed != QUERN_OK) error_restore(&text);
    return failed;
}

static void in_flight_add(quern_trainer *t, const attempt *a) {
    const int32_t at = (int32_t)(t->attempts_issued % (t->desc.run_ahead + 1));
    t->in_flight[at] = *a;
    t->in_flight_count++;
    t->attempts_issued++;
    t->last_unit = a->unit;
}

quern_status attempt_issue(quern_trainer *t, const attempt *a) {
    QUERN_ENSURE(t->in_flight_count <= t->desc.run_ahead);
    trace_begin(t->host, "train", "step", t->attempts_issued);
    quern_status status = QUERN_OK;
    if (a->slot != SLOT_NONE) status = feed_upload(t, a->feed, a->slot, a->unit);
    if (status == QUERN_OK) status = average_follow(t);
    if (status == QUERN_OK) status = optimizer_feed(&t->optimizer, t->step);
    if (status == QUERN_OK) status = skip_upload(t);
    if (status == QUERN_OK) status = segments_issue(t, a);
    const int64_t event = t->attempts_issued % (t->desc.run_ahead + 1);
    const quern_status recorded = t->backend->event_record(t->events[event], t->stream);
    in_flight_add(t, a);
    trace_end(t->host);
    return status != QUERN_OK ? status : recorded;
}

quern_status state_upload(quern_trainer *t) {
    QUERN_ENSURE(t->in_flight_count == 0);
    QUERN_TRY(trainer_wait_stream(t));
    t->lost = QUERN_OK;
    for (int i = 0; i < RUN_AHEAD_MAX + 2; i++) t->pinned->ring[i].attempt = -1; /* taken back */
    t->pinned->state = (task_state){.run = {.seed = t->device->seed, .attempt = t->attempts},
                                    .step = t->step,
                                    .learning_rate = t->last.learning_rate,
                                    .not_finite = t->frozen ? 0 : t->last.not_finite};
    t->frozen = false;
    t->since_log = (loss_sums){0}; /* with the device's sums, which begin anew too */
    t->attempts_issued = t->attempts;
    QUERN_TRY(t->backend->copy(t->stream, t->state, &t->pinned->state, sizeof *t->state));
    const size_t bytes = (size_t)(t->train_sum_count + t->eval_sum_count) * sizeof(double);
    return t->backend->fill(t->stream, t->sums, 0, bytes);
}
