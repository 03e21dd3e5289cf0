/* argmax - y = index of the largest x along an axis, the first of equals; I32, axis removed.
 * NaN counts as the largest, as in PyTorch. Cost: 1 read per element. Deterministic: yes. */
#ifndef REAL
#include "axis.h"
#include "cpu.h"
#include "real.h"

typedef struct argmax_work {
    axis_split split;
    const void *x;
    int32_t *y;
} argmax_work;

#define REAL_FILE "argmax.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    const quern_argmax_desc *d = args->attributes;
    const quern_view *x = &args->in[0];
    argmax_work work = {axis_split_of(x, d->axis), x->data, args->out[0].data};
    quern_cpu_parallel(args->stream,
                       cpu_chunk_count(args->out[0].count, cpu_rows_per_chunk(work.split.length)),
                       REAL_PICK(x->dtype, find_chunk), &work);
    return QUERN_OK;
}

const quern_kernel quern_cpu_argmax = {.plan = real_plan, .forward = forward};

#else

static void REAL_NAME(find_chunk)(void *context, int64_t chunk) {
    const argmax_work *w = context;
    const axis_split *s = &w->split;
    const cpu_range range =
        cpu_chunk_range(chunk, cpu_rows_per_chunk(s->length), s->outer * s->inner);
    for (int64_t k = range.start; k < range.end; k++) {
        const REAL *x = (const REAL *)w->x + k / s->inner * s->length * s->inner + k % s->inner;
        int64_t best = 0;
        for (int64_t i = 1; i < s->length; i++) {
            const REAL value = x[i * s->inner], largest = x[best * s->inner];
            if (value > largest || (value != value && largest == largest)) best = i;
        }
        w->y[k] = (int32_t)best;
    }
}

#endif
