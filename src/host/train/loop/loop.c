/* loop.c - quern_trainer_fit: epochs and their batches, limits, and the ways a run ends.
 *
 * A run can end inside an epoch (step limit, stop, failure); the epoch then stays open and the
 * next fit goes on with its next batch, so that 5 + 5 steps are 10 steps. After a failure that is
 * the first batch that no counted attempt has consumed: what was fetched but not issued, and what
 * was issued but taken back, is read again. */
#include "../trainer.h"

#include <math.h>
#include <string.h>

int64_t trainer_now(const quern_trainer *t) {
    return t->host->clock.monotonic_ns(t->host->clock.self);
}

quern_status trainer_enter(const quern_trainer *t, const char *function) {
    if (!t) return quern_fail(QUERN_INVALID, "quern_trainer_%s: the trainer is NULL", function);
    if (!t->emitting) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "quern_trainer_%s was called from inside a callback",
                      function);
}

double trainer_rate(int64_t samples, int64_t ns) {
    return ns > 0 ? (double)samples / (1e-9 * (double)ns) : 0;
}

static quern_status epoch_begin(quern_trainer *t) {
    loader *l = t->train_feed.loader;
    if (t->epochs_started > 0 && !loader_can_restart(l))
        return trainer_begin_stop(t, QUERN_STOPPED_DATA);
    QUERN_TRY(loader_start(l, t->epoch, 0));
    t->epochs_started++;
    t->epoch_open = true;
    t->epoch_ending = false;
    t->epoch_rewind = false;
    t->next_batch = t->counted_batch = t->batch = 0;
    t->evaluated_attempts = -1;
    if (t->of_epoch.weight != 0) t->of_epoch_before = t->of_epoch;
    t->of_epoch = (loss_sums){0};
    for (int64_t i = 0; i < t->train_sum_count; i++) t->epoch_metrics[i] = 0;
    return trainer_emit_known(t, QUERN_EVENT_epoch_begin);
}

/* After a failure. A stream that cannot start again goes on where it is, or ends the run. */
static quern_status epoch_resume(quern_trainer *t) {
    if (!t->epoch_rewind) return QUERN_OK;
    QUERN_TRY(loader_start(t->train_feed.loader, t->epoch, t->counted_batch));
    window_rewind(t);
    t->next_batch = t->counted_batch;
    t->epoch_rewind = false;
    return QUERN_OK;
}

static bool run_over(const quern_trainer *t) { return t->stopping || limits_reached(t); }

bool trainer_epoch_over(const quern_trainer *t) { return t->epoch_ending || run_over(t); }

/* Behind the epoch's last attempt: an evaluation is not run a second time there. */
static quern_status epoch_validate(quern_trainer *t, bool *validated) {
    const int64_t every = t->desc.evaluate_every_epochs;
    const bool due =
        (t->due & QUERN_REQUEST_EVALUATION) || (every > 0 && (t->epoch + 1) % every == 0);
    *validated = t->set_count > 0 && t->evaluated_attempts == t->attempts;
    t->due &= ~QUERN_REQUEST_EVALUATION;
    if (*validated || !due || t->set_count == 0 || t->stopping) return QUERN_OK;
    *validated = true;
    QUERN_TRY(trainer_validate(t));
    if (stop_cut_evaluation(t)) t->due |= QUERN_REQUEST_EVALUATION;
    return QUERN_OK;
}

static quern_status epoch_finish(quern_trainer *t) {
    bool validated = false;
    if (t->since_log.attempts > 0) QUERN_TRY(records_log(t));
    QUERN_TRY(epoch_validate(t, &validated));
    if (validated && stop_cut_evaluation(t)) return QUERN_OK; /* the epoch ends in the next fit */
    int32_t count = scalars_train(t, &t->of_epoch, t->epoch_metrics, false);
    if (validated) count = scalars_eval_all(t, count);
    const quern_status status = trainer_emit(
        t, &(emission){.kind = QUERN_EVENT_epoch_end,
                       .attempts = t->attempts,
                       .batch = t->next_batch,
                       .scalar_count = count,
                       .samples_per_second = trainer_rate(t->fit_samples, trainer_fit_ns(t))});
    t->epoch_open = false;
    t->epoch++;
    QUERN_TRY(status);
    QUERN_TRY(trainer_poll_stop_now(t));
    return boundary_epoch_end(t);
}

