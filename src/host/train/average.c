/* average.c - the moving average of the parameters, and where it lies. The built-in rules move it
 * in their own pass over the parameters; behind an own rule TASK_average does.
 *
 * It is a quern_parameters of its own: its values are the average, its buffers the training's, so
 * that programs of evaluation and prediction are simply bound to it and the training's weights are
 * never touched. Frozen parameters lie behind those that move and are their own average. */
#include "trainer.h"

static bool wanted(const quern_trainer *t) { return t->desc.average_decay > 0; }

quern_status average_check(const quern_trainer_desc *d) {
    if (!(d->average_decay >= 0 && d->average_decay < 1))
        return quern_fail(QUERN_INVALID, "trainer: average_decay is %g, expected 0 (none) to 1",
                          d->average_decay);
    if (d->average_warmup && d->average_decay == 0)
        return quern_fail(QUERN_INVALID, "trainer: average_warmup is set without average_decay");
    return QUERN_OK;
}

/* The layout is the parameters'; values are the average's own. */
void average_plan(quern_trainer *t) {
    if (!wanted(t)) return;
    t->average_parameters = *t->parameters;
    t->average_parameters.values = t->average_parameters.gradients = NULL;
    t->average_parameters.copies = NULL;
    t->average_parameters.stochastic = false;
    t->average_parameters.segments = NULL;
    t->average_parameters.segment_count = t->average_parameters.segment_capacity = 0;
    t->average = &t->average_parameters;
}

size_t average_bytes(const quern_trainer *t) {
    if (!wanted(t)) return 0;
    return (size_t)t->parameters->value_count * quern_dtype_bytes(t->parameters->dtype);
}

static quern_view flat(const quern_parameters *p) {
    return (quern_view){.data = p->values,
                        .dim = {p->trainable_count},
                        .stride = {1},
                        .count = p->trainable_count,
                        .rank = 1,
                        .dtype = p->dtype};
}

quern_status average_create(quern_trainer *t) {
    if (!wanted(t)) return QUERN_OK;
    if (average_bytes(t) > 0)
        QUERN_TRY(t->backend->allocate(t->device->memory, &t->average->values, average_bytes(t)));
    QUERN_TRY(parameters_copies_allocate(t->average));
    t->optimizer.update.average = t->average->values;
    t->optimizer.update.average_decay = t->desc.average_decay;
    t->optimizer.update.average_warmup = t->desc.average_warmup;
    t->average_task = (task_average){.state = t->state,
                                     .average = flat(t->average),
                                     .values = flat(t->parameters),
                                     .decay = t->desc.average_decay,
                                     .warmup = t->desc.average_warmup};
    t->average_args = (quern_kernel_args){
        .attributes = &t->average_task, .run = &t->state->run, .stream = t->stream};
    return average_follow(t);
}

void average_release(quern_trainer *t) {
    if (t->average) parameters_copies_release(t->average);
    if (t->average && t->average->values)
        t->backend->release(t->device->memory, t->average->values, average_bytes(t));
    t->average = NULL;
}

quern_status average_follow(quern_trainer *t) {
    if (!t->average || t->step > 0 || t->in_flight_count > 0 || average_bytes(t) == 0)
        return QUERN_OK;
    return t->backend->copy(t->stream, t->average->values, t->parameters->values, average_bytes(t));
}

quern_status average_issue(const quern_trainer *t) {
    if (!t->average || !t->desc.optimizer.rule) return QUERN_OK;
    return t->backend->call(t->stream, t->backend->tasks[TASK_average], &t->average_args);
}

quern_status average_renew_copies(quern_trainer *t) {
    if (!t->average) return parameters_copies_renew(t->parameters, t->stream);
    t->average->stale = true; /* every update moves it */
    return parameters_copies_renew(t->average, t->stream);
}

quern_parameters *unit_parameters(quern_trainer *t, unit_kind kind) {
    return kind == UNIT_TRAIN || kind == UNIT_WEIGH || !t->average ? t->parameters : t->average;
}

quern_parameters *quern_trainer_average(quern_trainer *t) { return t ? t->average : NULL; }
