/* resolve.c - the trainer's desc: every default, every check that needs no memory, and copies of
 * what it points to, so that quern_trainer_resolved lives as long as the trainer. */
#include "precision.h"
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

quern_status desc_check_range(const char *field, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "trainer: %s is %" PRId64 ", not %" PRId64 " … %" PRId64,
                      field, value, low, high);
}

static quern_status check_tensor(const quern_graph *graph, const quern_tensor *tensor,
                                 const char *what) {
    if (!tensor) return quern_fail(QUERN_INVALID, "trainer: %s is NULL", what);
    if (tensor->graph != graph)
        return quern_fail(QUERN_INVALID, "trainer: %s belongs to another graph", what);
    return QUERN_OK;
}

static quern_status check_scalar(const quern_graph *graph, const quern_tensor *tensor,
                                 const char *what) {
    QUERN_TRY(check_tensor(graph, tensor, what));
    if (tensor->shape.rank == 0) return QUERN_OK;
    char text[128];
    shape_text(&tensor->shape, text, sizeof text);
    return quern_fail(QUERN_SHAPE, "trainer: %s is %s, not a scalar ()", what, text);
}

static quern_status check_metrics(const quern_trainer_desc *d) {
    QUERN_TRY(desc_check_range("metric_count", d->metric_count, 0, METRIC_MAX));
    if (d->metric_count > 0 && !d->metrics)
        return quern_fail(QUERN_INVALID, "trainer: metrics is NULL");
    for (int32_t i = 0; i < d->metric_count; i++) {
        QUERN_TRY(metric_check(d->graph, &d->metrics[i]));
        if (strcmp(d->metrics[i].name, "loss") == 0)
            return quern_fail(QUERN_INVALID, "trainer: a metric cannot be named loss");
        for (int32_t j = 0; j < i; j++)
            if (strcmp(d->metrics[i].name, d->metrics[j].name) == 0)
                return quern_fail(QUERN_INVALID, "trainer: two metrics are named %s",
                                  d->metrics[i].name);
    }
    return QUERN_OK;
}

static quern_status check_callbacks(const quern_trainer_desc *d) {
    QUERN_TRY(desc_check_range("callback_count", d->callback_count, 0, 1000));
    if (d->callback_count > 0 && !d->callbacks)
        return quern_fail(QUERN_INVALID, "trainer: callbacks is NULL");
    for (int32_t i = 0; i < d->callback_count; i++)
        if ((unsigned)d->callbacks[i].band > QUERN_BAND_CHECKPOINTER)
            return quern_fail(QUERN_INVALID, "trainer: callback %s has the unknown band %d",
                              d->callbacks[i].name ? d->callbacks[i].name : "unnamed",
                              (int)d->callbacks[i].band);
    return QUERN_OK;
}

static quern_status check_network(const quern_trainer_desc *d) {
    if (!d->graph) return quern_fail(QUERN_INVALID, "trainer: graph is NULL");
    QUERN_TRY(graph_status(d->graph));
    QUERN_TRY(check_scalar(d->graph, d->loss, "loss"));
    if (d->loss_weight) QUERN_TRY(check_scalar(d->graph, d->loss_weight, "loss_weight"));
    QUERN_TRY(check_metrics(d));
    QUERN_TRY(desc_check_range("output_count", d->output_count, 0, 1000));
    if (d->output_count > 0 && !d->outputs)
        return quern_fail(QUERN_INVALID, "trainer: outputs is NULL");
    for (int32_t i = 0; i < d->output_count; i++)
        QUERN_TRY(check_tensor(d->graph, d->outputs[i], "an output"));
    QUERN_TRY(evaluation_sets_check(d));
    return check_callbacks(d);
}

/* Fields that would be set without being read. */
static quern_status check_unread(const quern_trainer_desc *d) {
    if (!d->train) {
        if (d->drop_last)
            return quern_fail(QUERN_INVALID, "trainer: drop_last is set without a training set");
        if (d->no_shuffle)
            return quern_fail(QUERN_INVALID, "trainer: no_shuffle is set without a training set");
        if (d->accumulate > 1)
            return quern_fail(QUERN_INVALID, "trainer: accumulate is set without a training set");
    }
    if (d->tail != QUERN_TAIL_FLUSH && d->accumulate < 2)
        return quern_fail(QUERN_INVALID, "trainer: tail is set, but a window is one batch");
    if (d->not_finite_limit != 0 && d->not_finite == QUERN_NOT_FINITE_STOP)
        return quern_fail(QUERN_INVALID, "trainer: not_finite_limit is set, but not_finite says "
                                         "that the first one ends the run");
    if (d->resident == QUERN_RESIDENT_ON && !d->train && !d->valid && d->evaluation_set_count == 0)
        return quern_fail(QUERN_INVALID, "trainer: resident is ON, but there is no set");
    if (d->worker_count == 0 && d->prefetch != 0)
        return quern_fail(QUERN_INVALID, "trainer: prefetch is set but worker_count is 0: the "
                                         "calling thread reads, nothing is read ahead");
    return QUERN_OK;
}

