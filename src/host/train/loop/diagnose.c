/* diagnose.c - which tensor of an attempt was the first that was not finite.
 *
 * By the time the record is read, later attempts (frozen: they changed nothing) have written over
 * the gradients. The parameters are as they were and the batch still lies in its slot, so the same
 * attempt is issued once more, up to its gradients, with the same random draws, and looked at.
 * Order: the inputs, the loss, then the parameters' gradients. Allocates and waits: the run is
 * over. */
#include "../trainer.h"
#include "../../base/text.h"

#include <inttypes.h>
#include <math.h>

/* The first element that is not finite, or -1. */
static int64_t find_not_finite(const void *data, quern_dtype dtype, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (dtype == QUERN_F32 && !isfinite(((const float *)data)[i])) return i;
        if (dtype == QUERN_F64 && !isfinite(((const double *)data)[i])) return i;
    }
    return -1;
}

static quern_status replay(quern_trainer *t, const attempt *a, const task_record *record) {
    t->pinned->state = (task_state){.run = {.seed = t->device->seed, .attempt = record->attempt},
                                    .step = record->step,
                                    .scale = record->scale,
                                    .seeded = record->scale,
                                    .frozen = 1};
    QUERN_TRY(t->backend->copy(t->stream, t->state, &t->pinned->state, sizeof *t->state));
    QUERN_TRY(attempt_repeat(t, a));
    return trainer_wait_stream(t);
}

static bool is_staged(const attempt *a) {
    for (int32_t i = 0; i < a->count; i++)
        if (!a->microbatches[i].staged) return false;
    return true;
}

static bool inputs_name(const feed *f, const window_batch *m, const task_record *record) {
    const void *const *data = NULL;
    if (!m->staged || feed_look(f, m, &data) != QUERN_OK) return false;
    for (int32_t i = 0; i < f->input_count; i++) {
        const loader_input *input = &f->inputs[i];
        const int64_t at = find_not_finite(data[i], input->dtype, input->count * m->sample_count);
        if (at < 0) continue;
        quern_fail(QUERN_NOT_FINITE,
                   "step %" PRId64 ": input %s of sample %" PRId64 " of batch %" PRId64
                   " (epoch %" PRId64 ") is not finite",
                   record->step, input->name, at / input->count, m->batch, m->epoch);
        return true;
    }
    return false;
}

static quern_status gradient_check(quern_trainer *t, const quern_tensor *tensor, bool *bad) {
    const quern_view view = parameters_gradient_view(t->parameters, tensor);
    const int64_t count = view.data ? view.count : 0;
    void *copy = NULL;
    QUERN_TRY(memory_allocate(t->host, &copy, count, quern_dtype_bytes(view.dtype),
                              "a gradient to look at"));
    quern_status status = QUERN_OK;
    if (count > 0)
        status = t->backend->copy(t->stream, copy, view.data,
                                  (size_t)count * quern_dtype_bytes(view.dtype));
    if (status == QUERN_OK) status = trainer_wait_stream(t);
    *bad = status == QUERN_OK && find_not_finite(copy, view.dtype, count) >= 0;
    memory_release(t->host, copy, count, quern_dtype_bytes(view.dtype));
    return status;
}

static quern_status gradients_name(quern_trainer *t, const task_record *record) {
    const int32_t count = quern_graph_parameter_count(t->graph);
    for (int32_t i = 0; i < count; i++) {
        const quern_tensor *tensor = quern_graph_parameter(t->graph, i);
        bool bad = false;
        if (!tensor->wants_gradient) continue;
        QUERN_TRY(gradient_check(t, tensor, &bad));
        if (bad)
            return quern_fail(QUERN_NOT_FINITE,
                              "step %" PRId64 ": the gradient of %s is not finite", record->step,
                              tensor->name);
    }
    return quern_fail(QUERN_NOT_FINITE, "step %" PRId64 ": the gradient's norm is %g", record->step,
                      text_plain_nan(record->norm));
}

static double schedule_factor(const quern_trainer *t, const task_record *record) {
    return quern_schedule_scale(&t->desc.optimizer.schedule, record->step);
}

static quern_status attempt_diagnose(quern_trainer *t, const attempt *a,
                                     const task_record *record) {
    if (isfinite(record->norm) && !isfinite(schedule_factor(t, record)))
        return quern_fail(QUERN_NOT_FINITE,
                          "step %" PRId64 ": the schedule %s gives no factor for the learning rate "
                          "(negative or not finite)",
                          record->step, quern_schedule_name(t->desc.optimizer.schedule.kind));
    for (int32_t i = 0; i < a->count; i++)
        if (inputs_name(a->feed, &a->microbatches[i], record)) return QUERN_NOT_FINITE;
    if (!isfinite(record->loss) || !isfinite(record->weight))
        return quern_fail(QUERN_NOT_FINITE, "step %" PRId64 ": the loss is %g", record->step,
                          text_plain_nan(record->loss / record->weight));
    if (!is_staged(a)) /* the data is the application's and may have changed */
        return quern_fail(QUERN_NOT_FINITE, "step %" PRId64 ": the gradient's norm is %g",
                          record->step, text_plain_nan(record->norm));
    QUERN_TRY(replay(t, a, record));
    return gradients_name(t, record);
}

quern_status diagnose_not_finite(quern_trainer *t, const attempt *a, const task_record *record) {
    error_text sentence;
    records_drain_silently(t);
    const quern_status status = attempt_diagnose(t, a, record);
    if (status != QUERN_NOT_FINITE || trainer_not_finite_limit(t) == 0) return status;
    error_save(&sentence);
    return quern_fail(status, "%s; this is number %" PRId64 " in a row that is not finite",
                      sentence.text, record->not_finite);
}