/* Before anything else is issued, where the first signal has not been looked at yet. */
static quern_status look_at_once(quern_trainer *t) {
    return trainer_at_once(t) ? trainer_poll_stop(t) : QUERN_OK;
}

static quern_status epoch_run(quern_trainer *t) {
    if (t->epoch_open)
        QUERN_TRY(epoch_resume(t));
    else
        QUERN_TRY(epoch_begin(t));
    if (!t->epoch_open) return QUERN_OK;
    bool end = false;
    do { /* again, where the last records sent the run back */
        for (end = false; !end && !trainer_epoch_over(t);) QUERN_TRY(window_run(t, &end));
        t->rolled_back = false;
        QUERN_TRY(records_drain(t));
    } while (t->rolled_back);
    QUERN_TRY(look_at_once(t));
    if (end && t->next_batch == 0 && !t->stopping)
        return quern_fail(QUERN_INPUT, "the training set has no samples");
    if (!(end || t->epoch_ending || window_data_over(t)) || t->stopping) return QUERN_OK;
    QUERN_TRY(window_tail(t));
    QUERN_TRY(records_drain(t));
    QUERN_TRY(look_at_once(t));
    return t->stopping ? QUERN_OK : epoch_finish(t);
}

/* What a limit leaves open: the last partial interval's log, and an evaluation of the weights that
 * the run ends with. The interval of a run that is to go on from what is saved stays open. */
static quern_status limit_finish(quern_trainer *t) {
    const bool goes_on = stop_was_asked(t) && t->desc.save.directory;
    if (!t->stopping) t->reason = limits_reason(t);
    if (trainer_at_once(t)) return QUERN_OK;
    if (t->since_log.attempts > 0 && !goes_on) QUERN_TRY(records_log(t));
    if (t->stopping || t->set_count == 0 || t->evaluated_step == t->step) return QUERN_OK;
    QUERN_TRY(trainer_validate(t));
    if (stop_cut_evaluation(t)) t->due |= QUERN_REQUEST_EVALUATION;
    return QUERN_OK;
}

/* Only where nothing has been trained yet. */
static quern_status fit_sanity(quern_trainer *t) {
    const bool wanted = t->desc.sanity_batches > 0 && t->attempts == 0 && !t->resumed;
    return wanted && !run_over(t) ? trainer_validate_sanity(t) : QUERN_OK;
}

static quern_status fit_run(quern_trainer *t) {
    QUERN_TRY(stop_start(t));
    QUERN_TRY(records_drain(t));
    if (t->frozen) QUERN_TRY(state_upload(t));
    QUERN_TRY(trainer_emit_known(t, QUERN_EVENT_fit_begin));
    QUERN_TRY(trainer_poll_stop_now(t));
    QUERN_TRY(fit_sanity(t));
    QUERN_TRY(rollback_prepare(t));
    for (; !run_over(t); limits_look(t)) QUERN_TRY(epoch_run(t));
    QUERN_TRY(limit_finish(t));
    t->due &= stop_was_asked(t) ? QUERN_REQUEST_EVALUATION : 0; /* the next fit begins with it */
    return save_finish(t);
}

/* Not the one that a resumed checkpoint was saved in. */
static void fit_anew(quern_trainer *t) {
    t->skip_next = false;
    t->ended = 0;
    t->begun = (trainer_begun){
        .step = t->step, .epoch = t->epoch, .samples = t->samples, .train_ns = t->train_ns_before};
}

static void fit_start(quern_trainer *t) {
    t->fitting = true;
    t->end_eval = false;
    t->failure = QUERN_OK;
    if (!t->resumed) fit_anew(t);
    t->stopping = t->ended > 0;
    t->stopped_by = NULL;
    if (t->stopping) t->reason = (quern_stop_reason)(t->ended - 1);
    limits_start(t);
    t->evaluate_ns = t->log_evaluate_ns = 0;
    t->fit_samples = t->since_log.samples = 0; /* a failure may have left some unlogged */
    t->waits_before = device_host_waits(t->device);
    t->fit_begin_ns = t->log_begin_ns = trainer_now(t);
}

