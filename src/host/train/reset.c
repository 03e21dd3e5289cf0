/* reset.c - quern_trainer_reset: all that a run has changed becomes what create made, so that the
 * next fit equals the first one of a new trainer bit for bit. */
#include "../nn/initialize.h"
#include "trainer.h"

static void counters_reset(quern_trainer *t) {
    t->attempts = t->step = t->samples = t->epoch = t->epochs_started = 0;
    t->next_batch = t->counted_batch = t->batch = 0;
    t->epoch_open = t->epoch_ending = t->epoch_rewind = false;
    t->skip_next = t->end_eval = t->stopping = t->resumed = false;
    t->due = 0;
    t->last_unit = NULL;
    t->fit_begin_ns = t->log_begin_ns = t->evaluate_ns = t->log_evaluate_ns = 0;
    t->train_ns = t->train_ns_before = t->fit_samples = 0;
    t->waits_before = device_host_waits(t->device);
    t->begun = (trainer_begun){0};
    t->ended = 0;
    t->reason = QUERN_STOPPED_EPOCHS;
    t->signal = 0;
    t->activity++; /* what is saved is not this state */
    t->failure = QUERN_OK;
    atomic_store_explicit(&t->stop_flag, 0, memory_order_relaxed);
}

static void sums_reset(quern_trainer *t) {
    t->last = (task_record){0};
    t->of_epoch = t->of_epoch_before = (loss_sums){0};
    t->recent.seen = 0;
    for (int64_t i = 0; i < t->recent.capacity; i++)
        t->recent.losses[i][0] = t->recent.losses[i][1] = 0;
    for (int64_t i = 0; i < t->train_sum_count + t->eval_sum_count; i++) t->sums_read[i] = 0;
    for (int64_t i = 0; i < t->train_sum_count; i++) t->log_metrics[i] = t->epoch_metrics[i] = 0;
    t->evaluated = false;
    t->evaluated_step = t->evaluated_attempts = -1;
    scalars_forget(t);
}

quern_status quern_trainer_reset(quern_trainer *t) {
    QUERN_TRY(trainer_enter(t, "reset"));
    loader *train = t->train_feed.loader;
    if (train && t->epochs_started > 0 && !loader_can_restart(train))
        return quern_fail(QUERN_UNSUPPORTED,
                          "reset: the training set is a stream that cannot start again");
    if (t->desc.not_finite == QUERN_NOT_FINITE_ROLLBACK)
        return quern_fail(QUERN_UNSUPPORTED,
                          "reset: not_finite is ROLLBACK, which would go back to a checkpoint of "
                          "the run before");
    records_drain_silently(t);
    window_clear(t);
    if (train) loader_stop(train);
    QUERN_TRY(parameters_initialize(t->parameters));
    QUERN_TRY(optimizer_clear(&t->optimizer));
    counters_reset(t);
    sums_reset(t);
    QUERN_TRY(state_upload(t));
    return trainer_wait_stream(t);
}
