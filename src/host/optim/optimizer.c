/* optimizer.c - an update rule bound to parameters: its memory and the tasks of an update. */
#include "optimizer.h"

#include "../base/size.h"

#include <math.h>

/* The one device block: the states, the norm's chunk sums, the schedule's factors. */
typedef struct layout {
    size_t block_bytes;  /* one state, without padding */
    size_t block_stride; /* from one state to the next */
    size_t scratch_start, schedule_start, bytes;
} layout;

static quern_status layout_of(const quern_optimizer_desc *d, const quern_parameters *p,
                              layout *out) {
    const int64_t chunk_count = count_divide_up(p->trainable_count, TASK_NORM_CHUNK);
    const size_t state_count = (size_t)optimizer_state_count(d);
    const size_t ring_bytes = (size_t)schedule_ring_count(&d->schedule) * sizeof(double);
    size_t states = 0, scratch = 0;
    const bool fits =
        count_bytes(p->trainable_count, quern_dtype_bytes(p->dtype), &out->block_bytes) &&
        size_align(out->block_bytes, &out->block_stride) &&
        size_multiply(out->block_stride, state_count, &states) &&
        count_bytes(chunk_count, sizeof(double), &scratch) && size_align(scratch, &scratch) &&
        size_add(states, scratch, &out->schedule_start) &&
        size_add(out->schedule_start, ring_bytes, &out->bytes);
    out->scratch_start = states;
    if (fits) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "%s: %lld parameters have more state than fits",
                      optimizer_name(d), (long long)p->trainable_count);
}

quern_status optimizer_bytes(const quern_optimizer_desc *resolved,
                             const quern_parameters *parameters, size_t *out) {
    layout l = {0};
    QUERN_TRY(layout_of(resolved, parameters, &l));
    *out = l.bytes;
    return QUERN_OK;
}

static quern_status find_rule(bound_optimizer *o) {
    const quern_backend *backend = o->device->backend;
    const quern_update_rule *own = o->desc.rule;
    o->rule = own ? own->update[backend->kind] : backend->update_rules[o->desc.kind];
    if (o->rule) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED, "%s has no update function for the %s backend",
                      optimizer_name(&o->desc), backend->name);
}

static quern_hyper constants_of(const quern_optimizer_desc *d) {
    return (quern_hyper){
        .learning_rate = d->learning_rate,
        .beta1 = d->beta1,
        .beta2 = d->beta2,
        .epsilon = d->epsilon,
        .momentum = d->momentum,
        .weight_decay = d->weight_decay,
        .gradient_scale = 1,
        .clip_value = d->clip_value > 0 ? d->clip_value : (double)INFINITY,
        .nesterov = d->nesterov,
    };
}

/* Each buffer that a forward pass renews, from its pending value. */
static quern_status bind_commit(bound_optimizer *o, task_state *state) {
    const quern_graph *graph = o->parameters->graph;
    int32_t count = 0;
    for (const quern_tensor *t = graph->tensors; t; t = t->next)
        count += t->role == ROLE_BUFFER && t->pending;
    o->commit.state = state;
    if (count == 0) return QUERN_OK;
    QUERN_TRY(memory_allocate(graph->host, &o->committed, 2 * (int64_t)count, sizeof *o->committed,
                              "running statistics"));
    o->commit = (task_commit){state, count, o->committed, o->committed + count};
    quern_view *view = o->committed;
    for (const quern_tensor *t = graph->tensors; t; t = t->next) {
        if (t->role != ROLE_BUFFER || !t->pending) continue;
        view[0] = parameters_view(o->parameters, t);
        view[count] = parameters_pending_view(o->parameters, t);
        view++;
    }
    return QUERN_OK;
}

