/* standalone.c - the public quern_optimizer: updates without a trainer.
 *
 * Its window is one update of weight 1 and loss 0, so the decision reads the gradient alone. Every
 * update leaves a record in a pinned ring of RUN_AHEAD; before a slot is used again the host waits
 * for its old record, and learns from it how far the step is and whether an update was refused. */
#include "optimizer.h"
#include "../base/text.h"
#include "../device/teardown.h"

#include <inttypes.h>
#include <math.h>
#include <quern/optim.h>

enum { RUN_AHEAD = 8 };

struct quern_optimizer {
    quern_device *device;
    quern_stream *stream;
    task_state *state; /* device memory */
    task_state begin;  /* what it begins with */
    task_record *ring; /* pinned */
    backend_event *events[RUN_AHEAD];
    int64_t issued, seen; /* updates issued; records read */
    int64_t step;         /* of the last record read */
    bound_optimizer bound;
    task_weigh weigh;
    task_record_args record;
    quern_kernel_args weigh_args, record_args;
};

static quern_status prepare(quern_optimizer *o) {
    const quern_backend *backend = o->device->backend;
    void *state = NULL, *ring = NULL;
    QUERN_TRY(backend->allocate(o->device->memory, &state, sizeof *o->state));
    o->state = state;
    QUERN_TRY(backend->allocate_pinned(o->device->memory, &ring, RUN_AHEAD * sizeof *o->ring));
    o->ring = ring;
    for (int32_t i = 0; i < RUN_AHEAD; i++)
        QUERN_TRY(backend->event_create(o->device->memory, &o->events[i]));
    o->begin = (task_state){.run.seed = o->device->seed, .scale = 1, .seeded = 1};
    QUERN_TRY(backend->copy(o->stream, o->state, &o->begin, sizeof *o->state));
    o->weigh = (task_weigh){.state = o->state, .samples = 1};
    o->record = (task_record_args){o->state, o->ring, RUN_AHEAD};
    o->weigh_args = (quern_kernel_args){.attributes = &o->weigh, .stream = o->stream};
    o->record_args = (quern_kernel_args){.attributes = &o->record, .stream = o->stream};
    return QUERN_OK;
}

quern_status quern_optimizer_create(quern_optimizer **out, quern_parameters *parameters,
                                    const quern_optimizer_desc *desc) {
    quern_optimizer_desc resolved;
    if (!out) return quern_fail(QUERN_INVALID, "optimizer: out is NULL");
    *out = NULL;
    if (!parameters) return quern_fail(QUERN_INVALID, "optimizer: parameters is NULL");
    QUERN_TRY(optimizer_resolve(&resolved, desc, 0));
    quern_optimizer *o = NULL;
    quern_device *device = parameters->graph->device;
    QUERN_TRY(memory_allocate(&device->host, &o, 1, sizeof *o, "optimizer"));
    o->device = device;
    o->stream = parameters->stream ? parameters->stream : device->stream;
    quern_status s = prepare(o);
    if (s == QUERN_OK)
        s = optimizer_bind(&o->bound, &(optimizer_bind_desc){.desc = &resolved,
                                                             .parameters = parameters,
                                                             .state = o->state,
                                                             .stream = o->stream,
                                                             .not_finite_limit = INT64_MAX});
    if (s == QUERN_OK) s = device_wait_stream(device, o->stream);
    if (s == QUERN_OK)
        *out = o;
    else
        quern_optimizer_destroy(o);
    return s;
}

void quern_optimizer_destroy(quern_optimizer *optimizer) {
    quern_optimizer *o = optimizer;
    if (!o) return;
    const quern_backend *backend = o->device->backend;
    /* What was issued still uses the blocks below; after a failure it is dropped. */
    device_wait_last(o->device, o->stream);
    optimizer_release(&o->bound);
    for (int32_t i = 0; i < RUN_AHEAD; i++)
        if (o->events[i]) backend->event_destroy(o->events[i]);
    if (o->ring) backend->release_pinned(o->device->memory, o->ring, RUN_AHEAD * sizeof *o->ring);
    if (o->state) backend->release(o->device->memory, o->state, sizeof *o->state);
    memory_release(&o->device->host, o, 1, sizeof *o);
}

quern_optimizer_desc quern_optimizer_resolved(const quern_optimizer *optimizer) {
    return optimizer ? optimizer->bound.desc : (quern_optimizer_desc){0};
}

/* Reads records until at most `behind` are open. */
static quern_status catch_up(quern_optimizer *o, int64_t behind) {
    while (o->issued - o->seen > behind) {
        const int64_t slot = o->seen % RUN_AHEAD;
        QUERN_TRY(device_wait_event(o->device, o->events[slot]));
        const task_record r = o->ring[slot];
        o->seen++;
        o->step = r.step;
        const quern_schedule *schedule = &o->bound.desc.schedule;
        if (r.outcome == QUERN_OUTCOME_NOT_FINITE && isfinite(r.norm) &&
            !isfinite(quern_schedule_scale(schedule, r.step)))
            return quern_fail(QUERN_NOT_FINITE,
                              "%s: update %" PRId64 " was not applied, the schedule %s gives no "
                              "factor for the learning rate (negative or not finite)",
                              optimizer_name(&o->bound.desc), r.attempt,
                              quern_schedule_name(schedule->kind));
        if (r.outcome == QUERN_OUTCOME_NOT_FINITE)
            return quern_fail(QUERN_NOT_FINITE,
                              "%s: update %" PRId64 " was not applied, its gradient's norm is %g",
                              optimizer_name(&o->bound.desc), r.attempt, text_plain_nan(r.norm));
    }
    return QUERN_OK;
}

quern_status quern_optimizer_update(quern_optimizer *optimizer) {
    quern_optimizer *o = optimizer;
    if (!o) return quern_fail(QUERN_INVALID, "optimizer is NULL");
    const quern_backend *backend = o->device->backend;
    QUERN_TRY(catch_up(o, RUN_AHEAD - 1));
    QUERN_TRY(optimizer_feed(&o->bound, o->step));
    QUERN_TRY(backend->call(o->stream, backend->tasks[TASK_weigh], &o->weigh_args));
    QUERN_TRY(optimizer_issue_norm(&o->bound));
    QUERN_TRY(optimizer_issue_decide(&o->bound));
    QUERN_TRY(optimizer_issue_update(&o->bound));
    QUERN_TRY(optimizer_issue_commit(&o->bound));
    QUERN_TRY(backend->call(o->stream, backend->tasks[TASK_record], &o->record_args));
    QUERN_TRY(backend->event_record(o->events[o->issued % RUN_AHEAD], o->stream));
    o->issued++;
    return QUERN_OK;
}

quern_status quern_optimizer_wait(quern_optimizer *optimizer) {
    if (!optimizer) return quern_fail(QUERN_INVALID, "optimizer is NULL");
    QUERN_TRY(catch_up(optimizer, 0));
    return optimizer->device->backend->stream_status(optimizer->stream);
}
