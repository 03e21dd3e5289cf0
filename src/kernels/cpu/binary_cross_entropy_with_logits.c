/* binary_cross_entropy_with_logits - loss = sum max(z, 0) - z t + log(1 + e^-|z|).
 * gz = (sigmoid(z) - t) g;  gt = -z g.
 * Shapes   z, t (any), equal; t in [0, 1]; loss ().   Cost  1 read of each, 1 exponential, 1
 * logarithm. Deterministic: yes, see loss_sum.h. */
#ifndef REAL
#include "pair_loss.h"

#define REAL_FILE "binary_cross_entropy_with_logits.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    return pair_loss_forward(args, 0, REAL_PICK(args->in[0].dtype, forward_chunk));
}

static quern_status backward(const quern_kernel_args *args) {
    return pair_loss_backward(args, 0, REAL_PICK(args->in[0].dtype, backward_chunk));
}

const quern_kernel quern_cpu_binary_cross_entropy_with_logits = {pair_loss_plan, forward, backward,
                                                                 NULL};

#else

/* log(1 + e) for 0 <= e <= 1 without losing a small e: what 1 + e rounds away is divided out
 * (Higham, "Accuracy and stability of numerical algorithms", section 1.14.1). */
static inline REAL REAL_NAME(log_one_plus)(REAL e) {
    const REAL u = 1 + e, step = u - 1;
    const REAL scaled = REAL_NAME(log)(u) * (e / (step == 0 ? 1 : step));
    return step == 0 ? e : scaled;
}

static inline REAL REAL_NAME(value)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    const REAL e = REAL_NAME(exp)(p > 0 ? -p : p);
    return (p > 0 ? p : 0) - p * t + REAL_NAME(log_one_plus)(e);
}

static inline REAL REAL_NAME(slope)(REAL p, REAL t, REAL parameter) {
    (void)parameter;
    return REAL_NAME(sigmoid)(p) - t;
}

static inline REAL REAL_NAME(target_slope)(REAL p, REAL t, REAL parameter) {
    (void)t;
    (void)parameter;
    return -p;
}

#include "pair_loss_real.h"

#endif
