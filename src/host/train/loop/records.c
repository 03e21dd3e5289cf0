/* records.c - what the device reports of each attempt, read back up to run_ahead attempts late,
 * and all that follows from it: counters, sums, update_end, step_end, log, failure.
 *
 * The lag is exact (the record of attempt a is read right after attempt a + run_ahead has been
 * issued, or earlier where a trigger could fall), so the order of all events is a function of the
 * run alone, never of timing. */
#include "../trainer.h"

#include <inttypes.h>
#include <math.h>

int64_t trainer_not_finite_limit(const quern_trainer *t) {
    return t->desc.not_finite == QUERN_NOT_FINITE_SKIP ? t->desc.not_finite_limit : 0;
}

quern_status trainer_wait_stream(quern_trainer *t) {
    t->host_waits++;
    const quern_status status = t->backend->stream_wait(t->stream);
    if (status == QUERN_OK || t->lost != QUERN_OK || t->in_flight_count == 0) return status;
    t->lost = status;
    error_save(&t->lost_text);
    return status;
}

static int64_t oldest_in_flight(const quern_trainer *t) {
    return t->attempts_issued - t->in_flight_count;
}

static void slots_return(const attempt *a) {
    for (int32_t i = 0; i < a->count; i++)
        if (a->microbatches[i].slot != SLOT_NONE)
            loader_release(a->feed->loader, a->microbatches[i].slot);
}

/* Waits for the oldest attempt in flight. Its slot stays the caller's. */
static quern_status record_take(quern_trainer *t, attempt *a, task_record *record) {
    const int64_t number = oldest_in_flight(t);
    const int64_t lanes = t->desc.run_ahead + 1;
    bool done = false; /* then asking for it is no wait */
    if (t->backend->event_query(t->events[number % lanes], &done) == QUERN_OK && !done)
        t->host_waits++;
    const quern_status status = t->backend->event_wait(t->events[number % lanes]);
    *a = t->in_flight[number % lanes];
    t->in_flight_count--;
    if (status == QUERN_OK && !t->dropping) {
        *record = t->pinned->ring[number % t->record.ring_count];
        if (record->attempt == number) return QUERN_OK;
    }
    t->frozen = true; /* the state is uploaded again before anything else is issued */
    t->dropping = true;
    if (status != QUERN_OK) return status;
    if (t->lost != QUERN_OK) {
        error_restore(&t->lost_text);
        return t->lost;
    }
    return quern_fail(QUERN_INPUT,
                      "attempt %" PRId64 " was lost to a failure of the device that "
                      "another call has returned",
                      number);
}

static void sums_add(loss_sums *sums, const attempt *a, const task_record *record) {
    sums->loss += record->loss;
    sums->weight += record->weight;
    sums->samples += a->sample_count;
    sums->attempts++;
    if (record->weight != 0) loss_sums_measure(sums, record->loss, record->weight);
}

static void window_add(loss_window *window, const task_record *record) {
    if (window->capacity == 0) return;
    double *at = window->losses[window->seen++ % window->capacity];
    at[0] = record->loss;
    at[1] = record->weight;
}

/* Where the device stopped to take updates: at the first, or behind more in a row than may be. */
static bool is_refused(const quern_trainer *t, const task_record *record) {
    return record->outcome == QUERN_OUTCOME_NOT_FINITE &&
           record->not_finite > trainer_not_finite_limit(t);
}

static void position_account(quern_trainer *t, const attempt *a) {
    if (a->feed != &t->train_feed) return;
    t->counted_batch = a->next_batch;
    if (a->held > 0) t->held.count = t->held.held = 0;
}

/* What was issued behind a failure is taken back: it counts nowhere. */
static void record_account(quern_trainer *t, const attempt *a, const task_record *record) {
    if (record->outcome == QUERN_OUTCOME_FROZEN) return;
    t->attempts++;
    t->step = record->step;
    t->samples += a->sample_count;
    t->fit_samples += a->sample_count;
    t->batch = a->batch;
    position_account(t, a);
    t->last = *record;
    if (is_refused(t, record)) {
        t->frozen = true;
        t->last.not_finite = 0; /* a new beginning has its own row */
    }
    sums_add(&t->since_log, a, record);
    sums_add(&t->of_epoch, a, record);
    window_add(&t->recent, record);
}

static quern_status emit_outcome(quern_trainer *t, quern_event_kind kind, const attempt *a,
                                 const task_record *record) {
    return trainer_emit(t, &(emission){.kind = kind,
                                       .attempts = t->attempts,
                                       .batch = a->batch,
                                       .outcome = (quern_outcome)record->outcome});
}