static void emit_end(quern_trainer *t, quern_event_kind kind, quern_status *status) {
    const emission e = {.kind = kind,
                        .attempts = t->attempts,
                        .batch = t->batch,
                        .status = *status,
                        .reason = quern_stop_reason_name(t->reason)};
    error_text text;
    error_save(&text);
    const quern_status emitted = trainer_emit(t, &e);
    if (*status == QUERN_OK && emitted != QUERN_OK) {
        *status = emitted;
        t->reason = QUERN_STOPPED_FAILURE;
    } else {
        error_restore(&text);
    }
}

/* Whatever has happened: the device is at rest, exception (on failure) and fit_end have fired once,
 * the sentence is that of the first failure. */
static quern_status fit_finish(quern_trainer *t, quern_status status, quern_result *result) {
    if (status != QUERN_OK) {
        error_text text;
        error_save(&text);
        records_drain_silently(t);
        save_settle(t);
        error_restore(&text);
        t->epoch_rewind = t->epoch_open && loader_can_restart(t->train_feed.loader);
        t->due = t->ended = 0;
        t->reason = QUERN_STOPPED_FAILURE;
        t->stopping = true; /* a STOP from exception or fit_end asks for nothing new */
        emit_end(t, QUERN_EVENT_exception, &status);
    }
    t->train_ns = trainer_fit_ns(t);
    t->train_ns_before += t->train_ns;
    t->resumed = false;
    emit_end(t, QUERN_EVENT_fit_end, &status);
    stop_finish(t);
    t->fitting = t->stopping = false; /* what stops the own loop is told anew */
    t->log_begin_ns = 0;              /* which has its own time */
    if (result) trainer_fill_result(t, result);
    return status;
}

quern_status quern_trainer_fit(quern_trainer *t, quern_result *result) {
    QUERN_TRY(trainer_enter(t, "fit"));
    if (!t->desc.train) return quern_fail(QUERN_INVALID, "fit: the trainer has no training set");
    fit_start(t);
    return fit_finish(t, fit_run(t), result);
}

static double named_value(const quern_trainer *t, const char *name) {
    for (int32_t i = 0; t->desc.valid && i < t->desc.metric_count; i++)
        if (metric_in_evaluation(&t->desc.metrics[i]) && strcmp(t->desc.metrics[i].name, name) == 0)
            return t->eval_values[i + 1];
    return (double)NAN;
}

void trainer_fill_result(quern_trainer *t, quern_result *out) {
    const loss_sums *loss = t->of_epoch.weight != 0 ? &t->of_epoch : &t->of_epoch_before;
    *out = (quern_result){
        .reason = t->reason,
        .stopped_by = trainer_stopped_by(t),
        .step = t->step,
        .attempts = t->attempts,
        .epochs = t->epoch,
        .samples = t->samples,
        .train_seconds = 1e-9 * (double)t->train_ns,
        .samples_per_second = trainer_rate(t->fit_samples, t->train_ns),
        .train_loss = loss->loss / loss->weight,
        .valid_loss = t->desc.valid ? t->eval_values[0] : (double)NAN,
        .valid_accuracy = named_value(t, "accuracy"),
        .signal = t->signal,
        .at_once = t->at_once,
        .checkpoint = save_path(t),
        .peak_bytes = t->planned.peak_bytes,
        .host_waits = device_host_waits(t->device) - t->waits_before,
    };
}

const char *quern_stop_reason_name(quern_stop_reason reason) {
    switch (reason) {
    case QUERN_STOPPED_EPOCHS: return "epochs";
    case QUERN_STOPPED_STEPS: return "steps";
    case QUERN_STOPPED_SAMPLES: return "samples";
    case QUERN_STOPPED_TIME: return "time";
    case QUERN_STOPPED_CALLBACK: return "callback";
    case QUERN_STOPPED_REQUEST: return "request";
    case QUERN_STOPPED_FILE: return "stop file";
    case QUERN_STOPPED_SIGNAL: return "signal";
    case QUERN_STOPPED_DATA: return "data";
    case QUERN_STOPPED_FAILURE: return "failure";
    }
    return "unknown";
}
