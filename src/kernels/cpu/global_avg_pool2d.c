/* global_avg_pool2d - y = mean of x over H and W; gx = gy / (H W).
 * Shapes   x (N, C, H, W), y (N, C).   Cost  1 read of x.
 * Deterministic: yes; a plane is summed by one thread (sums.h). */
#ifndef REAL
#include "cpu.h"
#include "real.h"
#include "sums.h"

#define REAL_FILE "global_avg_pool2d.c"
#include "each_real.h"

static quern_status run(const quern_kernel_args *args, cpu_body body) {
    const int64_t *x = args->in[0].dim;
    const int64_t planes_per_chunk = cpu_rows_per_chunk(x[2] * x[3]);
    quern_cpu_parallel(args->stream, cpu_chunk_count(x[0] * x[1], planes_per_chunk), body,
                       (void *)(uintptr_t)args);
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    return run(args, REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    return run(args, REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_global_avg_pool2d = {real_plan, forward, backward, NULL};

#else

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const int64_t *dim = args->in[0].dim, area = dim[2] * dim[3];
    const cpu_range range = cpu_chunk_range(chunk, cpu_rows_per_chunk(area), dim[0] * dim[1]);
    const REAL *x = args->in[0].data;
    REAL *y = args->out[0].data;
    for (int64_t i = range.start; i < range.end; i++)
        y[i] = REAL_NAME(sum_of)(x + i * area, area) / (REAL)area;
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const int64_t *dim = args->in[0].dim, area = dim[2] * dim[3];
    const cpu_range range = cpu_chunk_range(chunk, cpu_rows_per_chunk(area), dim[0] * dim[1]);
    const REAL *gy = args->grad_out[0].data;
    REAL *gx = args->grad_in[0].data;
    for (int64_t i = range.start; i < range.end; i++) {
        const REAL share = gy[i] / (REAL)area;
        for (int64_t j = i * area; j < (i + 1) * area; j++)
            gx[j] = args->accumulate[0] ? gx[j] + share : share;
    }
}

#endif
