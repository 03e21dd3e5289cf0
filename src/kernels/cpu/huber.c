/* huber - loss = sum (|d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)), d = p - t.
 * gp = d g within delta, delta sign(d) g outside;  gt = -gp.
 * Shapes   p, t (any), equal; loss ().   Cost  1 read of each.
 * Deterministic: yes, see loss_sum.h. */
#ifndef REAL
#include "pair_loss.h"

#define REAL_FILE "huber.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    return pair_loss_forward(args, (double)((const quern_huber_desc *)args->attributes)->delta,
                             REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    return pair_loss_backward(args, (double)((const quern_huber_desc *)args->attributes)->delta,
                              REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_huber = {pair_loss_plan, forward, backward, NULL};

#else

static inline REAL REAL_NAME(value)(REAL p, REAL t, REAL parameter) {
    const REAL d = p - t, a = d < 0 ? -d : d;
    return a > parameter ? parameter * (a - parameter / 2) : d * d / 2;
}

static inline REAL REAL_NAME(slope)(REAL p, REAL t, REAL parameter) {
    const REAL d = p - t;
    return d > parameter ? parameter : (d < -parameter ? -parameter : d);
}

static inline REAL REAL_NAME(target_slope)(REAL p, REAL t, REAL parameter) {
    return -REAL_NAME(slope)(p, t, parameter);
}

#include "pair_loss_real.h"

#endif
