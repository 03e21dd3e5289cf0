/* avg_pool2d - y = mean of x in each window; gx = gy / count, summed over the windows that saw x.
 * Shapes   x (N, C, H, W), y (N, C, OH, OW). Padding counts as zeros, so the count is the window's
 * area; with count_exclude_padding it is the number of pixels inside the image.
 * Cost     1 read of x, 1 write of y.   Deterministic: yes, a plane is one thread's. */
#ifndef REAL
#include "pool2d.h"
#include <string.h>

#define REAL_FILE "avg_pool2d.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    const pool_work p = pool_work_of(args);
    pool_run_planes(&p, REAL_PICK(args->in[0].dtype, forward_chunk));
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const pool_work p = pool_work_of(args);
    if (args->grad_in[0].data != NULL)
        pool_run_planes(&p, REAL_PICK(args->in[0].dtype, backward_chunk));
    return QUERN_OK;
}

const quern_kernel quern_cpu_avg_pool2d = {real_plan, forward, backward, NULL};

#else

static REAL REAL_NAME(window_count)(const pool_work *p, pool_span rows, pool_span columns) {
    const quern_pool2d_desc *d = &p->desc;
    if (!d->count_exclude_padding) return (REAL)d->window[0] * (REAL)d->window[1];
    return (REAL)((rows.stop - rows.first) * (columns.stop - columns.first));
}

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const pool_work *p = context;
    const cpu_range range = cpu_chunk_range(chunk, p->planes_per_chunk, p->planes);
    for (int64_t row = range.start * p->oh; row < range.end * p->oh; row++) {
        const REAL *x = (const REAL *)p->args->in[0].data + row / p->oh * p->h * p->w;
        REAL *y = (REAL *)p->args->out[0].data + row * p->ow;
        const pool_span rows = pool_span_of(p, 0, row % p->oh);
        for (int64_t j = 0; j < p->ow; j++) {
            const pool_span columns = pool_span_of(p, 1, j);
            REAL sum = 0;
            for (int64_t r = rows.first; r < rows.stop; r++)
                for (int64_t c = columns.first; c < columns.stop; c++) sum += x[r * p->w + c];
            y[j] = sum / REAL_NAME(window_count)(p, rows, columns);
        }
    }
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const pool_work *p = context;
    const cpu_range range = cpu_chunk_range(chunk, p->planes_per_chunk, p->planes);
    REAL *all = p->args->grad_in[0].data;
    const int64_t area = p->h * p->w;
    if (!p->args->accumulate[0])
        memset(all + range.start * area, 0,
               (size_t)((range.end - range.start) * area) * sizeof *all);
    for (int64_t row = range.start * p->oh; row < range.end * p->oh; row++) {
        REAL *gx = all + row / p->oh * area;
        const REAL *gy = (const REAL *)p->args->grad_out[0].data + row * p->ow;
        const pool_span rows = pool_span_of(p, 0, row % p->oh);
        for (int64_t j = 0; j < p->ow; j++) {
            const pool_span columns = pool_span_of(p, 1, j);
            const REAL share = gy[j] / REAL_NAME(window_count)(p, rows, columns);
            for (int64_t r = rows.first; r < rows.stop; r++)
                for (int64_t c = columns.first; c < columns.stop; c++) gx[r * p->w + c] += share;
        }
    }
}

#endif
