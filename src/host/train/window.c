/* window.c - the windows of an epoch: their batches are fetched, then one attempt is issued. */
#include "trainer.h"

static quern_status emit_issued(quern_trainer *t, quern_event_kind kind) {
    return trainer_emit(
        t, &(emission){.kind = kind, .attempts = t->attempts_issued, .batch = t->next_batch});
}

static quern_status batch_fetch(quern_trainer *t, loader_batch *out) {
    trace_begin(t->host, "train", "fetch", t->next_batch);
    const quern_status status = loader_next(t->train_feed.loader, out);
    trace_end(t->host);
    if (status != QUERN_OK && !loader_can_restart(t->train_feed.loader)) t->epoch_open = false;
    return status;
}

static quern_status batch_attempt(quern_trainer *t, const loader_batch *batch) {
    attempt a = {.feed = &t->train_feed,
                 .slot = batch->slot,
                 .sample_count = batch->sample_count,
                 .batch = t->next_batch};
    quern_status status = emit_issued(t, QUERN_EVENT_fetch_end);
    if (status == QUERN_OK) status = unit_get(&a.unit, t, UNIT_TRAIN, a.sample_count);
    if (status == QUERN_OK) status = emit_issued(t, QUERN_EVENT_step_begin);
    if (status != QUERN_OK) {
        t->skip_next = false;
        loader_release(t->train_feed.loader, batch->slot);
        return status;
    }
    t->next_batch++;
    return attempt_issue(t, &a);
}

bool window_data_over(const quern_trainer *t) {
    const int64_t count = loader_batch_count(t->train_feed.loader);
    const int64_t limit = t->desc.train_batch_limit;
    return (count >= 0 && t->next_batch >= count) || (limit > 0 && t->next_batch >= limit);
}

quern_status window_run(quern_trainer *t, bool *end) {
    QUERN_TRY(records_make_room(t));
    QUERN_TRY(trainer_poll_stop(t));
    limits_look(t);
    *end = window_data_over(t);
    if (*end || trainer_epoch_over(t)) return QUERN_OK;
    QUERN_TRY(boundary_run(t));
    if (trainer_epoch_over(t)) return QUERN_OK;
    QUERN_TRY(emit_issued(t, QUERN_EVENT_fetch_begin));
    if (trainer_epoch_over(t)) return QUERN_OK;
    loader_batch batch;
    QUERN_TRY(batch_fetch(t, &batch));
    *end = batch.end;
    if (batch.end) return QUERN_OK;
    QUERN_TRY(batch_attempt(t, &batch));
    return records_keep_up(t);
}
