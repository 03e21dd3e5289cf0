/* batch_norm - y = w (x - mean) / sqrt(variance + epsilon) + b per channel.
 * With inverse = 1 / sqrt(variance + epsilon), n = (x - mean) inverse and m numbers a channel:
 *   gb = sum gy;   gw = sum gy n;   gx = w inverse (gy - gb / m - n gw / m)
 * and in evaluation, where mean and variance are constants, gx = w inverse gy.
 * Shapes   x (N, C, ...), the rest (C). Training uses the batch's mean and (biased) variance, and
 * writes running = (1 - momentum) running + momentum batch, there with the unbiased variance.
 * Saved: mean, then inverse. Cost: 3 reads and 1 write of x forward, as much backward.
 * Deterministic: yes; a channel is one thread's, its images in order, each by sums.h.
 * Source: Ioffe, Szegedy, "Batch normalization" (2015). */
#ifndef REAL
#include "../../host/base/size.h"
#include "cpu.h"
#include "real.h"
#include "sums.h"
#include "vector_math.h"

typedef struct norm_work {
    const quern_kernel_args *args;
    int64_t images, channels, area, channels_per_chunk;
} norm_work;

#define REAL_FILE "batch_norm.c"
#include "each_real.h"

static quern_status plan(quern_kernel_plan *plan) {
    const quern_view *x = &plan->args->in[0];
    QUERN_TRY(real_check(plan->args));
    int64_t count;
    if (count_multiply(2, x->dim[1], &count) &&
        count_bytes(count, quern_dtype_bytes(x->dtype), &plan->saved_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the saved statistics' bytes do not fit in 64 bits");
}

static quern_status run(const quern_kernel_args *args, cpu_body body) {
    const quern_view *x = &args->in[0];
    norm_work w = {.args = args, .images = x->dim[0], .channels = x->dim[1], .area = 1};
    for (int32_t i = 2; i < x->rank; i++) w.area *= x->dim[i];
    w.channels_per_chunk = cpu_rows_per_chunk(w.images * w.area);
    quern_cpu_parallel(args->stream, cpu_chunk_count(w.channels, w.channels_per_chunk), body, &w);
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    return run(args, REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    return run(args, REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_batch_norm = {plan, forward, backward, NULL};

#else

/* The batch's mean and biased variance of one channel; the mean is corrected by what its own
 * rounding left, so that it does not spoil the variance. */
static void REAL_NAME(channel_moments)(const norm_work *w, const REAL *x, REAL *mean,
                                       REAL *variance) {
    const int64_t pitch = w->channels * w->area;
    const REAL count = (REAL)(w->images * w->area);
    REAL sum = 0, rest = 0, squares = 0;
    for (int64_t n = 0; n < w->images; n++) sum += REAL_NAME(sum_of)(x + n * pitch, w->area);
    *mean = sum / count;
    for (int64_t n = 0; n < w->images; n++)
        rest += REAL_NAME(sum_of_shifted)(x + n * pitch, w->area, *mean);
    *mean += rest / count;
    for (int64_t n = 0; n < w->images; n++)
        squares += REAL_NAME(sum_of_products)(x + n * pitch, *mean, x + n * pitch, *mean, w->area);
    *variance = squares / count;
}

static void REAL_NAME(update_running)(const norm_work *w, int64_t c, REAL mean, REAL variance) {
    const quern_kernel_args *args = w->args;
    const quern_batch_norm_desc *desc = args->attributes;
    const int64_t count = w->images * w->area;
    const REAL momentum = (REAL)desc->momentum, keep = 1 - momentum;
    const REAL unbiased = count > 1 ? variance * ((REAL)count / (REAL)(count - 1)) : variance;
    const REAL *old_mean = args->in[3].data, *old_variance = args->in[4].data;
    REAL *next_mean = args->out[1].data, *next_variance = args->out[2].data;
    if (next_mean != NULL) next_mean[c] = keep * old_mean[c] + momentum * mean;
    if (next_variance != NULL) next_variance[c] = keep * old_variance[c] + momentum * unbiased;
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const norm_work *w = context;
    const quern_kernel_args *args = w->args;
    const quern_batch_norm_desc *desc = args->attributes;
    const cpu_range range = cpu_chunk_range(chunk, w->channels_per_chunk, w->channels);
    const REAL *weight = args->in[1].data, *bias = args->in[2].data;
    for (int64_t c = range.start; c < range.end; c++) {
        const REAL *x = (const REAL *)args->in[0].data + c * w->area;
        REAL *y = (REAL *)args->out[0].data + c * w->area, *saved = args->saved;
        REAL mean = ((const REAL *)args->in[3].data)[c];
        REAL variance = ((const REAL *)args->in[4].data)[c];
        if (args->training) {
            if (w->images * w->area > 0) REAL_NAME(channel_moments)(w, x, &mean, &variance);
            REAL_NAME(update_running)(w, c, mean, variance);
        }
        const REAL inverse = 1 / REAL_NAME(sqrt)(variance + (REAL)desc->epsilon);
        if (saved != NULL) saved[c] = mean, saved[w->channels + c] = inverse;
        const REAL scale = weight[c] * inverse, shift = bias[c];
        for (int64_t n = 0; n < w->images; n++)
            for (int64_t i = n * w->channels * w->area, j = 0; j < w->area; i++, j++)
                y[i] = (x[i] - mean) * scale + shift;
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const norm_work *w = context;
    const quern_kernel_args *args = w->args;
    const cpu_range range = cpu_chunk_range(chunk, w->channels_per_chunk, w->channels);
    const int64_t pitch = w->channels * w->area;
    const REAL *weight = args->in[1].data, *saved = args->saved;
    REAL *gx = args->grad_in[0].data, *gw = args->grad_in[1].data, *gb = args->grad_in[2].data;
    for (int64_t c = range.start; c < range.end; c++) {
        const REAL *x = (const REAL *)args->in[0].data + c * w->area;
        const REAL *gy = (const REAL *)args->grad_out[0].data + c * w->area;
        const REAL mean = saved[c], inverse = saved[w->channels + c];
        REAL sum = 0, product = 0;
        for (int64_t n = 0; n < w->images; n++) {
            sum += REAL_NAME(sum_of)(gy + n * pitch, w->area);
            product += REAL_NAME(sum_of_products)(gy + n * pitch, 0, x + n * pitch, mean, w->area);
        }
        product *= inverse;
        if (gw != NULL) gw[c] = args->accumulate[1] ? gw[c] + product : product;
        if (gb != NULL) gb[c] = args->accumulate[2] ? gb[c] + sum : sum;
        if (gx == NULL) continue;
        const REAL count = (REAL)(w->images * w->area), scale = weight[c] * inverse;
        const REAL center = args->training ? sum / count : 0;
        const REAL tilt = args->training ? product / count * inverse : 0;
        for (int64_t n = 0; n < w->images; n++) {
            REAL *to = gx + c * w->area + n * pitch;
            const REAL *from = gy + n * pitch, *at = x + n * pitch;
            for (int64_t j = 0; j < w->area; j++) {
                const REAL g = scale * (from[j] - center - (at[j] - mean) * tilt);
                to[j] = args->accumulate[0] ? to[j] + g : g;
            }
        }
    }
}

#endif
