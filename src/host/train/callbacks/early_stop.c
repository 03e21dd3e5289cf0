/* early_stop.c - ends the run when a metric has not improved for a number of evaluations, and puts
 * the best weights back.
 *
 * The snapshot is one block of host memory of parameters and buffers in the graph's order, made at
 * init; taking it waits for the device, as the evaluation before it has done. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/size.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>
#include <quern/train.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct quern_early_stop {
    const quern_host *host;
    quern_early_stop_desc desc;
    char *metric;
    int64_t metric_bytes, snapshot_bytes;
    quern_early_stop_state state;
    quern_graph *graph; /* of the trainer, from init on */
    unsigned char *snapshot;
};

static quern_status desc_check(const quern_early_stop_desc *d) {
    if (!d || d->patience < 1)
        return quern_fail(QUERN_INVALID,
                          "early stop: patience is %" PRId64 ", not 1 or more evaluations",
                          d ? d->patience : 0);
    if (!(d->min_delta >= 0) || isinf(d->min_delta))
        return quern_fail(QUERN_INVALID, "early stop: min_delta is %g, not 0 or more",
                          d->min_delta);
    return QUERN_OK;
}

quern_status quern_early_stop_create(quern_early_stop **out, quern_device *device,
                                     const quern_early_stop_desc *desc) {
    quern_early_stop *e = NULL;
    *out = NULL;
    QUERN_TRY(desc_check(desc));
    QUERN_TRY(memory_allocate(&device->host, &e, 1, sizeof *e, "early stop"));
    const char *metric = desc->metric ? desc->metric : "val/loss";
    e->host = &device->host;
    e->desc = *desc;
    e->metric_bytes = (int64_t)strlen(metric) + 1;
    e->state = (quern_early_stop_state){.best_step = -1, .best = (double)NAN};
    const quern_status status =
        memory_allocate(e->host, &e->metric, e->metric_bytes, 1, "a metric's name");
    if (status != QUERN_OK) {
        memory_release(&device->host, e, 1, sizeof *e);
        return status;
    }
    memcpy(e->metric, metric, (size_t)e->metric_bytes);
    e->desc.metric = e->metric;
    *out = e;
    return QUERN_OK;
}

static size_t tensor_bytes(const quern_tensor *tensor) {
    const quern_shape shape = quern_tensor_shape(tensor);
    size_t bytes = quern_dtype_bytes(shape.dtype);
    for (int32_t i = 0; i < shape.rank; i++) bytes *= (size_t)shape.dim[i];
    return bytes; /* the device holds it: it does not overflow */
}

static bool has_scalar(const quern_event *event, const char *name) {
    for (int32_t i = 0; i < event->scalar_count; i++)
        if (strcmp(event->scalars[i].name, name) == 0) return true;
    return false;
}

static quern_status metric_missing(const quern_early_stop *e, const quern_event *event) {
    char names[512];
    text list = text_over(names, sizeof names);
    for (int32_t i = 0; i < event->scalar_count; i++)
        text_add(&list, "%s%s", i > 0 ? ", " : "", event->scalars[i].name);
    return quern_fail(QUERN_INVALID, "early stop: %s has no scalar %s, only %s",
                      quern_event_name(event->kind), e->metric, names);
}

static quern_status snapshot_reserve(quern_early_stop *e) {
    size_t bytes = 0;
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++)
        if (!size_add(bytes, tensor_bytes(quern_graph_parameter(e->graph, i)), &bytes))
            return quern_fail(QUERN_HOST_MEMORY, "early stop: the best weights do not fit");
    return memory_grow(e->host, &e->snapshot, &e->snapshot_bytes, 0, (int64_t)bytes, 1,
                       "the best weights");
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action begin(void *self, const quern_event *event) {
    quern_early_stop *e = self;
    e->graph = quern_trainer_resolved(event->trainer)->graph;
    if (!has_scalar(event, e->metric)) return answer(event, metric_missing(e, event));
    return answer(event, e->desc.restore_best ? snapshot_reserve(e) : QUERN_OK);
}

static quern_status snapshot_take(quern_early_stop *e, quern_trainer *trainer) {
    quern_parameters *parameters = quern_trainer_parameters(trainer);
    size_t at = 0;
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(e->graph, i);
        const size_t bytes = tensor_bytes(tensor);
        QUERN_TRY(quern_parameters_read(parameters, tensor, e->snapshot + at, bytes));
        at += bytes;
    }
    return QUERN_OK;
}

