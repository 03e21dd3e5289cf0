/* softmax_cross_entropy - loss = sum over rows of (1 - s) (l - z_t) + s (l - mean_c z_c), where
 * l = log sum_c e^z_c, t is the row's target and s the label smoothing.
 * gz_c = g (e^(z_c - l) - (1 - s) [c = t] - s / C);  0 in ignored rows.
 * Shapes   z (..., C), t (...) I32, loss ().   Saved: l of each row.
 * Cost     2 reads of z forward, 1 read and 1 write backward, C exponentials a row each. gz may
 *          lie over z.
 * Deterministic: yes, see loss_sum.h. A target outside [0, C) that is not ignored is INPUT. */
#ifndef REAL
#include "loss_sum.h"
#include "sums.h"
#include "vector_math.h"

typedef struct entropy_work {
    const quern_kernel_args *args;
    int64_t rows, classes, rows_per_chunk;
} entropy_work;

static entropy_work work_of(const quern_kernel_args *args) {
    entropy_work w = {.args = args, .rows = args->in[1].count};
    w.classes = args->in[0].dim[args->in[0].rank - 1];
    w.rows_per_chunk = larger(1, cpu_rows_per_chunk(w.classes) / 16); /* a row costs exponentials */
    return w;
}

static bool is_ignored(const entropy_work *w, int32_t target) {
    const quern_softmax_cross_entropy_desc *desc = w->args->attributes;
    return desc->ignore && target == desc->ignore_index;
}

#define REAL_FILE "softmax_cross_entropy.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *plan) {
    const entropy_work w = work_of(plan->args);
    QUERN_TRY(real_check(plan->args));
    QUERN_TRY(loss_plan(plan, cpu_chunk_count(w.rows, w.rows_per_chunk)));
    if (!plan->backward) return QUERN_OK;
    if (count_bytes(w.rows, quern_dtype_bytes(plan->args->in[0].dtype), &plan->saved_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the saved logarithms' bytes do not fit in 64 bits");
}

static quern_status check_targets(const entropy_work *w) {
    const int32_t *target = w->args->in[1].data;
    for (int64_t row = 0; row < w->rows; row++)
        if ((target[row] < 0 || target[row] >= w->classes) && !is_ignored(w, target[row]))
            return quern_fail(QUERN_INPUT, "target %d at row %lld is outside [0, %lld)",
                              (int)target[row], (long long)row, (long long)w->classes);
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    entropy_work w = work_of(args);
    const int64_t chunks = cpu_chunk_count(w.rows, w.rows_per_chunk);
    QUERN_TRY(check_targets(&w));
    quern_cpu_parallel(args->stream, chunks, REAL_PICK(args->in[0].dtype, forward_chunk), &w);
    loss_add_chunks(args, chunks);
    return QUERN_OK;
}

/* Checks again: a failed forward does not end the stream, so backward may still be called. */
static quern_status backward(const quern_kernel_args *args) {
    entropy_work w = work_of(args);
    QUERN_TRY(check_targets(&w));
    if (args->grad_in[0].data != NULL)
        quern_cpu_parallel(args->stream, cpu_chunk_count(w.rows, w.rows_per_chunk),
                           REAL_PICK(args->in[0].dtype, backward_chunk), &w);
    return QUERN_OK;
}

const quern_kernel quern_cpu_softmax_cross_entropy = {plan, forward, backward, NULL};

#else

/* l - z_largest of one row; a NaN anywhere in the row makes the sum NaN. */
static REAL REAL_NAME(log_sum)(const REAL *z, int64_t classes, REAL largest) {
    REAL lane[SUM_LANES] = {0};
    for (int64_t c = 0; c < classes; c += SUM_LANES) {
        const int64_t stop = smaller(SUM_LANES, classes - c);
        for (int64_t j = 0; j < stop; j++) lane[j] += REAL_NAME(exp)(z[c + j] - largest);
    }
    return REAL_NAME(log)(REAL_NAME(sum_of_lanes)(lane));
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const entropy_work *w = context;
    const quern_kernel_args *args = w->args;
    const quern_softmax_cross_entropy_desc *desc = args->attributes;
    const cpu_range range = cpu_chunk_range(chunk, w->rows_per_chunk, w->rows);
    const int32_t *target = args->in[1].data;
    const REAL smoothing = (REAL)desc->label_smoothing;
    REAL *saved = args->saved;
    double sum = 0;
    for (int64_t row = range.start; row < range.end; row++) {
        const REAL *z = (const REAL *)args->in[0].data + row * w->classes;
        if (is_ignored(w, target[row])) continue;
        REAL largest = z[0];
        for (int64_t c = 1; c < w->classes; c++) largest = z[c] > largest ? z[c] : largest;
        const REAL rest = REAL_NAME(log_sum)(z, w->classes, largest);
        if (saved != NULL) saved[row] = rest + largest;
        REAL loss = rest + (largest - z[target[row]]);
        if (smoothing > 0) {
            const REAL below = -REAL_NAME(sum_of_shifted)(z, w->classes, largest);
            loss = (1 - smoothing) * loss + smoothing * (rest + below / (REAL)w->classes);
        }
        sum += (double)loss;
    }
    ((double *)args->scratch)[chunk] = sum;
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const entropy_work *w = context;
    const quern_kernel_args *args = w->args;
    const quern_softmax_cross_entropy_desc *desc = args->attributes;
    const cpu_range range = cpu_chunk_range(chunk, w->rows_per_chunk, w->rows);
    const int32_t *target = args->in[1].data;
    const REAL seed = *(const REAL *)args->grad_out[0].data,
               smoothing = (REAL)desc->label_smoothing;
    const REAL *saved = args->saved, spread = smoothing / (REAL)w->classes;
    const bool accumulate = args->accumulate[0];
    for (int64_t row = range.start; row < range.end; row++) {
        const REAL *z = (const REAL *)args->in[0].data + row * w->classes;
        REAL *gz = (REAL *)args->grad_in[0].data + row * w->classes;
        if (is_ignored(w, target[row])) {
            for (int64_t c = 0; c < w->classes && !accumulate; c++) gz[c] = 0;
            continue;
        }
        const REAL l = saved[row], hit = seed * (1 - smoothing);
        for (int64_t c = 0; c < w->classes; c++) {
            const REAL g = seed * (REAL_NAME(exp)(z[c] - l) - spread);
            gz[c] = accumulate ? gz[c] + g : g;
        }
        gz[target[row]] -= hit;
    }
}

#endif
