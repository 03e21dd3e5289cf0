/* average - the exponential moving average of the parameters, after an update that was applied:
 *   average = decay average + (1 - decay) value, as average + (1 - decay) (value - average)
 * so that what does not move is its own average to the last bit, whatever 1 - decay rounds to.
 * With warm-up decay is at most (1 + n) / (10 + n) at update n = 1, 2, … (TensorFlow's
 * ExponentialMovingAverage with num_updates). A skipped or frozen attempt changes nothing.
 * Cost     two reads and one write an element.
 * Deterministic: yes, elements are independent. */
#ifndef REAL
#include "../average.h"
#include "real.h"
#include "task_value.h"

typedef struct average_blocks {
    void *average;
    const void *values;
    int64_t count;
    double rest; /* 1 - decay */
} average_blocks;

#define REAL_FILE "task_average.c"
#include "each_real.h"

quern_status quern_cpu_task_average(const quern_kernel_args *args) {
    const task_average *t = args->attributes;
    if (t->state->applied == 0) return QUERN_OK;
    average_blocks b = {t->average.data, t->values.data, t->values.count,
                        average_rest(t->decay, t->warmup, (double)t->state->step)};
    cpu_parallel(args->stream, b.count, REAL_PICK(t->values.dtype, average_chunk), &b);
    return QUERN_OK;
}

#else

static void REAL_NAME(average_chunk)(void *context, int64_t chunk) {
    const average_blocks *b = context;
    const cpu_range r = cpu_parallel_range(chunk, b->count);
    REAL *restrict average = b->average;
    const REAL *restrict values = b->values;
    const REAL rest = (REAL)b->rest;
    for (int64_t i = r.start; i < r.end; i++) average[i] += rest * (values[i] - average[i]);
}

#endif
