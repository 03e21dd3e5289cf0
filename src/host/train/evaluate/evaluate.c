/* evaluate.c - forward passes over a dataset, in order, in evaluation mode: for validate.c (with
 * events), quern_trainer_evaluate, quern_trainer_predict.
 *
 * Means are sums over the device, read once at the end; nothing that training reads is touched: the
 * sums are an evaluation's own, running statistics are not committed, no random draw advances. */
#include "../trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct sweep {
    feed *feed;
    unit_kind kind;
    const char *events;         /* the set's name, to be told with events; NULL: none fire */
    int64_t batch_limit;        /* 0: all */
    bool sanity;                /* no metric sees the batches */
    bool cut;                   /* the run stopped before the end of the set */
    const quern_tensor *output; /* PREDICT */
    unsigned char *to;
    size_t bytes, written, delivered;
    unsigned char
        *staging; /* pinned: a lane's batch on its way to `to`; NULL: it goes there itself */
    size_t lane_room, lane_bytes[RUN_AHEAD_MAX + 1];
    int64_t issued, done;
    int32_t lanes; /* batches under way at most: of the ring's, those that have slots */
    int32_t slots[RUN_AHEAD_MAX + 1];
} sweep;

/* What has come from the device goes to the caller's memory, in the order of the batches. */
static void deliver(sweep *s, int64_t batch) {
    const int64_t lane = batch % s->lanes;
    if (!s->staging) return;
    memcpy(s->to + s->delivered, s->staging + (size_t)lane * s->lane_room, s->lane_bytes[lane]);
    s->delivered += s->lane_bytes[lane];
}

/* One wait for half of those under way. */
static quern_status older_wait(quern_trainer *t, sweep *s) {
    const int64_t target = s->done + flight_group(s->lanes);
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a sweep has a lane at least */
    QUERN_TRY(device_wait_event(t->device, t->events[(target - 1) % s->lanes]));
    for (; s->done < target; s->done++) {
        deliver(s, s->done);
        loader_release(s->feed->loader, s->slots[s->done % s->lanes]);
    }
    return QUERN_OK;
}

static quern_status output_copy(quern_trainer *t, sweep *s, const trainer_unit *unit,
                                int64_t lane) {
    const quern_view view = program_view(unit->program, s->output);
    const size_t bytes = (size_t)view.count * quern_dtype_bytes(view.dtype);
    if (bytes > s->bytes - s->written)
        return quern_fail(QUERN_SHAPE,
                          "predict: the dataset holds more samples than fit into %zu "
                          "bytes",
                          s->bytes);
    unsigned char *to = s->staging ? s->staging + (size_t)lane * s->lane_room : s->to + s->written;
    s->lane_bytes[lane] = bytes;
    s->written += bytes;
    QUERN_TRY(t->backend->copy(t->stream, to, view.data, bytes));
    return QUERN_OK;
}

static quern_status batch_run(quern_trainer *t, sweep *s, const loader_batch *batch,
                              trainer_unit *unit, int64_t lane) {
    if (s->feed->resident)
        QUERN_TRY(gather_evaluation(t, s->feed, batch, unit));
    else
        QUERN_TRY(feed_upload(t, s->feed, batch->slot, unit));
    QUERN_TRY(unit_issue(t, unit, TURN_ONLY, SEGMENT_FORWARD, SEGMENT_FORWARD));
    if (s->output) QUERN_TRY(output_copy(t, s, unit, lane));
    if (s->kind == UNIT_EVALUATE && !s->sanity) QUERN_TRY(host_metrics_add(t, unit));
    return t->backend->event_record(t->events[lane], t->stream);
}

static quern_status batch_issue(quern_trainer *t, sweep *s, const loader_batch *batch) {
    const int64_t lane = s->issued % s->lanes;
    trainer_unit *unit = NULL;
    QUERN_TRY(unit_get(&unit, t, s->kind, batch->sample_count));
    const quern_status status = batch_run(t, s, batch, unit, lane);
    if (status != QUERN_OK) return status == QUERN_DEVICE_MEMORY ? memory_explain_run(t) : status;
    s->slots[lane] = batch->slot;
    s->issued++;
    return QUERN_OK;
}

/* Inside a fit; not for whoever evaluates or predicts by himself. */
static bool ends_with_the_run(const sweep *s) { return s->events || s->sanity; }

static quern_status batch_tell(quern_trainer *t, const sweep *s) {
    if (s->events)
        QUERN_TRY(trainer_emit(t, &(emission){.kind = QUERN_EVENT_eval_batch_end,
                                              .attempts = t->attempts,
                                              .batch = s->issued - 1,
                                              .evaluation = s->events}));
    return ends_with_the_run(s) ? trainer_poll_stop(t) : QUERN_OK;
}

static bool all_issued(const sweep *s) {
    const int64_t count = loader_batch_count(s->feed->loader);
    return s->issued == count || (s->batch_limit > 0 && s->issued == s->batch_limit);
}

