/* rollback.c - QUERN_NOT_FINITE_ROLLBACK: behind a loss or gradient that is not finite the newest
 * whole checkpoint's weights, running statistics, optimizer, average, learning-rate scale and step
 * come back; the data goes on behind the window that failed, and so do attempts, samples and the
 * epoch. What was issued behind the failure is taken back and issued again.
 *
 * Metrics on the device since the last log hold some of what was taken back, so they begin anew;
 * the loss comes from the records and keeps what was seen, the one that failed included. Reading a
 * checkpoint allocates: the only thing inside a fit that does. */
#include "state.h"

#include <inttypes.h>
#include <string.h>

bool rollback_wanted(const quern_trainer *t) {
    return t->desc.not_finite == QUERN_NOT_FINITE_ROLLBACK && t->fitting && t->save->writer;
}

quern_status rollback_check(const quern_trainer *t) {
    if (t->desc.not_finite != QUERN_NOT_FINITE_ROLLBACK || t->desc.fast_dev_run) return QUERN_OK;
    if (!t->desc.save.directory)
        return quern_fail(QUERN_INVALID, "trainer: not_finite is ROLLBACK, which needs "
                                         "save.directory for what it goes back to");
    if (!t->desc.train)
        return quern_fail(QUERN_UNSUPPORTED, "trainer: not_finite is ROLLBACK, but batches of the "
                                             "application's own loop cannot be fetched again");
    if (!loader_can_restart(t->train_feed.loader))
        return quern_fail(QUERN_UNSUPPORTED, "trainer: not_finite is ROLLBACK, but the training "
                                             "set is a stream that cannot start again");
    return QUERN_OK;
}

quern_status rollback_prepare(quern_trainer *t) {
    return rollback_wanted(t) && t->save->saved_activity < 0 ? save_run(t) : QUERN_OK;
}

/* So many in a row, without an update beyond the furthest of them. */
static quern_status count_in_row(quern_trainer *t) {
    if (t->step > t->failed_step) t->rollbacks = 0;
    if (t->step > t->failed_step) t->failed_step = t->step;
    if (t->rollbacks >= t->desc.not_finite_limit)
        return error_prefix(QUERN_NOT_FINITE, "after %" PRId64 " rollbacks in a row", t->rollbacks);
    t->rollbacks++;
    return QUERN_OK;
}

/* What state_upload clears with the device's sums is kept of the loss. */
static quern_status counters_restore(quern_trainer *t, const quern_checkpoint *from) {
    const loss_sums since_log = t->since_log;
    t->step = from->manifest.content.counters.step;
    if (t->evaluated_step > t->step) t->evaluated_step = -1; /* it was of other weights */
    QUERN_TRY(state_load(t, from, STATE_SCALE));
    optimizer_rescale(&t->optimizer, t->optimizer.schedule.scale);
    QUERN_TRY(state_upload(t));
    t->since_log = since_log;
    return QUERN_OK;
}

static quern_status state_restore(quern_trainer *t, const quern_checkpoint *from) {
    QUERN_TRY(state_check(t, from));
    QUERN_TRY(quern_checkpoint_load(from, t->graph, t->parameters));
    QUERN_TRY(state_load(t, from, STATE_OPTIMIZER));
    QUERN_TRY(state_load(t, from, STATE_AVERAGE));
    return counters_restore(t, from);
}

static quern_status position_restore(quern_trainer *t) {
    QUERN_TRY(loader_start(t->train_feed.loader, t->epoch, t->counted_batch));
    window_rewind(t);
    t->next_batch = t->counted_batch;
    return QUERN_OK;
}

static quern_status go_back(quern_trainer *t, const error_text *failure) {
    quern_checkpoint *from = NULL;
    QUERN_TRY(save_wait(t));
    QUERN_TRY(checkpoint_latest(&from, t->host, t->desc.save.directory, NULL, NULL));
    if (!from)
        return quern_fail(QUERN_NOT_FINITE, "%s holds no checkpoint", t->desc.save.directory);
    const int64_t failed = t->step;
    const quern_status status = state_restore(t, from);
    if (status == QUERN_OK)
        log_write(t->host, QUERN_LOG_WARNING, "%s: back from step %" PRId64 " to %s", failure->text,
                  failed, from->path);
    quern_checkpoint_destroy(from);
    t->rolled_back = true;
    return status == QUERN_OK ? position_restore(t) : status;
}

quern_status rollback_run(quern_trainer *t) {
    error_text failure;
    QUERN_TRY(count_in_row(t));
    error_save(&failure);
    const quern_status status = go_back(t, &failure);
    if (status == QUERN_OK) return QUERN_OK;
    return error_prefix(status, "%s, and there was no going back", failure.text);
}
