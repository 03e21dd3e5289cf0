/* real.h - what every kernel written over REAL (each_real.h) needs at its launcher. */
#ifndef QUERN_KERNELS_CPU_REAL_H
#define QUERN_KERNELS_CPU_REAL_H

#include "../../host/base/report.h"
#include "../kernel.h"

/* name_f32 or name_f64. */
#define REAL_PICK(dtype, name) ((dtype) == QUERN_F32 ? name##_f32 : name##_f64)

/* The first input decides; the shape rules have already made the others agree with it. */
static inline quern_status real_check(const quern_kernel_args *args) {
    const quern_dtype dtype = args->in[0].dtype;
    if (dtype == QUERN_F32 || dtype == QUERN_F64) return QUERN_OK;
    return quern_fail(QUERN_UNSUPPORTED, "the CPU computes this op in F32 and F64, not %s",
                      quern_dtype_name(dtype));
}

/* A plan for kernels that need no scratch and save nothing. */
static inline quern_status real_plan(quern_kernel_plan *plan) { return real_check(plan->args); }

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
