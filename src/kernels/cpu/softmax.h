/* softmax.h - the launchers of softmax and log_softmax along one axis.
 *
 * With m = max x, e = e^(x - m) and s = sum e over the axis, an op's file defines
 *   KEEP(shifted, e)      what forward stores first: from x - m and e
 *   PREPARE(s)            what it then needs of s
 *   FINISH(kept, p)       y
 *   TERM(g, y)            what backward sums over the axis, giving t
 *   GRADIENT(g, y, t)     gx
 * and ends in SOFTMAX_KERNEL. Sums are in F64 for both types.
 * Along the last axis a row is contiguous; along another, TILE neighbouring columns go together.
 * Cost: forward reads x twice and y once and writes y twice (a row stays in cache), one e^x an
 * element; backward reads y and gy twice and writes gx. Deterministic: yes, fixed lanes and order.
 * Input and output may be the same buffer. */
#ifndef QUERN_KERNELS_CPU_SOFTMAX_H
#define QUERN_KERNELS_CPU_SOFTMAX_H

#include "axis.h"
#include "cpu.h"
#include "real.h"
#include "vector_math.h"

enum { BLOCK = 256, TILE = 64 };

typedef struct softmax_work {
    axis_split split;
    const void *x, *y, *gy;
    void *to; /* y in forward, gx in backward */
    bool accumulate;
} softmax_work;

/* A chunk: some rows along the last axis, or one tile of columns of one outer index. */
typedef struct softmax_part {
    cpu_range rows, columns;
} softmax_part;

static int64_t part_count(const axis_split *s) {
    if (s->inner == 1) return cpu_chunk_count(s->outer, cpu_rows_per_chunk(s->length));
    return s->outer * cpu_chunk_count(s->inner, TILE);
}

static softmax_part part_of(const axis_split *s, int64_t chunk) {
    if (s->inner == 1)
        return (softmax_part){cpu_chunk_range(chunk, cpu_rows_per_chunk(s->length), s->outer),
                              {0, 1}};
    const int64_t tiles = cpu_chunk_count(s->inner, TILE), row = chunk / tiles;
    return (softmax_part){{row, row + 1}, cpu_chunk_range(chunk % tiles, TILE, s->inner)};
}

#define REAL_FILE "softmax_loops.h"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    const quern_axis_desc *d = args->attributes;
    const quern_view *x = &args->in[0];
    softmax_work work = {.split = axis_split_of(x, d->axis), .x = x->data, .to = args->out[0].data};
    quern_cpu_parallel(args->stream, part_count(&work.split), REAL_PICK(x->dtype, forward_chunk),
                       &work);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const quern_axis_desc *d = args->attributes;
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    softmax_work work = {.split = axis_split_of(gx, d->axis),
                         .y = args->out[0].data,
                         .gy = args->grad_out[0].data,
                         .to = gx->data,
                         .accumulate = args->accumulate[0]};
    quern_cpu_parallel(args->stream, part_count(&work.split), REAL_PICK(gx->dtype, backward_chunk),
                       &work);
    return QUERN_OK;
}

#define SOFTMAX_KERNEL                                                                             \
    { .plan = real_plan, .forward = forward, .backward = backward }

#endif
