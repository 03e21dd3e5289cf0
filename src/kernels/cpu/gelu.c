/* gelu - y = x Phi(x), Phi the standard normal distribution function;
 *        gx = gy (Phi(x) + x phi(x)), phi its density.
 * With `tanh`: y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3);
 *        gx = gy ((1 + t) / 2 + x (1 - t^2) u' / 2), t = tanh u,
 *        u' = sqrt(2 / pi) (1 + 0.134145 x^2).
 * Source: Hendrycks & Gimpel 2016, section 2. Deterministic: yes, no reduction.
 * F32: vector_math.h; the negative tail of the exact form is accurate relative to itself. */
#ifndef REAL
#include "cpu.h"
#include "real.h"
#include "vector_math.h"

enum { BLOCK = 256 }; /* slopes held on the stack */

/* One loop a form: a choice inside the loop would keep it from being vectorised. */
#define MAP(name, expression)                                                                      \
    static void name(const REAL *from, REAL *to, int64_t count) {                                  \
        VECTOR_LOOP                                                                                \
        for (int64_t i = 0; i < count; i++) {                                                      \
            const REAL x = from[i];                                                                \
            to[i] = expression;                                                                    \
        }                                                                                          \
    }

#define REAL_FILE "gelu.c"
#include "each_real.h"

static quern_status forward(const quern_kernel_args *args) {
    quern_kernel_args local = *args;
    cpu_parallel(args->stream, args->out[0].count, REAL_PICK(args->in[0].dtype, forward_chunk),
                 &local);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    quern_kernel_args local = *args;
    if (args->grad_in[0].data == NULL) return QUERN_OK;
    cpu_parallel(args->stream, args->grad_in[0].count,
                 REAL_PICK(args->grad_in[0].dtype, backward_chunk), &local);
    return QUERN_OK;
}

const quern_kernel quern_cpu_gelu = {.plan = real_plan, .forward = forward, .backward = backward};

#else

static inline REAL REAL_NAME(value_tanh)(REAL x) {
    const REAL u = (REAL)0.79788456080286535588 * (x + (REAL)0.044715 * (x * x * x));
    return (REAL)0.5 * x * ((REAL)1 + REAL_NAME(tanh)(u));
}

static inline REAL REAL_NAME(slope_tanh)(REAL x) {
    const REAL root = (REAL)0.79788456080286535588; /* sqrt(2 / pi) */
    const REAL t = REAL_NAME(tanh)(root * (x + (REAL)0.044715 * (x * x * x)));
    const REAL du = root * ((REAL)1 + (REAL)0.134145 * (x * x));
    return (REAL)0.5 * ((REAL)1 + t) + (REAL)0.5 * x * ((REAL)1 - t * t) * du;
}

MAP(REAL_NAME(values_tanh), REAL_NAME(value_tanh)(x))
MAP(REAL_NAME(slopes_tanh), REAL_NAME(slope_tanh)(x))
MAP(REAL_NAME(values_exact), x *REAL_NAME(normal_cdf)(x))
MAP(REAL_NAME(slopes_exact), REAL_NAME(normal_cdf)(x) + x * REAL_NAME(normal_density)(x))

static void REAL_NAME(forward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const quern_gelu_desc *d = args->attributes;
    const cpu_range range = cpu_parallel_range(chunk, args->out[0].count);
    const REAL *x = (const REAL *)args->in[0].data + range.start;
    REAL *y = (REAL *)args->out[0].data + range.start;
    if (d->tanh)
        REAL_NAME(values_tanh)(x, y, range.end - range.start);
    else
        REAL_NAME(values_exact)(x, y, range.end - range.start);
}

static void REAL_NAME(backward_chunk)(void *context, int64_t chunk) {
    const quern_kernel_args *args = context;
    const quern_gelu_desc *d = args->attributes;
    const cpu_range range = cpu_parallel_range(chunk, args->grad_in[0].count);
    const REAL *x = args->in[0].data, *gy = args->grad_out[0].data;
    REAL *gx = args->grad_in[0].data, slope[BLOCK];
    const bool accumulate = args->accumulate[0];
    for (int64_t start = range.start; start < range.end; start += BLOCK) {
        const int64_t count = cpu_min(BLOCK, range.end - start);
        if (d->tanh)
            REAL_NAME(slopes_tanh)(x + start, slope, count);
        else
            REAL_NAME(slopes_exact)(x + start, slope, count);
        VECTOR_LOOP
        for (int64_t i = 0; i < count; i++) {
            const REAL g = gy[start + i] * slope[i];
            gx[start + i] = accumulate ? gx[start + i] + g : g;
        }
    }
}

#endif