static quern_status batches_run(quern_trainer *t, sweep *s) {
    QUERN_TRY(loader_start(s->feed->loader, 0, 0));
    if (s->feed->resident) QUERN_TRY(gather_rewind(t, s->feed));
    while (!t->end_eval) {
        loader_batch batch;
        s->cut = ends_with_the_run(s) && t->stopping && !all_issued(s);
        if (all_issued(s) || s->cut) return QUERN_OK;
        if (s->issued - s->done == s->lanes) QUERN_TRY(older_wait(t, s));
        QUERN_TRY(loader_next(s->feed->loader, &batch));
        if (batch.end) return QUERN_OK;
        QUERN_TRY(batch_issue(t, s, &batch));
        QUERN_TRY(batch_tell(t, s));
    }
    return QUERN_OK;
}

/* The device is at rest afterwards, whatever happened. What the last attempt computed is gone: its
 * program shares the activations' memory with those that run here. */
static quern_status sweep_run(quern_trainer *t, sweep *s) {
    t->last_unit = NULL;
    s->lanes = s->feed->resident ? t->lanes : staged_lanes(t, 1);
    QUERN_TRY(average_follow(t));
    QUERN_TRY(average_renew_copies(t));
    trace_begin(t->host, "train", "eval", t->step);
    const quern_status status = batches_run(t, s);
    error_text text;
    error_save(&text);
    const quern_status waited = trainer_wait_stream(t);
    loader_stop(s->feed->loader);
    trace_end(t->host);
    t->end_eval = false;
    if (status != QUERN_OK) error_restore(&text);
    for (; status == QUERN_OK && waited == QUERN_OK && s->done < s->issued; s->done++)
        deliver(s, s->done);
    return status != QUERN_OK ? status : waited;
}

/* values: the loss, then each metric (NaN for one that is not a number here). */
static quern_status sums_read(quern_trainer *t, double *values) {
    const size_t bytes = (size_t)t->eval_sum_count * sizeof(double);
    double *sums = t->sums_read + t->train_sum_count;
    QUERN_TRY(t->backend->copy(t->stream, sums, t->sums + t->train_sum_count, bytes));
    QUERN_TRY(trainer_wait_stream(t));
    t->evaluated = true;
    values[0] = sums[0] / sums[1];
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_metric *m = &t->desc.metrics[i];
        values[i + 1] = m->kind == QUERN_METRIC_HOST
                            ? host_metric_result(t, &m->host)
                            : metric_value(m, sums + t->eval_places[i].first);
    }
    return QUERN_OK;
}

/* Means over the part that a stop left would pass for those of the whole set. */
static void values_forget(quern_trainer *t, double *values) {
    for (int32_t i = 0; i <= t->desc.metric_count; i++) values[i] = (double)NAN;
    t->evaluated = false;
}

/* The feed for a dataset: made at the first use, bound to another one when asked. */
static quern_status feed_for(quern_trainer *t, feed *f, unit_kind kind,
                             const quern_dataset *dataset) {
    if (f->loader) return loader_bind(f->loader, dataset);
    const int64_t length = quern_dataset_length(dataset);
    const int64_t full = t->desc.batch_size;
    trainer_unit *unit = NULL;
    QUERN_TRY(unit_get(&unit, t, kind, length > 0 && length < full ? length : full));
    return feed_create(t, f,
                       &(feed_desc){.kind = kind,
                                    .dataset = dataset,
                                    .loader = true,
                                    .slot_count = staged_lanes(t, 1) + t->desc.prefetch,
                                    .worker_count = t->desc.worker_count});
}

quern_status eval_feed_bind(quern_trainer *t, const quern_dataset *dataset) {
    if (t->eval_bound == dataset) return QUERN_OK;
    t->eval_bound = NULL;
    QUERN_TRY(feed_for(t, &t->eval_feed, UNIT_EVALUATE, dataset));
    t->eval_bound = dataset;
    return QUERN_OK;
}

static quern_status evaluation_locate(const quern_trainer *t, quern_status status) {
    if (!status_is_of_device(status)) return status;
    return error_prefix(status, "evaluation behind step %" PRId64, t->step);
}

static quern_status set_evaluate(quern_trainer *t, const set_pass *e, double *values) {
    const size_t bytes = (size_t)t->eval_sum_count * sizeof(double);
    feed *resident = resident_feed(t, e->dataset);
    if (!resident) QUERN_TRY(eval_feed_bind(t, e->dataset));
    QUERN_TRY(t->backend->fill(t->stream, t->sums + t->train_sum_count, 0, bytes));
    sweep s = {.feed = resident ? resident : &t->eval_feed,
               .kind = UNIT_EVALUATE,
               .events = e->events,
               .batch_limit = e->batch_limit,
               .sanity = !values};
    if (!values) return sweep_run(t, &s);
    host_metrics_reset(t);
    QUERN_TRY(sweep_run(t, &s));
    QUERN_TRY(sums_read(t, values));
    if (s.cut) values_forget(t, values);
    return QUERN_OK;
}

