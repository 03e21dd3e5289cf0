/* host_metric.c - the application's own metrics: after each batch of an evaluation the tensors that
 * they read are copied to the host, which waits for them. Costs one wait a metric and batch;
 * nothing where there is no host metric. The staging memory is allocated in create, for a whole
 * batch; it is pinned, so that a copy to it is no wait of its own. */
#include "../trainer.h"

static quern_status tensor_bytes(const quern_trainer *t, const quern_tensor *tensor, size_t *out) {
    quern_view view;
    QUERN_TRY(shape_view(&tensor->shape, t->desc.batch_size, &view));
    if (count_bytes(view.count, quern_dtype_bytes(view.dtype), out) && size_align(*out, out))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "trainer: a batch of %s is too large for a host metric",
                      tensor->name);
}

/* Metrics take their turn on the same memory. */
static quern_status metric_bytes(const quern_trainer *t, const quern_metric *metric, size_t *out) {
    *out = 0;
    for (int32_t i = 0; i < metric->host.tensor_count; i++) {
        size_t bytes = 0;
        QUERN_TRY(tensor_bytes(t, metric->host.tensors[i], &bytes));
        if (!size_add(*out, bytes, out))
            return quern_fail(QUERN_SHAPE, "trainer: a batch of metric %s is too large",
                              metric->name);
    }
    return QUERN_OK;
}

quern_status host_metrics_create(quern_trainer *t) {
    size_t most = 0;
    bool any = false;
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        size_t bytes = 0;
        QUERN_TRY(metric_bytes(t, &t->desc.metrics[i], &bytes));
        any |= t->desc.metrics[i].kind == QUERN_METRIC_HOST;
        if (bytes > most) most = bytes;
    }
    if (!any) return QUERN_OK;
    void *block = NULL;
    t->host_value_bytes = most + 1; /* not nothing: there are such metrics */
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &block, t->host_value_bytes));
    t->host_values = block;
    return QUERN_OK;
}

void host_metrics_release(quern_trainer *t) {
    if (t->host_values)
        t->backend->release_pinned(t->device->memory, t->host_values, t->host_value_bytes);
}

/* As from a callback, the trainer cannot be entered from the application's functions. */
void host_metrics_reset(quern_trainer *t) {
    t->emitting = true;
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_host_metric *host = &t->desc.metrics[i].host;
        if (host->reset) host->reset(host->self);
    }
    t->emitting = false;
}

double host_metric_result(quern_trainer *t, const quern_host_metric *host) {
    t->emitting = true;
    const double result = host->result(host->self);
    t->emitting = false;
    return result;
}

static quern_status metric_add(quern_trainer *t, const quern_metric *metric,
                               const trainer_unit *unit) {
    quern_view values[QUERN_HOST_METRIC_TENSORS];
    size_t at = 0;
    for (int32_t i = 0; i < metric->host.tensor_count; i++) {
        const quern_tensor *tensor = metric->host.tensors[i];
        size_t room = 0;
        values[i] = program_view(unit->program, tensor);
        const size_t bytes = (size_t)values[i].count * quern_dtype_bytes(values[i].dtype);
        QUERN_TRY(tensor_bytes(t, tensor, &room));
        QUERN_TRY(t->backend->copy(t->stream, t->host_values + at, values[i].data, bytes));
        values[i].data = t->host_values + at;
        at += room;
    }
    QUERN_TRY(trainer_wait_stream(t));
    t->emitting = true;
    const quern_status status = metric->host.add(metric->host.self, values, unit->batch_size);
    t->emitting = false;
    return status == QUERN_OK ? status : error_prefix(status, "metric %s", metric->name);
}

quern_status host_metrics_add(quern_trainer *t, const trainer_unit *unit) {
    if (!t->host_values) return QUERN_OK;
    for (int32_t i = 0; i < t->desc.metric_count; i++)
        if (t->desc.metrics[i].kind == QUERN_METRIC_HOST)
            QUERN_TRY(metric_add(t, &t->desc.metrics[i], unit));
    return QUERN_OK;
}
