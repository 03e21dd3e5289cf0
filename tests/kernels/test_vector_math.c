/* test_vector_math.c - the F32 functions against F64, in units in the last place, over every
 * 509th of all 2^32 floats: both signs, denormals, infinities and NaN among them. */
#include "kernels/cpu/vector_math.h"
#include "quern_test.h"

#define SWEEP_STEP 509

/* |found - expected| in units of the last place of the F32 nearest `expected`; 0 where the F32 is
 * the same, NaN included; huge where one of them is NaN or infinite alone. */
static double ulps(float found, double expected) {
    const float nearest = (float)expected;
    int exponent = 0;
    if (nearest != nearest) return found != found ? 0 : 1e30;
    if (found == nearest) return 0;
    if (isinf(nearest) || isinf(found) || found != found) return 1e30;
    (void)frexp((double)nearest, &exponent);
    return fabs((double)found - expected) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static void sweep(const char *name, float (*f32)(float), double (*f64)(double), double allowed) {
    double worst = 0;
    float worst_at = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += SWEEP_STEP) {
        const float x = float_from_bits((uint32_t)bits);
        const double error = ulps(f32(x), f64((double)x));
        if (!(error <= worst)) worst = error, worst_at = x;
    }
    CHECK_SAY(worst <= allowed, "%s is off by %.3f ulp at %g, allowed %g", name, worst,
              (double)worst_at, allowed);
}

TEST_CASE(VectorMath, exp_is_within_1_ulp) { sweep("exp_f32", exp_f32, exp_f64, 1); }
TEST_CASE(VectorMath, log_is_within_1_ulp) { sweep("log_f32", log_f32, log_f64, 1); }
TEST_CASE(VectorMath, tanh_is_within_2_ulp) { sweep("tanh_f32", tanh_f32, tanh_f64, 2); }
TEST_CASE(VectorMath, sigmoid_is_within_3_ulp) {
    sweep("sigmoid_f32", sigmoid_f32, sigmoid_f64, 3);
}
TEST_CASE(VectorMath, normal_cdf_is_within_6_ulp) {
    sweep("normal_cdf_f32", normal_cdf_f32, normal_cdf_f64, 6);
}

TEST_CASE(VectorMath, special_values_are_those_of_libm) {
    CHECK(exp_f32(-INFINITY) == 0 && exp_f32(INFINITY) == INFINITY && exp_f32(0) == 1);
    CHECK(exp_f32(88.7f) < INFINITY && exp_f32(88.73f) == INFINITY);
    CHECK(isnan(exp_f32(NAN)) && isnan(log_f32(NAN)) && isnan(log_f32(-1)));
    CHECK(log_f32(0) == -INFINITY && log_f32(INFINITY) == INFINITY && log_f32(1) == 0);
    CHECK(tanh_f32(INFINITY) == 1 && tanh_f32(-INFINITY) == -1 && isnan(tanh_f32(NAN)));
    CHECK(signbit(tanh_f32(-0.0f)) != 0);
    CHECK(sigmoid_f32(INFINITY) == 1 && sigmoid_f32(-INFINITY) == 0 && isnan(sigmoid_f32(NAN)));
    CHECK(normal_cdf_f32(INFINITY) == 1 && normal_cdf_f32(-INFINITY) == 0);
    CHECK(isnan(normal_cdf_f32(NAN)) && normal_cdf_f32(0) == 0.5f);
}
