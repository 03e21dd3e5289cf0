/* valid_count - y = number of targets other than ignore_index; all of them without `ignore`.
 * Shapes   target (...) I32, y () of the graph's dtype. A count above 2^24 is rounded in F32.
 * Cost: 1 read per target. Deterministic: yes, integers. */
#include "target.h"

static quern_status plan(quern_kernel_plan *p) { return scalar_check(&p->args->out[0]); }

static quern_status forward(const quern_kernel_args *args) {
    const quern_valid_count_desc *d = args->attributes;
    const quern_view *target = &args->in[0];
    const int32_t *t = target->data;
    int64_t valid = target->count;
    for (int64_t i = 0; d->ignore && i < target->count; i++) valid -= t[i] == d->ignore_index;
    scalar_store(&args->out[0], 0, (double)valid);
    return QUERN_OK;
}

const quern_kernel quern_cpu_valid_count = {.plan = plan, .forward = forward};
