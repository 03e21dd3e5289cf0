/* vector_math.h - elementary functions that the compiler can vectorise, and their F64 names.
 *
 * libm's expf is a call per element; these are straight-line code without branches, tables or
 * calls, so a loop over them becomes SIMD code. No FMA is asked for, so every machine gives the
 * same bits. For F32 the largest errors, over the dense sweep of tests/kernels/vector_math.c:
 *   exp_f32 1 ulp, log_f32 1 ulp, tanh_f32 2 ulp, sigmoid_f32 3 ulp, normal_cdf_f32 6 ulp,
 * and special values (NaN, infinities, overflow) are libm's. Results below FLT_MIN: exp_f32 and
 * normal_cdf_f32 round into the denormals and to 0; sigmoid_f32 has the exact e^x there.
 * F64 is libm itself: it is the reference, not the fast path.
 *
 * Sources: argument reduction and minimax polynomials after S. Moshier, Cephes (expf, logf,
 * tanhf); the scaled erfc after M. Shepherd & J. Laframboise, Math. Comp. 36 (1981), with a
 * Chebyshev interpolant of our own. */
#ifndef QUERN_KERNELS_CPU_VECTOR_MATH_H
#define QUERN_KERNELS_CPU_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The body of the loop that follows reads and writes index i only: input and output may be the
 * same buffer, which the compiler would otherwise have to treat as overlapping. */
#if defined(__clang__)
#define VECTOR_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTOR_LOOP _Pragma("GCC ivdep")
#endif

static inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float copysign_f32(float magnitude, float sign) {
    return float_from_bits((float_bits(magnitude) & 0x7FFFFFFFu) |
                           (float_bits(sign) & 0x80000000u));
}

/* e^(x + small), |small| < 0.1: the second term is what did not fit into x. */
static inline float exp_sum_f32(float x, float small) {
    const float round = 12582912.0f;             /* 1.5 * 2^23: adding it rounds to an integer */
    const float low = x < -104.0f ? -104.0f : x; /* below: 0; NaN passes */
    const float bounded = low > 89.0f ? 89.0f : low; /* above: infinity */
    const float shifted = bounded * 1.44269504f + round;
    const float n = shifted - round;
    const uint32_t power = float_bits(shifted) - float_bits(round);
    /* r = x - n ln 2 in two parts, the first exact */
    const float r = ((bounded - n * 0.693359375f) - n * -2.12194440e-4f) + small;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = (p * (r * r) + r) + 1.0f;
    /* 2^power in two factors: each is normal, their product may overflow or be denormal */
    const uint32_t half = (uint32_t)((int32_t)power >> 1);
    const float first = float_from_bits((half + 127u) << 23);
    const float second = float_from_bits((power - half + 127u) << 23);
    return y * first * second;
}

static inline float exp_f32(float x) { return exp_sum_f32(x, 0.0f); }

static inline float log_f32(float x) {
    const float normal = x < 1.17549435e-38f ? x * 8388608.0f : x; /* denormals times 2^23 */
    const float bias = x < 1.17549435e-38f ? -23.0f : 0.0f;
    /* x = m 2^e with m in [sqrt 1/2, sqrt 2) */
    const uint32_t shifted = float_bits(normal) - 0x3F3504F3u;
    const int32_t e = (int32_t)shifted >> 23;
    const float m = float_from_bits((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    const float n = (float)e + bias;
    const float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float tail = (p * m * z + n * -2.12194440e-4f) - 0.5f * z;
    const float finite = (m + tail) + n * 0.693359375f;
    const float positive = x > 3.40282347e+38f ? x : finite; /* infinity */
    const float other = x < 0.0f ? NAN : (x == 0.0f ? -INFINITY : x);
    return x > 0.0f ? positive : other; /* NaN comes back as itself */
}

static inline float tanh_f32(float x) {
    const float a = fabsf(x);
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float small = copysign_f32(p * z * x + x, x); /* -0 stays -0 */
    const float large = copysign_f32(1.0f - 2.0f / (exp_f32(a + a) + 1.0f), x);
    return a < 0.625f ? small : (a >= 0.625f ? large : x);
}

/* 1 / (1 + e^-x), without cancellation on either side. */
static inline float sigmoid_f32(float x) {
    const float e = exp_f32(-fabsf(x));
    const float numerator = x < 0.0f ? e : 1.0f;
    return numerator / (1.0f + e);
}

/* Phi(x), the standard normal distribution function: erfc(-x / sqrt 2) / 2. Both tails are
 * accurate relative to themselves: with z = |x| / sqrt 2, erfc(z) = e^(-z^2) w(q) / (1 + 2z),
 * q = (z - 3) / (z + 3), where w is smooth. */
static inline float normal_cdf_f32(float x) {
    const float magnitude = fabsf(x) * 0.707106781f;
    const float z = magnitude > 10.1f ? 10.1f : magnitude; /* e^-102 is 0 in F32 */
    const float q = (z - 3.0f) / (z + 3.0f);
    float w = -0.000277326913f;
    w = w * q - 0.000798339116f;
    w = w * q + 0.00199447461f;
    w = w * q + 0.00257943468f;
    w = w * q - 0.0237902342f;
    w = w * q + 0.0682935098f;
    w = w * q - 0.119272653f;
    w = w * q + 0.129646576f;
    w = w * q - 0.0475622805f;
    w = w * q - 0.135621143f;
    w = w * q + 1.25300806f;
    const float a = fabsf(x);
    const float bounded = a > 14.3f ? 14.3f : a;
    /* x^2 / 2 in two parts, the first exact, because an error in it is one of the exponent */
    const float high = float_from_bits(float_bits(bounded) & 0xFFFFF000u);
    const float rest = (bounded - high) * (bounded + high);
    const float tail =
        0.5f * exp_sum_f32(-0.5f * (high * high), -0.5f * rest) * (w / (1.0f + 2.0f * z));
    const float y = x < 0.0f ? tail : 1.0f - tail;
    return x == x ? y : x;
}

/* d Phi / dx = e^(-x^2 / 2) / sqrt(2 pi) */
static inline float normal_density_f32(float x) { return 0.398942280f * exp_f32(-0.5f * x * x); }

static inline float pow_f32(float x, float y) { return powf(x, y); }
static inline float sqrt_f32(float x) { return sqrtf(x); }

static inline double exp_f64(double x) { return exp(x); }
static inline double log_f64(double x) { return log(x); }
static inline double tanh_f64(double x) { return tanh(x); }
static inline double pow_f64(double x, double y) { return pow(x, y); }
static inline double sqrt_f64(double x) { return sqrt(x); }

static inline double sigmoid_f64(double x) {
    const double e = exp(-fabs(x));
    return (x < 0 ? e : 1.0) / (1.0 + e);
}

static inline double normal_cdf_f64(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }

static inline double normal_density_f64(double x) {
    return 0.39894228040143267794 * exp(-0.5 * x * x);
}

#endif
