/* early_stop.c - ends the run when a metric has not improved for a number of evaluations, and puts
 * the best weights back.
 *
 * The snapshot is one block of host memory of parameters and buffers in the graph's order, then,
 * with a moving average, of the average in the same order; made at init. Taking it waits for the
 * device, as the evaluation before it has done. */
#include "early_stop.h"
#include "../../base/size.h"
#include "watch.h"
#include <quern/train.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct quern_early_stop {
    const quern_host *host;
    watch watch;
    int64_t patience;
    bool restore_best;
    quern_early_stop_state state;
    quern_graph *graph; /* of the trainer, from init on */
    unsigned char *snapshot;
    int64_t snapshot_bytes;
};

static quern_status describe(quern_early_stop *e) {
    char words[128];
    text t = text_over(words, sizeof words);
    text_add(&t, ", \"patience\": %" PRId64 ", \"restore_best\": %s", e->patience,
             e->restore_best ? "true" : "false");
    return watch_describe(&e->watch, &t);
}

quern_status quern_early_stop_create(quern_early_stop **out, quern_device *device,
                                     const quern_early_stop_desc *desc) {
    quern_early_stop *e = NULL;
    *out = NULL;
    if (!desc || desc->patience < 1)
        return quern_fail(QUERN_INVALID,
                          "early stop: patience is %" PRId64 ", not 1 or more evaluations",
                          desc ? desc->patience : 0);
    QUERN_TRY(memory_allocate(&device->host, &e, 1, sizeof *e, "early stop"));
    e->host = &device->host;
    e->patience = desc->patience;
    e->restore_best = desc->restore_best;
    e->state = (quern_early_stop_state){.best_step = -1, .best = (double)NAN};
    quern_status status = watch_create(&e->watch, device, "early stop", desc->metric,
                                       desc->maximize, desc->min_delta);
    if (status == QUERN_OK) status = describe(e);
    if (status == QUERN_OK)
        *out = e;
    else
        quern_early_stop_destroy(e);
    return status;
}

static size_t tensor_bytes(const quern_tensor *tensor) {
    const quern_shape shape = quern_tensor_shape(tensor);
    size_t bytes = quern_dtype_bytes(shape.dtype);
    for (int32_t i = 0; i < shape.rank; i++) bytes *= (size_t)shape.dim[i];
    return bytes; /* the device holds it: it does not overflow */
}

static quern_status snapshot_reserve(quern_early_stop *e, quern_trainer *trainer) {
    const size_t copies = quern_trainer_average(trainer) ? 2 : 1;
    size_t bytes = 0;
    bool fits = true;
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++)
        fits = fits && size_add(bytes, tensor_bytes(quern_graph_parameter(e->graph, i)), &bytes);
    if (!fits || !size_multiply(bytes, copies, &bytes))
        return quern_fail(QUERN_HOST_MEMORY, "early stop: the best weights do not fit");
    return memory_grow(e->host, &e->snapshot, &e->snapshot_bytes, 0, (int64_t)bytes, 1,
                       "the best weights");
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action on_init(void *self, const quern_event *event) {
    quern_early_stop *e = self;
    e->graph = quern_trainer_resolved(event->trainer)->graph;
    quern_status status = watch_find(&e->watch, event);
    if (status == QUERN_OK && e->restore_best) status = snapshot_reserve(e, event->trainer);
    return answer(event, status);
}

typedef enum direction { TAKE, PUT_BACK } direction;