static void bind_tasks(bound_optimizer *o, const layout *l, const optimizer_bind_desc *desc) {
    task_state *state = desc->state;
    const quern_parameters *p = o->parameters;
    char *memory = o->memory;
    o->update = (quern_update){
        .dtype = p->dtype,
        .parameters = p->values,
        .gradients = p->gradients,
        .segments = p->segments,
        .segment_count = p->segment_count,
        .hyper = &state->hyper,
        .applied = &state->applied,
        .copies = p->copies,
        .copy_dtype = p->copy_dtype,
        .copy_stochastic = p->stochastic,
    };
    for (int32_t i = 0; i < o->state_count; i++)
        o->update.states[i] = memory + (size_t)i * l->block_stride;
    o->norm = (task_norm){state,
                          {.data = p->gradients,
                           .dim = {p->trainable_count},
                           .stride = {1},
                           .count = p->trainable_count,
                           .rank = 1,
                           .dtype = p->dtype}};
    o->decide = (task_decide){state,
                              o->schedule.values,
                              o->schedule.count,
                              constants_of(&o->desc),
                              o->desc.clip_norm,
                              desc->not_finite_limit,
                              desc->scaler};
    const quern_kernel_args args = {.stream = o->stream, .deterministic = true, .training = true};
    o->update_args = o->norm_args = o->decide_args = o->commit_args = args;
    o->update_args.attributes = &o->update;
    o->update_args.run = &state->run;
    o->norm_args.attributes = &o->norm;
    o->norm_args.scratch = memory + l->scratch_start;
    o->decide_args.attributes = &o->decide;
    o->commit_args.attributes = &o->commit;
}

quern_status optimizer_bind(bound_optimizer *out, const optimizer_bind_desc *desc) {
    bound_optimizer *o = out;
    layout l = {0};
    *o = (bound_optimizer){
        .desc = *desc->desc,
        .device = desc->parameters->graph->device,
        .parameters = desc->parameters,
        .stream = desc->stream,
        .state_count = optimizer_state_count(desc->desc),
    };
    if (!o->parameters->gradients && o->parameters->trainable_count > 0)
        return quern_fail(QUERN_INVALID, "%s: the parameters were made without gradients",
                          optimizer_name(&o->desc));
    QUERN_TRY(find_rule(o));
    QUERN_TRY(layout_of(&o->desc, o->parameters, &l));
    const quern_backend *backend = o->device->backend;
    QUERN_TRY(backend->allocate(o->device->memory, &o->memory, l.bytes));
    o->memory_bytes = l.bytes;
    o->block_bytes = l.block_bytes;
    QUERN_TRY(schedule_ring_create(&o->schedule, o->device, &o->desc.schedule,
                                   (void *)((char *)o->memory + l.schedule_start)));
    QUERN_TRY(bind_commit(o, desc->state));
    bind_tasks(o, &l, desc);
    QUERN_TRY(parameters_copies_follow(o->parameters, desc->state));
    /* last: after a failure above nothing is under way, and release may free at once */
    return backend->fill(o->stream, o->memory, 0, l.bytes);
}

void optimizer_release(bound_optimizer *o) {
    if (!o->device) return;
    const quern_status last = parameters_copies_follow(o->parameters, NULL);
    (void)last; /* nobody is left who could be told */
    schedule_ring_destroy(&o->schedule);
    memory_release(&o->device->host, o->committed, 2 * (int64_t)o->commit.count,
                   sizeof *o->committed);
    if (o->memory) o->device->backend->release(o->device->memory, o->memory, o->memory_bytes);
    *o = (bound_optimizer){0};
}

quern_status optimizer_clear(bound_optimizer *o) {
    QUERN_TRY(o->device->backend->fill(o->stream, o->memory, 0, o->memory_bytes));
    optimizer_rescale(o, 1); /* what the ring held is gone too */
    return QUERN_OK;
}

void optimizer_rescale(bound_optimizer *o, double scale) {
    schedule_ring_rescale(&o->schedule, scale);
}

quern_status optimizer_feed(bound_optimizer *o, int64_t step) {
    return schedule_ring_feed(&o->schedule, o->stream, step);
}

quern_status optimizer_issue_norm(const bound_optimizer *o) {
    const quern_backend *backend = o->device->backend;
    return backend->call(o->stream, backend->tasks[TASK_norm], &o->norm_args);
}

quern_status optimizer_issue_decide(const bound_optimizer *o) {
    const quern_backend *backend = o->device->backend;
    return backend->call(o->stream, backend->tasks[TASK_decide], &o->decide_args);
}

quern_status optimizer_issue_update(const bound_optimizer *o) {
    QUERN_TRY(o->device->backend->call(o->stream, o->rule, &o->update_args));
    return o->desc.rule ? parameters_copies_issue(o->parameters, o->stream) : QUERN_OK;
}

quern_status optimizer_issue_commit(const bound_optimizer *o) {
    const quern_backend *backend = o->device->backend;
    if (o->commit.count == 0) return QUERN_OK;
    return backend->call(o->stream, backend->tasks[TASK_commit], &o->commit_args);
}
