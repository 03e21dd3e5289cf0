/* step.c - the application's own loop: one attempt per call on batches that it hands over, and
 * reading back. The same attempts, records and events (step_begin … log) as inside fit. */
#include "../trainer.h"

#include <inttypes.h>
#include <string.h>

/* Nothing may be in flight where the attempts' room changes. */
static quern_status step_window_open(quern_trainer *t, int32_t count) {
    log_write(t->host, QUERN_LOG_INFO,
              "an own loop's window of %" PRId32
              " batch%s comes for the first time: staging memory "
              "for such windows is allocated",
              count, count == 1 ? "" : "es");
    if (count == 1) return QUERN_OK;
    QUERN_TRY(records_drain(t));
    return window_reserve(t, count);
}

/* Slots for windows of `count` batches, as many as may be in flight: made when they first come. */
static quern_status step_feed_get(quern_trainer *t, int32_t count) {
    feed *f = &t->step_feed;
    if (f->slot_count > 0 && t->step_window >= count) return QUERN_OK;
    trainer_unit *unit = NULL;
    QUERN_TRY(unit_get(&unit, t, UNIT_TRAIN, t->desc.batch_size));
    QUERN_TRY(step_window_open(t, count));
    QUERN_TRY(units_open_uploads(t));
    feed_release(t, f);
    t->step_window = count;
    return feed_create(
        t, f, &(feed_desc){.kind = UNIT_TRAIN, .slot_count = staged_lanes(t, count) * count});
}

static int32_t field_find(const quern_batch *batch, const char *name) {
    for (int32_t i = 0; i < batch->field_count; i++)
        if (batch->names[i] && strcmp(batch->names[i], name) == 0) return i;
    return -1;
}

static int32_t input_find(const feed *f, const char *name) {
    for (int32_t i = 0; i < f->input_count; i++)
        if (strcmp(f->inputs[i].name, name) == 0) return i;
    return -1;
}

static quern_status batch_check(const quern_trainer *t, const quern_batch *batch, int32_t count) {
    const feed *f = &t->step_feed;
    if (batch->sample_count < 1 || batch->sample_count > t->desc.batch_size)
        return quern_fail(QUERN_INVALID, "step: sample_count is %" PRId64 ", not 1 … %" PRId64,
                          batch->sample_count, t->desc.batch_size);
    if (batch->field_count < 0 || batch->field_count > QUERN_FIELD_MAX)
        return quern_fail(QUERN_INVALID, "step: field_count is %" PRId32 ", not 0 … %d",
                          batch->field_count, QUERN_FIELD_MAX);
    for (int32_t i = 0; i < f->input_count; i++) {
        const int32_t field = field_find(batch, f->inputs[i].name);
        if (field < 0)
            return quern_fail(QUERN_INVALID, "step: the batch has no field %s", f->inputs[i].name);
        if (!batch->data[field] && count > 1)
            return quern_fail(QUERN_INVALID, "step: %s has no data in a window of several batches",
                              f->inputs[i].name);
        if (!batch->data[field] && batch->sample_count != t->desc.batch_size)
            return quern_fail(QUERN_INVALID,
                              "step: %s has no data, which takes a whole batch of %" PRId64
                              " written into quern_trainer_input, not %" PRId64,
                              f->inputs[i].name, t->desc.batch_size, batch->sample_count);
    }
    for (int32_t i = 0; i < batch->field_count; i++)
        if (!batch->names[i] || input_find(f, batch->names[i]) < 0)
            return quern_fail(QUERN_INVALID, "step: the graph reads no input %s",
                              batch->names[i] ? batch->names[i] : "NULL");
    return QUERN_OK;
}

/* Host memory goes through a pinned slot, so that the caller has it back at once. Device memory is
 * copied by the device; without a pointer the data already lies in the input. */
static window_batch batch_take(quern_trainer *t, int32_t slot, const quern_batch *batch) {
    const feed *f = &t->step_feed;
    window_batch m = {.data = feed_slot(f, slot),
                      .slot = SLOT_NONE,
                      .staged = true,
                      .sample_count = batch->sample_count,
                      .batch = t->attempts_issued};
    for (int32_t i = 0; i < f->input_count; i++) {
        const int32_t at = slot * f->input_count + i;
        const void *from = batch->data[field_find(batch, f->inputs[i].name)];
        const size_t sample = (size_t)f->inputs[i].count * quern_dtype_bytes(f->inputs[i].dtype);
        const bool host = from && !batch->on_device;
        if (host) memcpy(f->slots[at], from, sample * (size_t)batch->sample_count);
        f->sources[at] = host ? f->slots[at] : from;
        m.staged &= host;
    }
    return m;
}

/* Device memory is read by the stream that computes: it alone has to wait. */
static quern_status ready_wait(quern_trainer *t, const quern_batch *batches, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        if (batches[i].ready)
            QUERN_TRY(t->backend->stream_wait_native(t->stream, batches[i].ready));
    return QUERN_OK;
}