static quern_status check_numbers(const quern_trainer_desc *d) {
    QUERN_TRY(desc_check_range("batch_size", d->batch_size, 0, INT64_C(1) << 32));
    QUERN_TRY(desc_check_range("accumulate", d->accumulate, 0, WINDOW_MAX));
    QUERN_TRY(desc_check_range("tail", (int64_t)d->tail, 0, QUERN_TAIL_DROP));
    QUERN_TRY(desc_check_range("not_finite", (int64_t)d->not_finite, 0, QUERN_NOT_FINITE_ROLLBACK));
    QUERN_TRY(desc_check_range("not_finite_limit", d->not_finite_limit, 0, INT64_C(1) << 40));
    QUERN_TRY(desc_check_range("worker_count", d->worker_count, 0, 256));
    QUERN_TRY(desc_check_range("prefetch", d->prefetch, 0, 1024));
    QUERN_TRY(desc_check_range("resident", (int64_t)d->resident, 0, QUERN_RESIDENT_OFF));
    QUERN_TRY(desc_check_range("log_every", d->log_every, 0, INT64_C(1) << 40));
    QUERN_TRY(desc_check_range("run_ahead", d->run_ahead, 0, RUN_AHEAD_MAX));
    QUERN_TRY(launch_check(d));
    QUERN_TRY(desc_check_range("transform_count", d->transform_count, 0, QUERN_FIELD_MAX));
    if (d->transform_count > 0 && !d->transforms)
        return quern_fail(QUERN_INVALID, "trainer: transforms is NULL");
    return average_check(d);
}

static quern_status copy_metrics(quern_trainer *t) {
    quern_metric *metrics = NULL;
    const int32_t count = t->desc.metric_count;
    QUERN_TRY(arena_allocate(&t->memory, &metrics, count, sizeof *metrics, "metrics"));
    for (int32_t i = 0; i < count; i++) {
        metrics[i] = t->desc.metrics[i];
        metric_fill_defaults(&metrics[i]);
        QUERN_TRY(arena_copy_string(&t->memory, &metrics[i].name, t->desc.metrics[i].name));
    }
    t->desc.metrics = metrics;
    return QUERN_OK;
}

static quern_status copy_string(quern_trainer *t, const char **text) {
    return *text ? arena_copy_string(&t->memory, text, *text) : QUERN_OK;
}

static quern_status copy_array(quern_trainer *t, void *out_pointer, const void *from, int64_t count,
                               size_t bytes, const char *what) {
    void *copy = NULL;
    QUERN_TRY(arena_allocate(&t->memory, &copy, count, bytes, what));
    if (count > 0) memcpy(copy, from, (size_t)count * bytes);
    memcpy(out_pointer, &copy, sizeof copy);
    return QUERN_OK;
}

static quern_status copy_transforms(quern_trainer *t) {
    quern_transform *transforms = NULL;
    const int32_t count = t->desc.transform_count;
    QUERN_TRY(
        copy_array(t, &transforms, t->desc.transforms, count, sizeof *transforms, "transforms"));
    for (int32_t i = 0; i < count; i++) QUERN_TRY(copy_string(t, &transforms[i].field));
    t->desc.transforms = transforms;
    return QUERN_OK;
}

static quern_status copy_lists(quern_trainer *t) {
    quern_trainer_desc *d = &t->desc;
    QUERN_TRY(copy_metrics(t));
    QUERN_TRY(evaluation_sets_copy(t));
    QUERN_TRY(copy_string(t, &d->save.directory));
    QUERN_TRY(copy_string(t, &d->save.best_metric));
    QUERN_TRY(copy_string(t, &d->stop_file));
    QUERN_TRY(copy_transforms(t));
    QUERN_TRY(
        copy_array(t, &d->outputs, d->outputs, d->output_count, sizeof *d->outputs, "outputs"));
    return copy_array(t, &d->callbacks, d->callbacks, d->callback_count, sizeof *d->callbacks,
                      "callbacks");
}

static void fill_defaults(quern_trainer_desc *d) {
    if (!d->loss_weight) d->loss_weight = quern_loss_weight(d->loss);
    if (d->batch_size == 0) d->batch_size = 64;
    if (d->accumulate == 0) d->accumulate = 1;
    if (d->not_finite != QUERN_NOT_FINITE_STOP && d->not_finite_limit == 0)
        d->not_finite_limit = 10;
    if (d->worker_count > 0 && d->prefetch == 0) d->prefetch = 2;
    limits_fill_defaults(d);
    trainer_precision_defaults(d);
    if (d->log_every == 0) d->log_every = 50;
}

quern_status trainer_resolve(quern_trainer *t, const quern_trainer_desc *desc) {
    QUERN_TRY(check_network(desc));
    QUERN_TRY(check_numbers(desc));
    QUERN_TRY(limits_check(desc));
    QUERN_TRY(trainer_precision_check(desc));
    QUERN_TRY(check_unread(desc));
    t->desc = *desc;
    t->graph = desc->graph;
    fill_defaults(&t->desc);
    QUERN_TRY(save_resolve(&t->desc));
    QUERN_TRY(copy_lists(t));
    QUERN_TRY(planned_steps_count(&t->desc, &t->planned_steps));
    quern_optimizer_desc optimizer;
    QUERN_TRY(optimizer_resolve(&optimizer, &desc->optimizer, t->planned_steps));
    t->desc.optimizer = optimizer;
    return QUERN_OK;
}
