/* records.c - what the device reports of each attempt, read back up to run_ahead attempts late,
 * and all that follows from it: counters, sums, update_end, step_end, log, failure.
 *
 * The lag is exact: with run_ahead + 1 in flight the older half is read, and before a trigger could
 * fall all are, each time with one wait at most. So the order of all events is a function of the
 * run alone, never of timing. */
#include "../trainer.h"
#include "../../base/text.h"
#include "../../device/teardown.h"

#include <inttypes.h>
#include <math.h>

int64_t trainer_not_finite_limit(const quern_trainer *t) {
    return t->desc.not_finite == QUERN_NOT_FINITE_SKIP ? t->desc.not_finite_limit : 0;
}

quern_status trainer_wait_stream(quern_trainer *t) {
    QUERN_TRY(launch_all(t));
    const quern_status status = device_wait_stream(t->device, t->stream);
    if (status != QUERN_OK) upload_settle(t);
    if (status == QUERN_OK || t->lost != QUERN_OK || t->in_flight_count == 0) return status;
    t->lost = status;
    error_save(&t->lost_text);
    return status;
}

static void slots_return(const attempt *a) {
    for (int32_t i = 0; i < a->count; i++)
        if (a->microbatches[i].slot != SLOT_NONE)
            loader_release(a->feed->loader, a->microbatches[i].slot);
}

/* Of an attempt whose event has come. With a failure: one before the failing one has left its
 * record, and what it did counts. Where somebody's wait has let something run behind a failure,
 * only an event of its own tells whose record it is. */
static bool record_find(const quern_trainer *t, const attempt *a, int64_t number,
                        quern_status status, task_record *record) {
    const bool sure = !flight_mended(t) || (status == QUERN_OK && a->marked_by == number);
    if (t->dropping || !sure || status == QUERN_DEVICE_LOST) return false;
    *record = t->pinned->ring[number % t->record.ring_count];
    return record->attempt == number &&
           (status == QUERN_OK || record->outcome != QUERN_OUTCOME_FROZEN);
}

/* Waits for the oldest attempt in flight. Its slot stays the caller's. */
static quern_status record_take(quern_trainer *t, attempt *a, task_record *record) {
    const int64_t number = flight_oldest(t);
    const quern_status status = flight_reach(t, number);
    *a = *flight_take(t);
    if (record_find(t, a, number, status, record)) return QUERN_OK;
    t->frozen = true; /* the state is uploaded again before anything else is issued */
    t->dropping = true;
    if (status != QUERN_OK) return attempt_locate(t, number, status);
    if (t->lost != QUERN_OK) {
        error_restore(&t->lost_text);
        return attempt_locate(t, number, t->lost);
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
              text_plain_nan(loss ? record->loss / record->weight : record->norm),
              record->not_finite, t->desc.not_finite_limit);
}

static void overflow_log(const quern_trainer *t, const task_record *record) {
    log_write(t->host, QUERN_LOG_INFO,
              "step %" PRId64 ": the gradient overflows: the window is skipped, the loss scale is "
              "now %g",
              record->step, record->scale);
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
    if (record->outcome == QUERN_OUTCOME_OVERFLOW) overflow_log(t, record);
    QUERN_TRY(status);
    if (record->outcome != QUERN_OUTCOME_APPLIED) return QUERN_OK;
    trigger_applied(t);
    return trigger_logs(t) ? records_log(t) : QUERN_OK;
}

static size_t sums_bytes(const quern_trainer *t) {
    return (size_t)t->train_sum_count * sizeof(double);
}

static quern_status sums_copy(quern_trainer *t) {
    if (t->sums_current) return QUERN_OK;
    QUERN_TRY(launch_all(t));
    QUERN_TRY(t->backend->copy(t->stream, t->sums_read, t->sums, sums_bytes(t)));
    t->sums_current = true;
    return QUERN_OK;
}

/* One wait for many. Its failure comes with an attempt, where the record of that one is read, or
 * was the wait's own and is told behind all that were read. */
typedef struct group_wait {
    quern_status status;
    error_text text;
} group_wait;

