/* confusion_matrix - y[t, p] = number of rows of class t whose largest logit is p, the first of
 * equals; NaN counts as the largest, as in argmax. Ignored rows do not count.
 * Shapes   logits (..., C), target (...) I32, y (C, C) of the graph's dtype.
 * Cost: 1 read per logit. Deterministic: yes, whole numbers. */
#ifndef REAL
#include "real.h"
#include "target.h"

#define REAL_FILE "confusion_matrix.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    const quern_confusion_matrix_desc *d = args->attributes;
    const quern_view *z = &args->in[0], *target = &args->in[1];
    QUERN_TRY(target_check(target, z->dim[z->rank - 1], d->ignore, d->ignore_index));
    if (z->dtype == QUERN_F32)
        count_f32(args, d);
    else
        count_f64(args, d);
    return QUERN_OK;
}

const quern_kernel quern_cpu_confusion_matrix = {.plan = real_plan, .forward = forward};

#else

static int64_t REAL_NAME(largest)(const REAL *z, int64_t count) {
    int64_t best = 0;
    for (int64_t c = 1; c < count; c++)
        if (z[c] > z[best] || (z[c] != z[c] && z[best] == z[best])) best = c;
    return best;
}

static void REAL_NAME(count)(const quern_kernel_args *args, const quern_confusion_matrix_desc *d) {
    const quern_view *target = &args->in[1], *y = &args->out[0];
    const int64_t classes = args->in[0].dim[args->in[0].rank - 1];
    const REAL *z = args->in[0].data;
    const int32_t *t = target->data;
    REAL *matrix = y->data;
    for (int64_t i = 0; i < y->count; i++) matrix[i] = 0;
    for (int64_t row = 0; row < target->count; row++) {
        if (d->ignore && t[row] == d->ignore_index) continue;
        matrix[t[row] * classes + REAL_NAME(largest)(z + row * classes, classes)] += 1;
    }
}

#endif