static void skip_log(const quern_trainer *t, const task_record *record) {
    const bool loss = !isfinite(record->loss) || !isfinite(record->weight);
    log_write(t->host, QUERN_LOG_WARNING,
              "step %" PRId64 ": the %s is %g: the window is skipped, %" PRId64 " in a row of at "
              "most %" PRId64,
              record->step, loss ? "loss" : "gradient's norm",
              loss ? record->loss / record->weight : record->norm, record->not_finite,
              t->desc.not_finite_limit);
}

/* A callback that failed at its events ends the run all the same. */
static quern_status refused_tell(quern_trainer *t, const attempt *a, const task_record *record,
                                 quern_status told) {
    const quern_status diagnosis = diagnose_not_finite(t, a, record);
    if (diagnosis != QUERN_NOT_FINITE || told != QUERN_OK || !rollback_wanted(t)) return diagnosis;
    return rollback_run(t);
}

static quern_status record_tell(quern_trainer *t, const attempt *a, const task_record *record) {
    quern_status status = emit_outcome(t, QUERN_EVENT_update_end, a, record);
    if (status == QUERN_OK) status = emit_outcome(t, QUERN_EVENT_step_end, a, record);
    if (is_refused(t, record)) return refused_tell(t, a, record, status);
    if (record->outcome == QUERN_OUTCOME_NOT_FINITE) skip_log(t, record);
    QUERN_TRY(status);
    if (record->outcome != QUERN_OUTCOME_APPLIED) return QUERN_OK;
    trigger_applied(t);
    return trigger_logs(t) ? records_log(t) : QUERN_OK;
}

static quern_status record_read(quern_trainer *t) {
    attempt a;
    task_record record = {0};
    quern_status status = record_take(t, &a, &record);
    if (status == QUERN_OK && record.outcome != QUERN_OUTCOME_FROZEN) {
        record_account(t, &a, &record);
        status = record_tell(t, &a, &record);
    }
    slots_return(&a);
    return status;
}

quern_status records_keep_up(quern_trainer *t) {
    while (t->in_flight_count > t->desc.run_ahead) QUERN_TRY(record_read(t));
    return QUERN_OK;
}

quern_status records_make_room(quern_trainer *t) {
    while (t->in_flight_count > 0 && t->step + t->in_flight_count >= trigger_next(t))
        QUERN_TRY(record_read(t));
    return QUERN_OK;
}

quern_status records_drain(quern_trainer *t) {
    while (t->in_flight_count > 0) QUERN_TRY(record_read(t));
    return QUERN_OK;
}

void records_drain_silently(quern_trainer *t) {
    while (t->in_flight_count > 0) {
        attempt a;
        task_record record = {0};
        if (record_take(t, &a, &record) == QUERN_OK) record_account(t, &a, &record);
        slots_return(&a);
    }
    /* The failure has been told: the stream is well again for others who use the device. */
    (void)t->backend->stream_wait(t->stream);
}

/* The device's sums since the last log become the host's, and start again from zero. */
static quern_status metrics_read(quern_trainer *t) {
    if (t->train_sum_count == 0) return QUERN_OK;
    const size_t bytes = (size_t)t->train_sum_count * sizeof(double);
    QUERN_TRY(t->backend->copy(t->stream, t->sums_read, t->sums, bytes));
    QUERN_TRY(t->backend->fill(t->stream, t->sums, 0, bytes));
    QUERN_TRY(trainer_wait_stream(t));
    for (int64_t i = 0; i < t->train_sum_count; i++) {
        t->log_metrics[i] = t->sums_read[i];
        t->epoch_metrics[i] += t->sums_read[i];
    }
    return QUERN_OK;
}

quern_status records_log(quern_trainer *t) {
    QUERN_ENSURE(t->in_flight_count == 0);
    QUERN_TRY(metrics_read(t));
    const int64_t now = trainer_now(t);
    const double rate =
        trainer_rate(t->since_log.samples, now - t->log_begin_ns - t->log_evaluate_ns);
    const int32_t count = scalars_train(t, &t->since_log, t->log_metrics, true);
    t->since_log = (loss_sums){0};
    t->log_begin_ns = now;
    t->log_evaluate_ns = 0;
    return trainer_emit(t, &(emission){.kind = QUERN_EVENT_log,
                                       .attempts = t->attempts,
                                       .batch = t->batch,
                                       .scalar_count = count,
                                       .samples_per_second = rate});
}