static void wait_end(group_wait *w, quern_status status) {
    w->status = status;
    if (status != QUERN_OK) error_save(&w->text);
}

static quern_status wait_tell(const group_wait *w) {
    if (w->status != QUERN_OK) error_restore(&w->text);
    return w->status;
}

/* Where all is waited for something is due, a log most of all: its sums come with the same wait. */
static void await_all(quern_trainer *t, group_wait *w) {
    const bool fetch = t->train_sum_count > 0 && !t->sums_current;
    quern_status status = QUERN_OK;
    if (fetch) status = sums_copy(t);
    if (fetch && status == QUERN_OK) status = flight_mark_again(t);
    if (status == QUERN_OK) status = flight_reach(t, t->attempts_issued - 1);
    wait_end(w, status);
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

quern_status records_keep_below(quern_trainer *t, int32_t lanes) {
    const int32_t kept = lanes - flight_group(lanes);
    QUERN_TRY(flight_mark(t, lanes));
    if (t->in_flight_count < lanes) return QUERN_OK;
    group_wait w;
    wait_end(&w, flight_reach(t, t->attempts_issued - kept - 1));
    while (t->in_flight_count > kept) QUERN_TRY(record_read(t));
    return wait_tell(&w);
}

quern_status records_keep_up(quern_trainer *t) { return records_keep_below(t, t->lanes); }

static bool is_before_trigger(const quern_trainer *t) {
    return t->in_flight_count > 0 && t->step + t->in_flight_count >= trigger_next(t);
}

quern_status records_make_room(quern_trainer *t) {
    if (!is_before_trigger(t)) return QUERN_OK;
    group_wait w;
    await_all(t, &w);
    while (is_before_trigger(t)) QUERN_TRY(record_read(t));
    return wait_tell(&w);
}

quern_status records_drain(quern_trainer *t) {
    if (t->in_flight_count == 0) return QUERN_OK;
    group_wait w;
    await_all(t, &w);
    while (t->in_flight_count > 0) QUERN_TRY(record_read(t));
    return wait_tell(&w);
}

static void take_all(quern_trainer *t) {
    while (t->in_flight_count > 0) {
        attempt a;
        task_record record = {0};
        if (record_take(t, &a, &record) == QUERN_OK) record_account(t, &a, &record);
        slots_return(&a);
    }
}

/* The newest is waited for first: what comes of that wait is not the records' to keep. */
void records_drain_last(quern_trainer *t) {
    last_waits w;
    last_waits_begin(&w, t->device, t->stream);
    if (t->in_flight_count > 0) last_waits_tell(&w, flight_reach(t, t->attempts_issued - 1));
    take_all(t);
    last_waits_tell(&w, device_wait_stream(t->device, t->stream));
    upload_settle(t);
    last_waits_end(&w);
}

void records_drain_silently(quern_trainer *t) {
    take_all(t);
    /* The failure has been told: the stream is well again for others who use the device. */
    const quern_status rest = device_wait_stream(t->device, t->stream);
    (void)rest;
    upload_settle(t);
}

/* The device's sums since the last log become the host's, and start again from zero. */
static quern_status metrics_read(quern_trainer *t) {
    if (t->train_sum_count == 0) return QUERN_OK;
    const bool waited = t->sums_current;
    QUERN_TRY(sums_copy(t));
    QUERN_TRY(t->backend->fill(t->stream, t->sums, 0, sums_bytes(t)));
    if (!waited) QUERN_TRY(trainer_wait_stream(t));
    t->sums_current = false;
    for (int64_t i = 0; i < t->train_sum_count; i++) {
        t->log_metrics[i] = t->sums_read[i];
        t->epoch_metrics[i] += t->sums_read[i];
    }
    return QUERN_OK;
}

quern_status records_log(quern_trainer *t) {
    QUERN_ENSURE(t->in_flight_count == 0);
    const quern_status read = metrics_read(t);
    if (status_is_of_device(read)) return error_prefix(read, "log of step %" PRId64, t->step);
    QUERN_TRY(read);
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
