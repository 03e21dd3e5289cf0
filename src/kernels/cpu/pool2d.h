/* pool2d.h - the windows of a pool: what max_pool2d and avg_pool2d share. A plane is one channel of
 * one image; chunks are whole planes, so each writes only its own. */
#ifndef QUERN_KERNELS_CPU_POOL2D_H
#define QUERN_KERNELS_CPU_POOL2D_H

#include "cpu.h"
#include "real.h"

typedef struct pool_work {
    const quern_kernel_args *args;
    quern_pool2d_desc desc;
    int64_t planes, h, w, oh, ow;
    int64_t planes_per_chunk;
} pool_work;

/* The part of a window that lies inside the image, along one axis. */
typedef struct pool_span {
    int64_t first, stop;
} pool_span;

static inline pool_work pool_work_of(const quern_kernel_args *args) {
    const int64_t *x = args->in[0].dim, *y = args->out[0].dim;
    pool_work p = {.args = args, .desc = *(const quern_pool2d_desc *)args->attributes};
    p.planes = x[0] * x[1];
    p.h = x[2], p.w = x[3], p.oh = y[2], p.ow = y[3];
    p.planes_per_chunk = cpu_rows_per_chunk(p.h * p.w);
    return p;
}

static inline pool_span pool_span_of(const pool_work *p, int axis, int64_t at) {
    const int64_t start = at * p->desc.stride[axis] - p->desc.padding[axis];
    return (pool_span){larger(start, 0),
                       smaller(start + p->desc.window[axis], axis == 0 ? p->h : p->w)};
}

static inline void pool_run_planes(const pool_work *p, cpu_body body) {
    quern_cpu_parallel(p->args->stream, cpu_chunk_count(p->planes, p->planes_per_chunk), body,
                       (void *)(uintptr_t)p);
}

#endif
