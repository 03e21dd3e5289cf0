/* regression_sums - what R^2 is made of: y = (sum (p - t)^2, sum t, sum t^2, number of elements).
 * Shapes   p, t (any), equal; y (4) F64 whatever p is: sums of squares cancel later.
 * Cost: 1 read of each. Deterministic: yes, chunks of a fixed size, added in order. */
#ifndef REAL
#include "cpu.h"
#include "real.h"

#include "../../host/base/size.h"

enum { SUMS = 3 };

typedef struct sums_work {
    const quern_kernel_args *args;
} sums_work;

#define REAL_FILE "regression_sums.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *p) {
    const int64_t chunks = cpu_chunk_count(p->args->in[0].count, CPU_CHUNK);
    QUERN_TRY(real_check(p->args));
    if (count_bytes(chunks, SUMS * sizeof(double), &p->forward_scratch_bytes)) return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the chunks' sums do not fit in 64 bits");
}

static quern_status forward(const quern_kernel_args *args) {
    const int64_t count = args->in[0].count;
    const double *part = args->scratch;
    double *y = args->out[0].data;
    sums_work work = {args};
    cpu_parallel(args->stream, count, REAL_PICK(args->in[0].dtype, chunk), &work);
    for (int i = 0; i < SUMS; i++) y[i] = 0;
    for (int64_t c = 0; c < cpu_chunk_count(count, CPU_CHUNK); c++)
        for (int i = 0; i < SUMS; i++) y[i] += part[c * SUMS + i];
    y[SUMS] = (double)count;
    return QUERN_OK;
}

const quern_kernel quern_cpu_regression_sums = {.plan = plan, .forward = forward};

#else

static void REAL_NAME(chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = ((const sums_work *)context)->args;
    const cpu_range range = cpu_parallel_range(chunk, args->in[0].count);
    const REAL *p = args->in[0].data, *t = args->in[1].data;
    double residual = 0, sum = 0, square = 0;
    for (int64_t i = range.start; i < range.end; i++) {
        const double target = (double)t[i], off = (double)p[i] - target;
        residual += off * off;
        sum += target;
        square += target * target;
    }
    double *part = (double *)args->scratch + chunk * SUMS;
    part[0] = residual;
    part[1] = sum;
    part[2] = square;
}

#endif
