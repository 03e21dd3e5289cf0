/* layer_norm - y = w n + b over the last axis, n = (x - mean) inverse, inverse = 1 / sqrt(variance
 * + epsilon), per row. With h = gy w:  gx = inverse (h - mean(h) - n mean(h n));  gw = sum gy n; gb
 * = sum gy over rows. Shapes   x (..., C), w (C), b (C) or absent.   Saved: mean, then inverse, of
 * each row. Cost     1 read of x from memory and 1 write forward; 2 reads and 1 write backward.
 * Deterministic: yes. At most 32 chunks of rows, cut by shape; each keeps its sums of gw and gb in
 * scratch, and those are added in order. Source: Ba, Kiros, Hinton, "Layer normalization" (2016).
 */
#ifndef REAL
#include "../../host/base/size.h"
#include "cpu.h"
#include "real.h"
#include "sums.h"
#include "vector_math.h"

enum { CHUNKS = 32, COLUMNS = 256 };

typedef struct norm_work {
    const quern_kernel_args *args;
    int64_t rows, size, rows_per_chunk, chunks;
} norm_work;

static norm_work work_of(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0];
    norm_work w = {.args = args, .size = x->dim[x->rank - 1]};
    w.rows = x->count / w.size;
    w.rows_per_chunk = larger(cpu_rows_per_chunk(w.size), cpu_chunk_count(w.rows, CHUNKS));
    w.chunks = cpu_chunk_count(w.rows, w.rows_per_chunk);
    return w;
}

#define REAL_FILE "layer_norm.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *plan) {
    const norm_work w = work_of(plan->args);
    const size_t element = quern_dtype_bytes(plan->args->in[0].dtype);
    QUERN_TRY(real_check(plan->args));
    int64_t saved, partials;
    if (!plan->backward) return QUERN_OK;
    if (count_multiply(2, w.rows, &saved) && count_multiply(2 * w.chunks, w.size, &partials) &&
        count_bytes(saved, element, &plan->saved_bytes) &&
        count_bytes(partials, element, &plan->backward_scratch_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the saved statistics' bytes do not fit in 64 bits");
}

static quern_status forward(const quern_kernel_args *args) {
    norm_work w = work_of(args);
    quern_cpu_parallel(args->stream, w.chunks, REAL_PICK(args->in[0].dtype, forward_chunk), &w);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    norm_work w = work_of(args);
    quern_cpu_parallel(args->stream, w.chunks, REAL_PICK(args->in[0].dtype, backward_chunk), &w);
    quern_cpu_parallel(args->stream, cpu_chunk_count(w.size, COLUMNS),
                       REAL_PICK(args->in[0].dtype, add_partials), &w);
    return QUERN_OK;
}

const quern_kernel quern_cpu_layer_norm = {plan, forward, backward, NULL};

#else

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const norm_work *w = context;
    const quern_kernel_args *args = w->args;
    const quern_layer_norm_desc *desc = args->attributes;
    const cpu_range range = cpu_chunk_range(chunk, w->rows_per_chunk, w->rows);
    const REAL *weight = args->in[1].data, *bias = args->in[2].data;
    for (int64_t row = range.start; row < range.end; row++) {
        const REAL *x = (const REAL *)args->in[0].data + row * w->size;
        REAL *y = (REAL *)args->out[0].data + row * w->size, *saved = args->saved;
        const REAL mean = REAL_NAME(sum_of)(x, w->size) / (REAL)w->size;
        const REAL squares = REAL_NAME(sum_of_products)(x, mean, x, mean, w->size);
        const REAL inverse = 1 / REAL_NAME(sqrt)(squares / (REAL)w->size + (REAL)desc->epsilon);
        if (saved != NULL) saved[row] = mean, saved[w->rows + row] = inverse;
        for (int64_t i = 0; i < w->size; i++) y[i] = (x[i] - mean) * inverse * weight[i];
        for (int64_t i = 0; i < w->size && bias != NULL; i++) y[i] += bias[i];
    }
}

/* gx of one row. */
static void REAL_NAME(backward_row)(const norm_work *w, int64_t row, REAL mean, REAL inverse) {
    const quern_kernel_args *args = w->args;
    const REAL *weight = args->in[1].data;
    const REAL *x = (const REAL *)args->in[0].data + row * w->size;
    const REAL *gy = (const REAL *)args->grad_out[0].data + row * w->size;
    REAL *gx = (REAL *)args->grad_in[0].data + row * w->size;
    REAL lane[SUM_LANES] = {0}, lane_product[SUM_LANES] = {0};
    for (int64_t i = 0; i < w->size; i += SUM_LANES) {
        const int64_t stop = smaller(SUM_LANES, w->size - i);
        for (int64_t j = 0; j < stop; j++) {
            const REAL h = gy[i + j] * weight[i + j];
            lane[j] += h;
            lane_product[j] += h * (x[i + j] - mean);
        }
    }
    const REAL center = REAL_NAME(sum_of_lanes)(lane) / (REAL)w->size;
    const REAL tilt = REAL_NAME(sum_of_lanes)(lane_product) * inverse * inverse / (REAL)w->size;
    for (int64_t i = 0; i < w->size; i++) {
        const REAL g = inverse * (gy[i] * weight[i] - center - (x[i] - mean) * tilt);
        gx[i] = args->accumulate[0] ? gx[i] + g : g;
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const norm_work *w = context;
    const quern_kernel_args *args = w->args;
    const cpu_range range = cpu_chunk_range(chunk, w->rows_per_chunk, w->rows);
    const REAL *saved = args->saved;
    REAL *gw = (REAL *)args->scratch + 2 * chunk * w->size, *gb = gw + w->size;
    for (int64_t i = 0; i < w->size; i++) gw[i] = gb[i] = 0;
    for (int64_t row = range.start; row < range.end; row++) {
        const REAL *x = (const REAL *)args->in[0].data + row * w->size;
        const REAL *gy = (const REAL *)args->grad_out[0].data + row * w->size;
        const REAL mean = saved[row], inverse = saved[w->rows + row];
        for (int64_t i = 0; i < w->size; i++) {
            gw[i] += gy[i] * ((x[i] - mean) * inverse);
            gb[i] += gy[i];
        }
        if (args->grad_in[0].data != NULL) REAL_NAME(backward_row)(w, row, mean, inverse);
    }
}

static void REAL_NAME(add_partials)(void *context, int64_t chunk) {
    const norm_work *w = context;
    const quern_kernel_args *args = w->args;
    const cpu_range range = cpu_chunk_range(chunk, COLUMNS, w->size);
    for (int which = 0; which < 2; which++) {
        REAL *to = args->grad_in[1 + which].data;
        const REAL *from = (const REAL *)args->scratch + which * w->size;
        for (int64_t i = range.start; i < range.end && to != NULL; i++) {
            REAL sum = 0;
            for (int64_t p = 0; p < w->chunks; p++) sum += from[2 * p * w->size + i];
            to[i] = args->accumulate[1 + which] ? to[i] + sum : sum;
        }
    }
}

#endif