static quern_status snapshot_restore(quern_early_stop *e, quern_trainer *trainer) {
    quern_parameters *parameters = quern_trainer_parameters(trainer);
    size_t at = 0;
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(e->graph, i);
        const size_t bytes = tensor_bytes(tensor);
        QUERN_TRY(quern_parameters_write(parameters, tensor, e->snapshot + at, bytes));
        at += bytes;
    }
    return QUERN_OK;
}

/* NaN compares false with everything, so it never improves; the first number always does. */
static bool improves(const quern_early_stop *e, double value) {
    if (isnan(e->state.best)) return !isnan(value);
    return e->desc.maximize ? value > e->state.best + e->desc.min_delta
                            : value < e->state.best - e->desc.min_delta;
}

static quern_action judge(quern_early_stop *e, const quern_event *event) {
    const double value = quern_event_scalar(event, e->metric);
    e->state.evaluations++;
    if (improves(e, value)) {
        if (e->desc.restore_best) {
            const quern_status status = snapshot_take(e, event->trainer);
            if (status != QUERN_OK) return quern_event_fail(event, status);
        }
        e->state.best = value;
        e->state.best_step = event->step;
        e->state.without_improvement = 0;
        return QUERN_CONTINUE;
    }
    e->state.without_improvement++;
    return e->state.without_improvement >= e->desc.patience ? QUERN_STOP : QUERN_CONTINUE;
}

static bool of_evaluation(const quern_early_stop *e) {
    return strncmp(e->metric, "train/", 6) != 0;
}

static quern_action on_eval_end(void *self, const quern_event *event) {
    if (!of_evaluation(self)) return QUERN_CONTINUE;
    const quern_early_stop *e = self;
    if (!has_scalar(event, e->metric)) return QUERN_CONTINUE; /* another set's */
    return judge(self, event);
}

static quern_action on_epoch_end(void *self, const quern_event *event) {
    if (of_evaluation(self)) return QUERN_CONTINUE;
    const quern_early_stop *e = self;
    if (!has_scalar(event, e->metric)) return answer(event, metric_missing(e, event));
    return judge(self, event);
}

/* A run that failed keeps the weights that its sentence speaks of; one that was asked to stop is
 * to go on later from where it was. */
static quern_action on_fit_end(void *self, const quern_event *event) {
    quern_early_stop *e = self;
    const char *request = quern_stop_reason_name(QUERN_STOPPED_REQUEST);
    const bool wanted = e->desc.restore_best && e->state.best_step >= 0 &&
                        event->status == QUERN_OK && strcmp(event->reason, request) != 0;
    return answer(event, wanted ? snapshot_restore(e, event->trainer) : QUERN_OK);
}

quern_callback quern_early_stop_callback(quern_early_stop *early_stop) {
    return (quern_callback){.name = "early_stop",
                            .band = QUERN_BAND_MONITOR,
                            .self = early_stop,
                            .init = begin,
                            .eval_end = on_eval_end,
                            .epoch_end = on_epoch_end,
                            .fit_end = on_fit_end};
}

quern_early_stop_state quern_early_stop_state_get(const quern_early_stop *early_stop) {
    return early_stop->state;
}

quern_status quern_early_stop_state_set(quern_early_stop *e, const quern_early_stop_state *s) {
    const bool none = s->best_step == -1;
    if (s->evaluations < 0 || s->without_improvement < 0 ||
        s->without_improvement > s->evaluations || s->best_step < -1 || none != isnan(s->best))
        return quern_fail(QUERN_INVALID,
                          "early stop: a state of %" PRId64 " evaluations, %" PRId64
                          " without improvement, best %g at step %" PRId64 " cannot be",
                          s->evaluations, s->without_improvement, s->best, s->best_step);
    e->state = *s;
    return QUERN_OK;
}

void *quern_early_stop_best(quern_early_stop *e, const quern_tensor *tensor, size_t *bytes) {
    size_t at = 0;
    *bytes = 0;
    if (!e->snapshot) return NULL;
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++) {
        const quern_tensor *candidate = quern_graph_parameter(e->graph, i);
        if (candidate == tensor) {
            *bytes = tensor_bytes(tensor);
            return e->snapshot + at;
        }
        at += tensor_bytes(candidate);
    }
    return NULL;
}

void quern_early_stop_destroy(quern_early_stop *e) {
    if (!e) return;
    memory_release(e->host, e->snapshot, e->snapshot_bytes, 1);
    memory_release(e->host, e->metric, e->metric_bytes, 1);
    memory_release(e->host, e, 1, sizeof *e);
}
