/* norm - the L2 norm of the flat gradient block, sqrt(sum g^2) / the loss scale that it was
 * computed with, summed in double.
 * Cost     one read of the gradients.
 * Deterministic: yes. A chunk of TASK_NORM_CHUNK elements is summed in 16 lanes, the lanes in
 * pairs; the chunks' sums lie in scratch and are added in order. NaN and infinity come through. */
#ifndef REAL
#include "real.h"
#include "task_value.h"
#include <math.h>

enum { LANES = 16 };

typedef struct norm_chunks {
    const void *values;
    int64_t count;
    double *sums;
} norm_chunks;

static double sum_lanes(double lane[LANES]) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

#define REAL_FILE "task_norm.c"
#include "each_real.h"

quern_status quern_cpu_task_norm(const quern_kernel_args *args) {
    const task_norm *t = args->attributes;
    norm_chunks c = {t->gradients.data, t->gradients.count, args->scratch};
    const int64_t chunk_count = cpu_chunk_count(c.count, TASK_NORM_CHUNK);
    quern_cpu_parallel(args->stream, chunk_count, REAL_PICK(t->gradients.dtype, norm_chunk), &c);
    double sum = 0;
    for (int64_t i = 0; i < chunk_count; i++) sum += c.sums[i];
    t->state->norm = sqrt(sum) / t->state->seeded;
    return QUERN_OK;
}

#else

static void REAL_NAME(norm_chunk)(void *context, int64_t chunk) {
    const norm_chunks *c = context;
    const cpu_range r = cpu_chunk_range(chunk, TASK_NORM_CHUNK, c->count);
    const REAL *values = c->values;
    double lane[LANES] = {0};
    int64_t i = r.start;
    for (; i + LANES <= r.end; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)values[i + l] * (double)values[i + l];
    for (int l = 0; i < r.end; i++, l++) lane[l] += (double)values[i] * (double)values[i];
    c->sums[chunk] = sum_lanes(lane);
}

#endif
