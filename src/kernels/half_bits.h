/* half_bits.h - the 16-bit reals as bits, once for both compilers: BF16 (8 bits of exponent, 7 of
 * mantissa) and F16 (5 and 10). Widening to F32 is exact. Rounding from F32 is
 *   to nearest even      as the hardware does: what is too large becomes infinity;
 *   stochastic           up or down, with the chances that make its mean the value itself. `random`
 *                        are 32 even bits; what is too large stays the largest finite number, so
 *                        that no draw makes an infinity.
 * NaN stays NaN, infinities stay, and so does the sign of zero. */
#ifndef QUERN_KERNELS_HALF_BITS_H
#define QUERN_KERNELS_HALF_BITS_H

#include "../host/base/random.h"
#include <quern/kernel.h>
#include <string.h>

static inline QUERN_HD bool half_is(quern_dtype dtype) {
    return dtype == QUERN_BF16 || dtype == QUERN_F16;
}

static inline QUERN_HD uint32_t half_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline QUERN_HD float half_float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* `value` without its last `dropped` bits (1 … 32), after `added` (of that many bits). */
static inline QUERN_HD uint32_t half_cut(uint32_t value, uint32_t dropped, uint32_t added) {
    return (uint32_t)(((uint64_t)value + added) >> dropped);
}

/* What is to be added so that cutting rounds to nearest even. */
static inline QUERN_HD uint32_t half_even(uint32_t value, uint32_t dropped) {
    const uint32_t below = (uint32_t)((UINT64_C(1) << (dropped - 1)) - 1);
    return below + (uint32_t)((uint64_t)value >> dropped & 1);
}

/* The part of `random` that rounds up or down by chance. */
static inline QUERN_HD uint32_t half_chance(uint32_t random, uint32_t dropped) {
    return random >> (32 - dropped);
}

/* The magnitude of a number as the number 2^-dropped of the narrow type's own bits. */
typedef struct half_parts {
    uint32_t value, dropped;
} half_parts;

/* Of a finite magnitude. Below 2^-14 F16 loses a bit at each power of two. */
static inline QUERN_HD half_parts half_parts_f16(uint32_t magnitude) {
    half_parts p = {magnitude - 0x38000000u, 13};
    if (magnitude >= 0x38800000u) return p;
    p.value = (magnitude & 0x7FFFFFu) | 0x800000u;
    p.dropped = 126 - (magnitude >> 23);
    if (p.dropped <= 32) return p;
    p.value = p.dropped < 64 ? p.value >> (p.dropped - 32) : 0;
    p.dropped = 32;
    return p;
}

static inline QUERN_HD half_parts half_parts_of(uint32_t magnitude, quern_dtype dtype) {
    const half_parts wide = {magnitude, 16};
    return dtype == QUERN_BF16 ? wide : half_parts_f16(magnitude);
}

/* Infinity and NaN. */
static inline QUERN_HD uint16_t half_special(uint32_t bits, quern_dtype dtype) {
    const uint32_t sign = bits >> 16 & 0x8000u, mantissa = bits & 0x7FFFFFu;
    const uint32_t infinity = dtype == QUERN_BF16 ? 0x7F80u : 0x7C00u;
    const uint32_t quiet = dtype == QUERN_BF16 ? 0x40u : 0x200u;
    const uint32_t payload = mantissa >> (dtype == QUERN_BF16 ? 16 : 13);
    return (uint16_t)(sign | infinity | (mantissa != 0 ? payload | quiet : 0));
}

static inline QUERN_HD uint16_t half_round(float value, quern_dtype dtype) {
    const uint32_t bits = half_bits_of(value), magnitude = bits & 0x7FFFFFFFu;
    const uint32_t infinity = dtype == QUERN_BF16 ? 0x7F80u : 0x7C00u;
    if (magnitude >= 0x7F800000u) return half_special(bits, dtype);
    const half_parts p = half_parts_of(magnitude, dtype);
    const uint32_t rounded = half_cut(p.value, p.dropped, half_even(p.value, p.dropped));
    return (uint16_t)((bits >> 16 & 0x8000u) | (rounded < infinity ? rounded : infinity));
}

static inline QUERN_HD uint16_t half_round_stochastic(float value, quern_dtype dtype,
                                                      uint32_t random) {
    const uint32_t bits = half_bits_of(value), magnitude = bits & 0x7FFFFFFFu;
    const uint32_t largest = dtype == QUERN_BF16 ? 0x7F7Fu : 0x7BFFu;
    if (magnitude >= 0x7F800000u) return half_special(bits, dtype);
    const half_parts p = half_parts_of(magnitude, dtype);
    const uint32_t rounded = half_cut(p.value, p.dropped, half_chance(random, p.dropped));
    return (uint16_t)((bits >> 16 & 0x8000u) | (rounded < largest ? rounded : largest));
}

static inline QUERN_HD float half_widen(uint16_t half, quern_dtype dtype) {
    const uint32_t bits = half, sign = (bits & 0x8000u) << 16;
    if (dtype == QUERN_BF16) return half_float_of(bits << 16);
    const uint32_t exponent = bits >> 10 & 31u, mantissa = bits & 0x3FFu;
    if (exponent == 31) return half_float_of(sign | 0x7F800000u | mantissa << 13);
    if (exponent != 0) return half_float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    const float small = (float)mantissa * (1.0f / 16777216.0f);
    return half_float_of(sign | half_bits_of(small));
}

#endif