quern_status evaluation_run(quern_trainer *t, const set_pass *e, double *values) {
    return evaluation_locate(t, set_evaluate(t, e, values));
}

static quern_status check_outside(quern_trainer *t, const quern_dataset *dataset,
                                  const char *function) {
    QUERN_TRY(trainer_enter(t, function));
    if (!dataset) return quern_fail(QUERN_INVALID, "%s: dataset is NULL", function);
    return failure_keep(t, records_drain(t)); /* only the own loop leaves attempts in flight */
}

quern_status quern_trainer_evaluate(quern_trainer *t, const quern_dataset *dataset,
                                    quern_scalar *scalars, int32_t capacity, int32_t *count) {
    double values[METRIC_MAX + 1];
    QUERN_TRY(check_outside(t, dataset, "evaluate"));
    if (capacity > 0 && !scalars)
        return quern_fail(QUERN_INVALID, "evaluate: scalars is NULL, capacity %d", (int)capacity);
    t->activity++; /* its sums are in the state: what is saved is not this state */
    QUERN_TRY(evaluation_run(t, &(set_pass){.dataset = dataset}, values));
    int32_t found = 0;
    if (found < capacity) scalars[found] = (quern_scalar){"loss", values[0]};
    found++;
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        if (!metric_in_evaluation(&t->desc.metrics[i])) continue;
        if (found < capacity)
            scalars[found] = (quern_scalar){t->desc.metrics[i].name, values[i + 1]};
        found++;
    }
    if (count) *count = found;
    return QUERN_OK;
}

static quern_status check_output(const quern_trainer *t, const quern_tensor *output) {
    bool listed = false;
    for (int32_t i = 0; i < t->desc.output_count; i++) listed |= t->desc.outputs[i] == output;
    if (!output || !listed)
        return quern_fail(QUERN_INVALID, "predict: the tensor is not one of the trainer's outputs");
    if (output->shape.rank > 0 && output->shape.dim[0] < 0) return QUERN_OK;
    char text[128];
    shape_text(&output->shape, text, sizeof text);
    return quern_fail(QUERN_SHAPE, "predict: %s is %s, not batch first", output->name, text);
}

static quern_status check_room(const quern_dataset *dataset, const quern_tensor *output,
                               size_t bytes) {
    const int64_t length = quern_dataset_length(dataset);
    quern_view view;
    size_t needed = 0;
    if (length < 0) return QUERN_OK;
    QUERN_TRY(shape_view(&output->shape, length, &view));
    if (count_bytes(view.count, quern_dtype_bytes(view.dtype), &needed) && needed == bytes)
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "predict: %s of %" PRId64 " samples takes %zu bytes, not %zu",
                      output->name, length, needed, bytes);
}

/* A batch of the output for each lane, made at the first prediction, as its feed. A copy to the
 * caller's own memory, which is not pinned, would be a wait of its own each time. */
static quern_status staging_get(quern_trainer *t, sweep *s) {
    quern_view view;
    size_t bytes = 0;
    void *block = NULL;
    QUERN_ENSURE(s->output != NULL);
    if (trainer_shares_memory(t)) return QUERN_OK;
    QUERN_TRY(shape_view(&s->output->shape, t->desc.batch_size, &view));
    if (!count_bytes(view.count, quern_dtype_bytes(view.dtype), &s->lane_room) ||
        !size_align(s->lane_room, &s->lane_room) ||
        !size_multiply(s->lane_room, (size_t)staged_lanes(t, 1), &bytes))
        return quern_fail(QUERN_SHAPE, "predict: a batch of %s is too large", s->output->name);
    if (bytes > t->predicted_bytes) {
        QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &block, bytes));
        if (t->predicted)
            t->backend->release_pinned(t->device->memory, t->predicted, t->predicted_bytes);
        t->predicted = block;
        t->predicted_bytes = bytes;
    }
    s->staging = t->predicted;
    return QUERN_OK;
}

quern_status quern_trainer_predict(quern_trainer *t, const quern_dataset *dataset,
                                   const quern_tensor *output, void *to, size_t bytes) {
    QUERN_TRY(check_outside(t, dataset, "predict"));
    QUERN_TRY(check_output(t, output));
    QUERN_TRY(check_room(dataset, output, bytes));
    if (bytes > 0 && !to) return quern_fail(QUERN_INVALID, "predict: the destination is NULL");
    QUERN_TRY(feed_for(t, &t->predict_feed, UNIT_PREDICT, dataset));
    sweep s = {
        .feed = &t->predict_feed, .kind = UNIT_PREDICT, .output = output, .to = to, .bytes = bytes};
    QUERN_TRY(staging_get(t, &s));
    return sweep_run(t, &s);
}