static quern_status step_issue(quern_trainer *t, const quern_batch *batches, int32_t count) {
    QUERN_TRY(step_feed_get(t, count));
    for (int32_t i = 0; i < count; i++) QUERN_TRY(batch_check(t, &batches[i], count));
    const int32_t lanes = staged_lanes(t, t->step_window);
    QUERN_TRY(
        records_keep_below(t, lanes)); /* a callback that failed inside a step left one more */
    QUERN_TRY(records_make_room(t));
    const int32_t first = (int32_t)(t->attempts_issued % lanes) * t->step_window;
    attempt a = {.feed = &t->step_feed,
                 .microbatches = attempt_next(t)->microbatches,
                 .batch = t->attempts_issued};
    for (; a.count < count; a.count++) {
        a.microbatches[a.count] = batch_take(t, first + a.count, &batches[a.count]);
        a.sample_count += batches[a.count].sample_count;
    }
    QUERN_TRY(attempt_units(t, &a));
    QUERN_TRY(ready_wait(t, batches, count));
    QUERN_TRY(trainer_emit(t, &(emission){.kind = QUERN_EVENT_step_begin,
                                          .attempts = t->attempts_issued,
                                          .batch = a.batch}));
    QUERN_TRY(attempt_issue(t, &a));
    return records_keep_below(t, lanes);
}

/* The first failure of the own loop is kept, and every later call returns it: the weights are those
 * before the failing update. INPUT is a kernel's: an index that the batch should not have held. fit
 * starts anew. */
quern_status failure_keep(quern_trainer *t, quern_status status) {
    const bool lost = status != QUERN_OK && t->dropping;
    if (status != QUERN_NOT_FINITE && status != QUERN_DEVICE_LOST && status != QUERN_INPUT && !lost)
        return status;
    t->failure = status;
    t->reason = QUERN_STOPPED_FAILURE;
    error_save(&t->failure_text);
    records_drain_silently(t);
    error_restore(&t->failure_text);
    return status;
}

static quern_status failure_again(quern_trainer *t) {
    if (t->failure != QUERN_OK) error_restore(&t->failure_text);
    return t->failure;
}

/* Of the own loop, which no fit's time is part of. */
static void time_begin(quern_trainer *t) {
    t->fit_begin_ns = t->log_begin_ns = trainer_now(t);
    t->evaluate_ns = t->log_evaluate_ns = 0;
    t->fit_samples = t->since_log.samples = 0;
}

static quern_status step_run(quern_trainer *t, const quern_batch *batches, int32_t count) {
    QUERN_TRY(failure_again(t));
    QUERN_TRY(trainer_poll_stop_own_loop(t));
    if (!batches) return quern_fail(QUERN_INVALID, "step: batch is NULL");
    if (count < 1 || count > WINDOW_MAX)
        return quern_fail(QUERN_INVALID, "step: count is %" PRId32 ", not 1 … %d", count,
                          WINDOW_MAX);
    if (t->lost != QUERN_OK) QUERN_TRY(failure_keep(t, records_drain(t)));
    if (t->frozen) QUERN_TRY(state_upload(t));
    if (t->log_begin_ns == 0) time_begin(t);
    return failure_keep(t, step_issue(t, batches, count));
}

quern_status quern_trainer_step(quern_trainer *t, const quern_batch *batch) {
    QUERN_TRY(trainer_enter(t, "step"));
    return step_run(t, batch, 1);
}

quern_status quern_trainer_step_window(quern_trainer *t, const quern_batch *batches,
                                       int32_t count) {
    QUERN_TRY(trainer_enter(t, "step_window"));
    return step_run(t, batches, count);
}

void *quern_trainer_input(quern_trainer *t, const char *name) {
    trainer_unit *unit = NULL;
    if (!t || !name) return NULL;
    const feed *f = &t->step_feed;
    if (step_feed_get(t, 1) != QUERN_OK ||
        unit_get(&unit, t, UNIT_TRAIN, t->desc.batch_size) != QUERN_OK)
        return NULL;
    const int32_t input = input_find(f, name);
    if (input < 0 || trainer_wait_stream(t) != QUERN_OK) return NULL;
    return program_view(unit->program, f->tensors[input]).data;
}

quern_status quern_trainer_read(quern_trainer *t, const quern_tensor *tensor, void *to,
                                size_t bytes) {
    if (!t) return quern_fail(QUERN_INVALID, "read: the trainer is NULL");
    if (!tensor || tensor->graph != t->graph)
        return quern_fail(QUERN_INVALID, "read: the tensor is not of the trainer's graph");
    if (!t->last_unit)
        return quern_fail(QUERN_INVALID, "read: no attempt has been issued, or an evaluation or "
                                         "prediction since has used its memory");
    if (!tensor->contiguous)
        return quern_fail(QUERN_INVALID, "read: %s is strided; read quern_contiguous() of it",
                          tensor->name);
    const quern_view view = program_view(t->last_unit->program, tensor);
    const size_t expected = (size_t)view.count * quern_dtype_bytes(view.dtype);
    if (!view.data)
        return quern_fail(QUERN_INVALID, "read: %s is not one of the trainer's outputs",
                          tensor->name);
    if (bytes != expected)
        return quern_fail(QUERN_SHAPE, "read: %s has %zu bytes, not %zu", tensor->name, expected,
                          bytes);
    if (bytes > 0 && !to) return quern_fail(QUERN_INVALID, "read: the destination is NULL");
    if (bytes > 0) QUERN_TRY(t->backend->copy(t->stream, to, view.data, bytes));
    return trainer_wait_stream(t);
}

quern_status quern_trainer_wait(quern_trainer *t, quern_result *result) {
    QUERN_TRY(trainer_enter(t, "wait"));
    quern_status status = failure_again(t);
    if (status == QUERN_OK) status = failure_keep(t, records_drain(t));
    if (status == QUERN_OK) status = trainer_poll_stop_own_loop(t);
    if (t->log_begin_ns != 0) t->train_ns = trainer_now(t) - t->fit_begin_ns - t->evaluate_ns;
    if (result) trainer_fill_result(t, result);
    return status;
}