static quern_status copy_tensors(quern_early_stop *e, quern_parameters *parameters, direction to,
                                 size_t *at) {
    for (int32_t i = 0; i < quern_graph_parameter_count(e->graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(e->graph, i);
        const size_t bytes = tensor_bytes(tensor);
        QUERN_TRY(to == TAKE
                      ? quern_parameters_read(parameters, tensor, e->snapshot + *at, bytes)
                      : quern_parameters_write(parameters, tensor, e->snapshot + *at, bytes));
        *at += bytes;
    }
    return QUERN_OK;
}

static quern_status snapshot_copy(quern_early_stop *e, quern_trainer *trainer, direction to) {
    quern_parameters *average = quern_trainer_average(trainer);
    size_t at = 0;
    QUERN_TRY(copy_tensors(e, quern_trainer_parameters(trainer), to, &at));
    return average ? copy_tensors(e, average, to, &at) : QUERN_OK;
}

static quern_action judge(quern_early_stop *e, const quern_event *event, double value) {
    e->state.evaluations++;
    if (!watch_improves(&e->watch, e->state.best, value)) {
        e->state.without_improvement++;
        return e->state.without_improvement >= e->patience ? QUERN_STOP : QUERN_CONTINUE;
    }
    if (e->restore_best) {
        const quern_status status = snapshot_copy(e, event->trainer, TAKE);
        if (status != QUERN_OK) return quern_event_fail(event, status);
    }
    e->state.best = value;
    e->state.best_step = event->step;
    e->state.without_improvement = 0;
    return QUERN_CONTINUE;
}

static quern_action look(void *self, const quern_event *event) {
    quern_early_stop *e = self;
    bool due = false;
    double value = 0;
    const quern_status status = watch_look(&e->watch, event, &due, &value);
    if (status != QUERN_OK) return quern_event_fail(event, status);
    return due ? judge(e, event, value) : QUERN_CONTINUE;
}

/* From outside the run: it is to go on later from where it was. */
static bool was_asked_to_stop(const char *reason) {
    static const quern_stop_reason asked[] = {QUERN_STOPPED_REQUEST, QUERN_STOPPED_FILE,
                                              QUERN_STOPPED_SIGNAL};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        if (strcmp(reason, quern_stop_reason_name(asked[i])) == 0) return true;
    return false;
}

/* A run that failed keeps the weights that its sentence speaks of. */
static quern_action on_fit_end(void *self, const quern_event *event) {
    quern_early_stop *e = self;
    const bool wanted = e->restore_best && e->state.best_step >= 0 && event->status == QUERN_OK &&
                        !was_asked_to_stop(event->reason);
    return answer(event, wanted ? snapshot_copy(e, event->trainer, PUT_BACK) : QUERN_OK);
}

static quern_action on_load_end(void *self, const quern_event *event) {
    const quern_early_stop_state *s = &((quern_early_stop *)self)->state;
    const bool none = s->best_step == -1;
    if (s->evaluations >= 0 && s->without_improvement >= 0 &&
        s->without_improvement <= s->evaluations && s->best_step >= -1 && none == isnan(s->best))
        return QUERN_CONTINUE;
    return answer(event, quern_fail(QUERN_INPUT,
                                    "early stop: a state of %" PRId64 " evaluations, %" PRId64
                                    " without improvement, best %g at step %" PRId64 " cannot be",
                                    s->evaluations, s->without_improvement, s->best, s->best_step));
}

static quern_callback_state state_of(void *self) {
    quern_early_stop *e = self;
    return (quern_callback_state){&e->state, sizeof e->state, e->snapshot,
                                  (size_t)e->snapshot_bytes};
}

quern_callback quern_early_stop_callback(quern_early_stop *early_stop) {
    return (quern_callback){.name = "early_stop",
                            .band = QUERN_BAND_MONITOR,
                            .self = early_stop,
                            .state = state_of,
                            .settings = early_stop->watch.settings,
                            .init = on_init,
                            .load_end = on_load_end,
                            .fit_begin = look,
                            .stop_requested = look,
                            .eval_end = look,
                            .epoch_end = look,
                            .fit_end = on_fit_end};
}

bool is_early_stop(const quern_callback *callback) {
    if (callback->state != state_of) return false;
    const quern_callback own = quern_early_stop_callback(callback->self);
#define X(name, actions, text) &&own.name == callback->name
    return own.settings == callback->settings QUERN_EVENT_LIST(X);
#undef X
}

quern_early_stop_state quern_early_stop_state_get(const quern_early_stop *early_stop) {
    return early_stop->state;
}

void quern_early_stop_destroy(quern_early_stop *e) {
    if (!e) return;
    memory_release(e->host, e->snapshot, e->snapshot_bytes, 1);
    watch_release(&e->watch);
    memory_release(e->host, e, 1, sizeof *e);
}
