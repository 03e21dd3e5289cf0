/* mse - loss = sum (p - t)^2;  gp = 2 (p - t) g;  gt = -gp.
 * Shapes   p, t (any), equal; loss ().   Cost  1 read of each.
 * Deterministic: yes, see loss_sum.h. */
#ifndef REAL
#include "pair_loss.h"

#define REAL_FILE "mse.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    return pair_loss_forward(args, 0, REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    return pair_loss_backward(args, 0, REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_mse = {pair_loss_plan, forward, backward, NULL};

#else

static inline REAL REAL_NAME(value)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    return (p - t) * (p - t);
}

static inline REAL REAL_NAME(slope)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    return 2 * (p - t);
}

static inline REAL REAL_NAME(target_slope)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    return 2 * (t - p);
}

#include "pair_loss_real.h"

#endif
