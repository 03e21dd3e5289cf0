/* test_half.c - the conversions of src/kernels/half_bits.h: every 16-bit pattern, every tie between
 * two neighbours and its neighbours in F32, against the tests' own (half.c); and that rounding by
 * chance is on average no rounding at all. */
#include "kernels/half_bits.h"

#include "half.h"
#include "quern_test.h"
#include <math.h>
#include <string.h>

static float widen_oracle(uint16_t bits, quern_dtype dtype) {
    return dtype == QUERN_F16 ? half_value(bits) : bfloat16_value(bits);
}

static uint16_t round_oracle(float value, quern_dtype dtype) {
    return dtype == QUERN_F16 ? half_bits(value) : bfloat16_bits(value);
}

static bool same(float a, float b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static bool same_half(uint16_t a, uint16_t b, quern_dtype dtype) {
    return a == b || (isnan(widen_oracle(a, dtype)) && isnan(widen_oracle(b, dtype)));
}

static void check_every_pattern(quern_dtype dtype) {
    int64_t wrong = 0;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float value = half_widen((uint16_t)bits, dtype);
        wrong += !same(value, widen_oracle((uint16_t)bits, dtype));
        wrong += !same_half(half_round(value, dtype), (uint16_t)bits, dtype);
        wrong +=
            !same_half(half_round_stochastic(value, dtype, 0xFFFFFFFFu), (uint16_t)bits, dtype);
        wrong += isnan(value) && (signbit(value) != 0) != (bits >> 15 != 0);
    }
    CHECK_SAY(wrong == 0, "%s: %d of 65536", quern_dtype_name(dtype), (int)wrong);
}

TEST_CASE(Half, widening_is_exact_and_rounding_gives_every_pattern_back) {
    check_every_pattern(QUERN_BF16);
    check_every_pattern(QUERN_F16);
}

/* Between one finite number and the next larger one: the middle, and F32's neighbours of it. */
static void check_ties(quern_dtype dtype, uint32_t largest) {
    int64_t wrong = 0;
    for (uint32_t bits = 0; bits < largest; bits++) {
        const double low = (double)half_widen((uint16_t)bits, dtype);
        const double high = (double)half_widen((uint16_t)(bits + 1), dtype);
        const float middle = (float)((low + high) / 2);
        const float at[] = {middle, nextafterf(middle, 0), nextafterf(middle, INFINITY)};
        for (int i = 0; i < 3; i++) {
            wrong += half_round(at[i], dtype) != round_oracle(at[i], dtype);
            wrong += half_round(-at[i], dtype) != round_oracle(-at[i], dtype);
        }
        const uint16_t even = (uint16_t)(bits + (bits & 1));
        wrong += half_round(middle, dtype) != even;
        wrong += half_round(at[1], dtype) != bits && middle != at[1];
    }
    CHECK_SAY(wrong == 0, "%s: %d", quern_dtype_name(dtype), (int)wrong);
}

TEST_CASE(Half, ties_go_to_even_and_everything_else_to_the_nearest) {
    check_ties(QUERN_BF16, 0x7F7F);
    check_ties(QUERN_F16, 0x7BFF);
}

TEST_CASE(Half, any_float_is_rounded_as_the_oracle_does) {
    const random_key key = {.seed = 7};
    int64_t wrong = 0;
    for (int64_t i = 0; i < 2000000; i++) {
        const float value = half_float_of(random_u32(&key, i));
        for (int k = 0; k < 2; k++) {
            const quern_dtype dtype = k ? QUERN_BF16 : QUERN_F16;
            wrong += !same_half(half_round(value, dtype), round_oracle(value, dtype), dtype);
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE(Half, what_is_too_large_is_infinity_to_nearest_and_the_largest_by_chance) {
    CHECK(half_round(65519.9f, QUERN_F16) == 0x7BFF);
    CHECK(half_round(65520.0f, QUERN_F16) == 0x7C00);
    CHECK(half_round(-1e30f, QUERN_F16) == 0xFC00);
    CHECK(half_round(3.4e38f, QUERN_BF16) == 0x7F80);
    CHECK(half_round_stochastic(65535.0f, QUERN_F16, 0xFFFFFFFFu) == 0x7BFF);
    CHECK(half_round_stochastic(-1e30f, QUERN_F16, 0xFFFFFFFFu) == 0xFBFF);
    CHECK(half_round_stochastic(3.4e38f, QUERN_BF16, 0xFFFFFFFFu) == 0x7F7F);
    CHECK(half_round_stochastic(INFINITY, QUERN_F16, 0) == 0x7C00);
    CHECK(isnan(half_widen(half_round_stochastic(NAN, QUERN_BF16, 0xFFFFFFFFu), QUERN_BF16)));
}

/* The mean of n draws lies within 5 of its own standard deviations of the value: a draw is one of
 * two neighbours `step` apart, so its variance is at most step^2 / 4. */
static void check_unbiased(float value, quern_dtype dtype) {
    enum { DRAWS = 200000 };
    const random_key key = {.seed = 11, .purpose = 9, .attempt = (int64_t)half_bits_of(value)};
    double sum = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < DRAWS; i++) {
        const double y =
            (double)half_widen(half_round_stochastic(value, dtype, random_u32(&key, i)), dtype);
        sum += y;
        low = fmin(low, y);
        high = fmax(high, y);
    }
    const double p = high > low ? ((double)value - low) / (high - low) : 0;
    const double deviation = (high - low) * sqrt(p * (1 - p) / DRAWS);
    CHECK_SAY(fabs(sum / DRAWS - (double)value) <= 5 * deviation + 1e-12 * fabs((double)value),
              "%s: %.9g becomes %.9g on average (%.9g or %.9g)", quern_dtype_name(dtype),
              (double)value, sum / DRAWS, low, high);
    const double nearest = (double)half_widen(half_round(value, dtype), dtype);
    CHECK(low == nearest || high == nearest);
}

TEST_CASE(Half, rounding_by_chance_is_unbiased) {
    static const float values[] = {1.0009f, -1.0039f, 0.3333333f, 123.456f,
                                   -7e-5f,  6.1e-6f,  3e-8f,      0.99999f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        check_unbiased(values[i], QUERN_BF16);
        check_unbiased(values[i], QUERN_F16);
    }
}
