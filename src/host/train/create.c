/* create.c - the trainer object: everything is checked, planned and allocated here, and given back
 * in destroy in reverse order. */
#include "../device/teardown.h"
#include "precision.h"
#include "trainer.h"

#include <inttypes.h>
#include <string.h>

static quern_status trainer_new(quern_trainer **out, quern_device *device) {
    quern_trainer *t = NULL;
    QUERN_TRY(memory_allocate(&device->host, &t, 1, sizeof *t, "trainer"));
    t->device = device;
    t->host = &device->host;
    t->backend = device->backend;
    t->stream = device->stream;
    t->memory = (arena){.host = t->host};
    t->evaluated_step = t->evaluated_attempts = t->failed_step = -1;
    t->step_target = t->epoch_target = INT64_MAX;
    atomic_init(&t->stop_flag, 0);
    *out = t;
    return QUERN_OK;
}

static quern_status device_block(quern_trainer *t, void *out_pointer, size_t bytes) {
    void *block = NULL;
    if (bytes > 0) QUERN_TRY(t->backend->allocate(t->device->memory, &block, bytes));
    memcpy(out_pointer, &block, sizeof block);
    return QUERN_OK;
}

static size_t sum_bytes(const quern_trainer *t) {
    return (size_t)(t->train_sum_count + t->eval_sum_count) * sizeof(double);
}

static size_t pinned_bytes(const quern_trainer *t) {
    return sizeof *t->pinned + (size_t)t->record.ring_count * sizeof t->pinned->ring[0];
}

static quern_status blocks_create(quern_trainer *t) {
    void *pinned = NULL, *sums = NULL;
    t->record.ring_count = t->desc.run_ahead + 2;
    QUERN_TRY(device_block(t, &t->arena_block, t->planned.activation_bytes));
    QUERN_TRY(device_block(t, &t->input_block, t->planned.input_bytes));
    QUERN_TRY(device_block(t, &t->state, sizeof *t->state));
    QUERN_TRY(device_block(t, &t->sums, sum_bytes(t)));
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &pinned, pinned_bytes(t)));
    t->pinned = memset(pinned, 0, pinned_bytes(t));
    t->pinned->skip = 1;
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &sums, sum_bytes(t)));
    t->sums_read = sums;
    if (sums) memset(sums, 0, sum_bytes(t));
    return flight_create(t);
}

static quern_status update_prepare(quern_trainer *t) {
    QUERN_TRY(state_upload(t));
    t->record.state = t->state;
    t->record.ring = t->pinned->ring;
    t->record_args =
        (quern_kernel_args){.attributes = &t->record, .run = &t->state->run, .stream = t->stream};
    t->parameters->gradient_scale = &t->state->seeded;
    return optimizer_bind(&t->optimizer,
                          &(optimizer_bind_desc){.desc = &t->desc.optimizer,
                                                 .parameters = t->parameters,
                                                 .state = t->state,
                                                 .stream = t->stream,
                                                 .scaler = loss_scale_task(&t->desc),
                                                 .not_finite_limit = trainer_not_finite_limit(t)});
}

static quern_status feeds_create(quern_trainer *t) {
    const quern_trainer_desc *d = &t->desc;
    feed_desc desc = {.kind = UNIT_TRAIN,
                      .dataset = d->train,
                      .resident = resident_train(t),
                      .loader = true,
                      .slot_count = (d->run_ahead + 1) * (int32_t)d->accumulate + d->prefetch,
                      .held_count = d->tail == QUERN_TAIL_CARRY ? (int32_t)d->accumulate - 1 : 0,
                      .worker_count = d->worker_count};
    if (!d->train) {
        desc = (feed_desc){.kind = UNIT_TRAIN, .slot_count = staged_lanes(t, 1)};
        t->step_window = 1;
        return feed_create(t, &t->step_feed, &desc);
    }
    t->uploads = desc.held_count > 0;
    return feed_create(t, &t->train_feed, &desc);
}

static void splits_log(const quern_trainer *t) {
    static const quern_event_kind inside[] = {QUERN_EVENT_loss_ready, QUERN_EVENT_micro_end,
                                              QUERN_EVENT_grads_ready, QUERN_EVENT_update_begin};
    if (t->desc.no_capture) return;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++)
        if (t->subscribed[inside[i]])
            log_write(t->host, QUERN_LOG_INFO,
                      "a callback subscribes to %s: the recorded step is split there",
                      quern_event_name(inside[i]));
}

static quern_status windows_create(quern_trainer *t) {
    const int32_t capacity = (int32_t)t->desc.accumulate;
    QUERN_TRY(arena_allocate(&t->memory, &t->open.microbatches, capacity, sizeof(window_batch),
                             "windows"));
    QUERN_TRY(arena_allocate(&t->memory, &t->held.microbatches, capacity, sizeof(window_batch),
                             "windows"));
    QUERN_TRY(window_reserve(t, capacity));
    return capacity > 1 ? units_open_windows(t) : QUERN_OK;
}

static quern_status steps_record(quern_trainer *t) {
    for (trainer_unit *u = t->units; u; u = u->next) QUERN_TRY(unit_capture(t, u));
    QUERN_TRY(windows_create(t));
    return launch_create(t);
}

