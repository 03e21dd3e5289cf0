/* pair_loss.h - losses that are a sum of value(p, t) over equal shapes.
 *
 * Such a loss's file defines, for each REAL, REAL_NAME(value)(p, t, parameter) and its derivatives
 * REAL_NAME(slope) in p and REAL_NAME(target_slope) in t, then includes pair_loss_real.h for the
 * loops. The parameter is the attributes' one number, where there is one. */
#ifndef QUERN_KERNELS_CPU_PAIR_LOSS_H
#define QUERN_KERNELS_CPU_PAIR_LOSS_H

#include "loss_sum.h"
#include "sums.h"
#include "vector_math.h"

typedef struct pair_loss_work {
    const quern_kernel_args *args;
    double parameter;
} pair_loss_work;

static inline quern_status pair_loss_plan(quern_kernel_plan *plan) {
    QUERN_TRY(real_check(plan->args));
    return loss_plan(plan, cpu_chunk_count(plan->args->in[0].count, CPU_CHUNK));
}

static inline quern_status pair_loss_forward(const quern_kernel_args *args, double parameter,
                                             cpu_body body) {
    pair_loss_work w = {args, parameter};
    cpu_parallel(args->stream, args->in[0].count, body, &w);
    loss_add_chunks(args, cpu_chunk_count(args->in[0].count, CPU_CHUNK));
    return QUERN_OK;
}

static inline quern_status pair_loss_backward(const quern_kernel_args *args, double parameter,
                                              cpu_body body) {
    pair_loss_work w = {args, parameter};
    cpu_parallel(args->stream, args->in[0].count, body, &w);
    return QUERN_OK;
}

#endif
