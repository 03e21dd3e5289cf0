/* gelu - y = x Phi(x), Phi the standard normal distribution function;
 *        gx = gy (Phi(x) + x phi(x)), phi its density.
 * With `tanh`: y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3);
 *        gx = gy ((1 + t) / 2 + x (1 - t^2) u' / 2), t = tanh u,
 *        u' = sqrt(2 / pi) (1 + 0.134145 x^2).
 * Source: Hendrycks & Gimpel 2016, section 2. Shapes and cost: unary.h. */
#include "gelu.h"

#include "unary.h"

namespace {

struct op {
    typedef quern_gelu_desc attributes;
    static constexpr unary_reads READS = READS_X;

    template <typename R> static __device__ R bent(R x) { /* tanh u */
        return tanh((R)0.79788456080286535588 * (x + (R)0.044715 * (x * x * x)));
    }

    template <typename R> static __device__ R value(R x, const attributes &p) {
        return p.tanh ? (R)0.5 * x * ((R)1 + bent(x)) : x * normal_cdf(x);
    }

    template <typename R> static __device__ R gradient(R g, R x, const attributes &p) {
        if (!p.tanh) return g * (normal_cdf(x) + x * normal_density(x));
        const R t = bent(x), du = (R)0.79788456080286535588 * ((R)1 + (R)0.134145 * (x * x));
        return g * ((R)0.5 * ((R)1 + t) + (R)0.5 * x * ((R)1 - t * t) * du);
    }
};

} // namespace

quern_status gelu_values(quern_stream *stream, quern_dtype dtype, int64_t count,
                         const quern_gelu_desc *desc, const void *x, void *to) {
    unary_value<op> value = {};
    value.p = *desc;
    return real_dispatch(dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(stream, count, value, false, (T *)to, (const T *)x);
    });
}

quern_status gelu_gradients(quern_stream *stream, quern_dtype dtype, int64_t count,
                            const quern_gelu_desc *desc, const void *x, const void *g, void *to) {
    unary_gradient<op> gradient = {};
    gradient.p = *desc;
    return real_dispatch(dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(stream, count, gradient, false, (T *)to, (const T *)g, (const T *)x);
    });
}

const quern_kernel quern_cuda_gelu = UNARY_KERNEL(op);
