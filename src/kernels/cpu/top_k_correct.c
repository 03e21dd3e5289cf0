/* top_k_correct - y = number of rows whose target is among the k largest logits.
 * Of equal logits the one with the lower index is the larger, and NaN is larger than all numbers:
 * with k = 1 this is exactly argmax = target. Ignored rows do not count.
 * Shapes   logits (..., C), target (...) I32, y () of the graph's dtype.
 * Cost: 1 read per logit. Deterministic: yes, integers. */
#ifndef REAL
#include "real.h"
#include "target.h"

#define REAL_FILE "top_k_correct.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    const quern_top_k_correct_desc *d = args->attributes;
    const quern_view *z = &args->in[0], *target = &args->in[1];
    const int64_t classes = z->dim[z->rank - 1];
    QUERN_TRY(target_check(target, classes, d->ignore, d->ignore_index));
    const int32_t *t = target->data;
    int64_t correct = 0;
    for (int64_t row = 0; row < target->count; row++) {
        if (d->ignore && t[row] == d->ignore_index) continue;
        const int64_t above =
            REAL_PICK(z->dtype, count_above)(z->data, row * classes, classes, t[row]);
        correct += above < d->k;
    }
    scalar_store(&args->out[0], 0, (double)correct);
    return QUERN_OK;
}

const quern_kernel quern_cpu_top_k_correct = {.plan = real_plan, .forward = forward};

#else

static int64_t REAL_NAME(count_above)(const void *logits, int64_t offset, int64_t classes,
                                      int32_t target) {
    const REAL *z = (const REAL *)logits + offset, own = z[target];
    int64_t above = 0;
    for (int64_t c = 0; c < classes; c++) {
        const bool larger_than = (z[c] > own) | ((z[c] != z[c]) & (own == own));
        const bool equal = (z[c] == own) | ((z[c] != z[c]) & (own != own));
        above += larger_than | (equal & (c < target));
    }
    return above;
}

#endif
