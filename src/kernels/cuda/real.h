/* real.h - the types that kernels compute with: F32 and F64 as they are, F16 and BF16 as storage of
 * numbers that are F32 while they are computed with. */
#ifndef QUERN_KERNELS_CUDA_REAL_H
#define QUERN_KERNELS_CUDA_REAL_H

#include "launch.h"

template <typename T> struct real_of { typedef T type; };
template <> struct real_of<__half> { typedef float type; };
template <> struct real_of<__nv_bfloat16> { typedef float type; };
/* What a T is computed as. */
template <typename T> using real = typename real_of<T>::type;

static inline const char *dtype_name(quern_dtype dtype) {
#define X(name, bytes, text)                                                                       \
    if (dtype == QUERN_##name) return text;
    QUERN_DTYPE_LIST(X)
#undef X
    return "an unknown type";
}

static inline size_t dtype_bytes(quern_dtype dtype) {
#define X(name, bytes, text)                                                                       \
    if (dtype == QUERN_##name) return bytes;
    QUERN_DTYPE_LIST(X)
#undef X
    return 0;
}

static inline bool dtype_is_real(quern_dtype dtype) {
    return dtype == QUERN_F32 || dtype == QUERN_F64 || dtype == QUERN_F16 || dtype == QUERN_BF16;
}

static inline quern_status real_check(quern_dtype dtype) {
    if (dtype_is_real(dtype)) return QUERN_OK;
    return cuda_fail(QUERN_UNSUPPORTED, "CUDA computes this op in F32, F64, F16 and BF16, not %s",
                     dtype_name(dtype));
}

/* A plan for kernels that need no scratch and save nothing. */
static inline quern_status real_plan(quern_kernel_plan *plan) {
    return real_check(plan->args->in[0].dtype);
}

/* f(T()) for the type of that name: real_dispatch(dtype, [&](auto zero) {
 * typedef decltype(zero) T; … }). */
template <typename F> quern_status real_dispatch(quern_dtype dtype, F f) {
    switch ((int)dtype) {
    case QUERN_F32: return f(float());
    case QUERN_F64: return f(double());
    case QUERN_F16: return f(__half());
    case QUERN_BF16: return f(__nv_bfloat16());
    default: return real_check(dtype);
    }
}

/* The bytes of `count` elements; SHAPE when they do not fit. */
static inline quern_status bytes_of(int64_t count, size_t element_bytes, size_t *out) {
    if (!__builtin_mul_overflow((size_t)count, element_bytes, out)) return QUERN_OK;
    return cuda_fail(QUERN_SHAPE, "%lld elements' bytes do not fit in 64 bits", (long long)count);
}

#endif
