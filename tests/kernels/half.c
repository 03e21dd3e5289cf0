#include "half.h"

#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float value_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The upper part of `bits`, `dropped` bits rounded off to nearest even. */
static uint32_t round_off(uint32_t bits, uint32_t dropped) {
    const uint32_t half = UINT32_C(1) << (dropped - 1), rest = bits & (2 * half - 1);
    const uint32_t kept = bits >> dropped;
    return kept + (rest > half || (rest == half && (kept & 1) != 0) ? 1 : 0);
}

uint16_t half_bits(float value) {
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7FFFu);  /* NaN */
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* rounds to infinity */
    if (magnitude >= 0x38800000u) return (uint16_t)(sign | round_off(magnitude - 0x38000000u, 13));
    if (magnitude < 0x33000000u) return (uint16_t)sign; /* below half of the smallest */
    const uint32_t shift = 126 - (magnitude >> 23);     /* a denormal: 14 … 24 bits go */
    return (uint16_t)(sign | round_off((magnitude & 0x7FFFFFu) | 0x800000u, shift));
}

float half_value(uint16_t bits) {
    const uint32_t half = bits, sign = (half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 31u, mantissa = half & 0x3FFu;
    if (exponent == 31) return value_of(sign | 0x7F800000u | mantissa << 13);
    if (exponent != 0) return value_of(sign | (exponent + 112) << 23 | mantissa << 13);
    const float small = (float)mantissa * 0x1p-24f;
    return sign != 0 ? -small : small;
}

uint16_t bfloat16_bits(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu; /* NaN */
    return (uint16_t)round_off(bits, 16);
}

float bfloat16_value(uint16_t bits) { return value_of((uint32_t)bits << 16); }