/* What a device takes for the recordings is known only behind them: it is no part of the plan. */
static quern_status captures_create(quern_trainer *t) {
    quern_device_info before, after;
    QUERN_TRY(t->backend->info(t->device->memory, &before));
    QUERN_TRY(steps_record(t));
    QUERN_TRY(t->backend->info(t->device->memory, &after));
    const int64_t bytes = before.memory_free_bytes - after.memory_free_bytes;
    if (bytes > 0 && t->backend->kind != QUERN_BACKEND_CPU)
        log_write(t->host, QUERN_LOG_INFO,
                  "the recorded steps take %" PRId64 " bytes of device memory beside the plan",
                  bytes);
    return QUERN_OK;
}

static quern_status init_emit(quern_trainer *t) {
    const loss_sums none = {0};
    int32_t count = scalars_train(t, &none, t->log_metrics, true);
    count = scalars_eval_all(t, count);
    t->opened = true;
    return trainer_emit(t, &(emission){.kind = QUERN_EVENT_init, .scalar_count = count});
}

static quern_status trainer_build(quern_trainer *t, const quern_trainer_desc *desc) {
    QUERN_TRY(trainer_resolve(t, desc));
    QUERN_TRY(callbacks_sort(t));
    QUERN_TRY(quern_parameters_create(
        &t->parameters, t->graph,
        &(quern_parameters_desc){.gradients = true,
                                 .precision = t->desc.precision,
                                 .stochastic_rounding = t->desc.stochastic_rounding}));
    QUERN_TRY(algorithms_create(t));
    QUERN_TRY(trainer_plan(t));
    QUERN_TRY(memory_preflight(t));
    run_ahead_fill_default(t);
    launch_fill_defaults(t);
    QUERN_TRY(scalars_create(t));
    QUERN_TRY(host_metrics_create(t));
    QUERN_TRY(blocks_create(t));
    QUERN_TRY(update_prepare(t));
    QUERN_TRY(average_create(t));
    for (trainer_unit *u = t->units; u; u = u->next) QUERN_TRY(unit_bind(t, u));
    QUERN_TRY(upload_create(t));
    QUERN_TRY(resident_create(t));
    QUERN_TRY(feeds_create(t));
    QUERN_TRY(captures_create(t));
    QUERN_TRY(validate_create(t));
    splits_log(t);
    QUERN_TRY(trainer_wait_stream(t));
    QUERN_TRY(init_emit(t));
    return save_create(t);
}

quern_status quern_trainer_create(quern_trainer **out, const quern_trainer_desc *desc) {
    if (!out) return quern_fail(QUERN_INVALID, "quern_trainer_create: out is NULL");
    *out = NULL;
    if (!desc || !desc->graph) return quern_fail(QUERN_INVALID, "trainer: graph is NULL");
    QUERN_TRY(graph_status(desc->graph));
    quern_trainer *t = NULL;
    QUERN_TRY(trainer_new(&t, desc->graph->device));
    const quern_status status = trainer_build(t, desc);
    if (status == QUERN_OK) {
        *out = t;
        return QUERN_OK;
    }
    error_text text;
    error_save(&text);
    quern_trainer_destroy(t);
    error_restore(&text);
    return status == QUERN_DEVICE_MEMORY ? memory_explain(desc) : status;
}

static void device_release(quern_trainer *t, void *block, size_t bytes) {
    if (block) t->backend->release(t->device->memory, block, bytes);
}

void quern_trainer_destroy(quern_trainer *t) {
    if (!t) return;
    records_drain_last(t);
    save_release(t); /* what was handed over is written; callbacks may be looked at until then */
    callbacks_close(t);
    device_wait_last(t->device, t->stream);
    upload_release(t);
    feed_release(t, &t->train_feed);
    feed_release(t, &t->eval_feed);
    feed_release(t, &t->predict_feed);
    feed_release(t, &t->step_feed);
    resident_release(t);
    for (trainer_unit *u = t->units; u; u = u->next) unit_release(t, u);
    unit_release(t, &t->closing);
    launch_release(t);
    optimizer_release(&t->optimizer);
    flight_release(t);
    host_metrics_release(t);
    if (t->predicted)
        t->backend->release_pinned(t->device->memory, t->predicted, t->predicted_bytes);
    if (t->sums_read) t->backend->release_pinned(t->device->memory, t->sums_read, sum_bytes(t));
    if (t->pinned) t->backend->release_pinned(t->device->memory, t->pinned, pinned_bytes(t));
    device_release(t, t->sums, sum_bytes(t));
    device_release(t, t->state, sizeof *t->state);
    device_release(t, t->input_block, t->planned.input_bytes);
    device_release(t, t->arena_block, t->planned.activation_bytes);
    average_release(t);
    quern_parameters_destroy(t->parameters);
    algorithms_release(t);
    arena_release(&t->memory);
    memory_release(t->host, t, 1, sizeof *t);
}

const quern_trainer_desc *quern_trainer_resolved(const quern_trainer *t) {
    return t ? &t->desc : NULL;
}

quern_parameters *quern_trainer_parameters(quern_trainer *t) { return t ? t->parameters : NULL; }

const char *quern_trainer_device_name(const quern_trainer *t) {
    return t ? t->device->info.name : "";
}

int64_t quern_trainer_planned_steps(const quern_trainer *t) { return t ? t->planned_steps : 0; }
