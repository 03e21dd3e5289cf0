/* l1 - loss = sum |p - t|;  gp = sign(p - t) g, 0 where equal;  gt = -gp.
 * Shapes   p, t (any), equal; loss ().   Cost  1 read of each.
 * Deterministic: yes, see loss_sum.h. */
#ifndef REAL
#include "pair_loss.h"

#define REAL_FILE "l1.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    return pair_loss_forward(args, 0, REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    return pair_loss_backward(args, 0, REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_l1 = {pair_loss_plan, forward, backward, NULL};

#else

static inline REAL REAL_NAME(value)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    const REAL d = p - t;
    return d < 0 ? -d : d;
}

static inline REAL REAL_NAME(slope)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    const REAL d = p - t;
    return d > 0 ? 1 : (d < 0 ? -1 : d); /* 0, or NaN */
}

static inline REAL REAL_NAME(target_slope)(REAL p, REAL t, REAL parameter) {
    return -REAL_NAME(slope)(p, t, parameter);
}

#include "pair_loss_real.h"

#endif
