/* reduce_op.h - what sum, mean, max and min share: y is a fold of x over axes, and backward spreads
 * gy over them again.
 * Attributes, resolved: `axes` ascending, all listed, axis_count >= 0. No axes at all (a scalar x):
 * y = x.
 * Cost: forward reads x once; backward reads gy (max, min: and x) and writes gx once.
 * Deterministic: yes, in the order of reduce.h; a spread has no sum. */
#ifndef QUERN_KERNELS_CPU_REDUCE_OP_H
#define QUERN_KERNELS_CPU_REDUCE_OP_H

#include "reduce.h"

/* max and min: backward counts the equals in its scratch. */
QUERN_MUST_CHECK quern_status reduce_op_plan(quern_kernel_plan *plan);
QUERN_MUST_CHECK quern_status reduce_op_plan_extreme(quern_kernel_plan *plan);

void reduce_op_forward(const quern_kernel_args *args, reduce_fold fold, double scale);

/* gx = factor gy of its target. */
void reduce_op_spread(const quern_kernel_args *args, double factor);

/* gx = gy / (number of x equal to y) where x equals y, else 0. NaN equals NaN here, so that a NaN
 * that won forward gets the gradient. */
void reduce_op_share(const quern_kernel_args *args);

/* Terms of one y. */
int64_t reduce_op_terms(const quern_view *x, const quern_view *y);

#endif
