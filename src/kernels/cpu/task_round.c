/* round - the parameters' 16-bit copies, from their values: rounding.h.
 * Cost     one read of 4 bytes and one write of 2 an element.
 * Deterministic: yes, elements are independent. */
#include "../rounding.h"
#include "task_value.h"

typedef struct round_work {
    const task_round *task;
    rounding rounding;
} round_work;

static void round_chunk(void *context, int64_t chunk) {
    const round_work *w = context;
    const cpu_range r = cpu_parallel_range(chunk, w->task->count);
    rounding_range(&w->rounding, w->task->from, w->task->to, r.start, r.end);
}

quern_status quern_cpu_task_round(const quern_kernel_args *args) {
    const task_round *t = args->attributes;
    const uint64_t seed = t->stochastic ? t->state->run.seed : 0;
    const int64_t update = t->stochastic ? t->state->step : 0;
    round_work w = {t, rounding_of(t->dtype, t->stochastic, seed, update)};
    cpu_parallel(args->stream, t->count, round_chunk, &w);
    return QUERN_OK;
}
