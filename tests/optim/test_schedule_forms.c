/* test_schedule_forms.c - every schedule against torch.optim.lr_scheduler's formulas, written out
 * here as torch steps them (one rate from the one before), and at its edges. */
#include "quern_test.h"
#include <quern/optim.h>

#include <math.h>

/* Both sides are chains of at most 400 roundings or two calls of cos. */
#define TOL 1e-12

static const double TURN = 3.141592653589793;

static double scale(const quern_schedule *s, int64_t n) { return quern_schedule_scale(s, n); }

/* CosineAnnealingLR.get_lr: the rate of n from that of n - 1. */
static double torch_cosine(double rate, double low, int64_t n, int64_t length) {
    return (1 + cos(TURN * (double)n / (double)length)) /
               (1 + cos(TURN * (double)(n - 1) / (double)length)) * (rate - low) +
           low;
}

TEST_CASE(ScheduleForms, cosine_is_torchs_recursion) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_COSINE, .total = 40, .final_scale = 0.05};
    double rate = 1;
    for (int64_t n = 0; n < 40; n++) {
        if (n > 0) rate = torch_cosine(rate, 0.05, n, 40);
        CHECK_NEAR(scale(&s, n), rate, TOL);
    }
    CHECK(scale(&s, 40) == 0.05 && scale(&s, 41) == 0.05 && scale(&s, INT64_MAX) == 0.05);
}

/* CosineAnnealingWarmRestarts.step: T_cur counts up to T_i, which then grows by T_mult. */
static void check_restarts(int64_t period, int64_t factor, double low) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_COSINE_RESTARTS,
                              .period = period,
                              .period_factor = factor,
                              .final_scale = low};
    int64_t within = 0, length = period, restarts = 0;
    for (int64_t n = 0; n < 400; n++) {
        const double rate = low + (1 - low) * (1 + cos(TURN * (double)within / (double)length)) / 2;
        CHECK_NEAR(scale(&s, n), rate, TOL);
        if (++within < length) continue;
        within = 0;
        length *= factor;
        restarts++;
    }
    CHECK(restarts >= 3);
}

TEST_CASE(ScheduleForms, cosine_restarts_are_torchs_counters) {
    check_restarts(10, 1, 0);
    check_restarts(10, 2, 0.1);
    check_restarts(1, 1, 0.3);
    check_restarts(7, 3, 0);
}

TEST_CASE(ScheduleForms, cosine_restarts_at_its_edges) {
    const quern_schedule s = {
        .kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 4, .period_factor = 2, .warmup = 2};
    CHECK_NEAR(scale(&s, 1), 1, 0);
    CHECK(scale(&s, 2) == 1 && scale(&s, 6) == 1 && scale(&s, 14) == 1 && scale(&s, 30) == 1);
    CHECK_NEAR(scale(&s, 5), 0.5 * (1 + cos(TURN * 0.75)), TOL);
    CHECK_NEAR(scale(&s, 13), 0.5 * (1 + cos(TURN * 7 / 8)), TOL);
    const quern_schedule long_run = {
        .kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 3, .period_factor = INT64_MAX};
    CHECK(scale(&long_run, 3) == 1);
    CHECK(scale(&long_run, INT64_MAX / 1000) > 0.99); /* of the second cycle */
}

/* PolynomialLR.get_lr is a recursion; LinearLR's too. */
TEST_CASE(ScheduleForms, polynomial_is_torchs_recursion) {
    static const double powers[] = {1, 2, 0.5, 0.9};
    for (int i = 0; i < 4; i++) {
        const quern_schedule s = {
            .kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 25, .power = powers[i]};
        double rate = 1;
        for (int64_t n = 0; n < 25; n++) {
            if (n > 0) rate *= pow((1 - (double)n / 25) / (1 - (double)(n - 1) / 25), powers[i]);
            CHECK_NEAR(scale(&s, n), rate, TOL);
        }
        CHECK(scale(&s, 25) == 0 && scale(&s, 26) == 0);
    }
    const quern_schedule floor = {
        .kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 10, .power = 2, .final_scale = 0.2};
    CHECK_NEAR(scale(&floor, 5), 0.2 + 0.8 * 0.25, TOL);
    CHECK(scale(&floor, 10) == 0.2);
}

TEST_CASE(ScheduleForms, linear_is_torchs_recursion) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_LINEAR, .total = 30, .final_scale = 0.25};
    double rate = 1;
    for (int64_t n = 0; n < 40; n++) {
        if (n > 0 && n <= 30) rate *= 1 + (0.25 - 1) / (30 * 1 + (double)(n - 1) * (0.25 - 1));
        CHECK_NEAR(scale(&s, n), rate, TOL);
    }
}

TEST_CASE(ScheduleForms, exponential_step_and_multi_step_are_products) {
    const quern_schedule exponential = {
        .kind = QUERN_SCHEDULE_EXPONENTIAL, .gamma = 0.97, .period = 1};
    const quern_schedule step = {.kind = QUERN_SCHEDULE_STEP, .gamma = 0.7, .period = 6};
    const quern_schedule multi = {.kind = QUERN_SCHEDULE_MULTI_STEP,
                                  .gamma = 0.3,
                                  .milestone_count = 3,
                                  .milestones = {1, 20, 77}};
    double e = 1, st = 1, m = 1;
    for (int64_t n = 0; n < 100; n++) {
        if (n > 0) e *= 0.97;
        if (n > 0 && n % 6 == 0) st *= 0.7;
        if (n == 1 || n == 20 || n == 77) m *= 0.3;
        CHECK_NEAR(scale(&exponential, n), e, TOL);
        CHECK_NEAR(scale(&step, n), st, TOL);
        CHECK_NEAR(scale(&multi, n), m, TOL);
    }
    const quern_schedule slow = {.kind = QUERN_SCHEDULE_EXPONENTIAL, .period = 50};
    CHECK_NEAR(scale(&slow, 25), sqrt(0.1), TOL);
    CHECK_NEAR(scale(&slow, 100), 0.01, TOL);
}

/* OneCycleLR.get_lr with anneal_strategy cos and two phases, max_lr = 1. */
static double torch_one_cycle(int64_t n, double total, double share, double division,
                              double final_division) {
    const double initial = 1 / division, low = initial / final_division;
    const double ends[] = {share * total - 1, total - 1};
    const double from[] = {initial, 1}, to[] = {1, low};
    double start = 0;
    for (int phase = 0; phase < 2; phase++) {
        if ((double)n <= ends[phase] || phase == 1) {
            const double within = ((double)n - start) / (ends[phase] - start);
            const double cosine = cos(TURN * within) + 1;
            return to[phase] + (from[phase] - to[phase]) / 2.0 * cosine;
        }
        start = ends[phase];
    }
    return NAN;
}

static void check_one_cycle(int64_t total, double share, double division, double final_division,
                            const quern_schedule *s) {
    for (int64_t n = 0; n < total; n++)
        CHECK_NEAR(scale(s, n), torch_one_cycle(n, (double)total, share, division, final_division),
                   TOL);
    CHECK_NEAR(scale(s, total), 1 / division / final_division, TOL);
    CHECK_NEAR(scale(s, total + 1000), 1 / division / final_division, TOL);
}

TEST_CASE(ScheduleForms, one_cycle_is_torchs) {
    check_one_cycle(100, 0.3, 25, 1e4,
                    &(quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 100});
    check_one_cycle(37, 0.45, 10, 100,
                    &(quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE,
                                      .total = 37,
                                      .peak = 0.45,
                                      .start_scale = 0.1,
                                      .final_scale = 0.001});
    check_one_cycle(7, 0.2, 25, 1e4,
                    &(quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 7, .peak = 0.2});
    check_one_cycle(12, 0, 25, 1e4,
                    &(quern_schedule){
                        .kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 12, .peak = (double)QUERN_ZERO});
}

TEST_CASE(ScheduleForms, one_cycle_at_its_edges) {
    quern_schedule s = {.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 10, .peak = 1};
    CHECK_NEAR(scale(&s, 0), 0.04, TOL);
    CHECK_NEAR(scale(&s, 9), 1, TOL);
    CHECK_NEAR(scale(&s, 10), 0.04 / 10000, TOL);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 10, .peak = 0.1};
    CHECK_NEAR(scale(&s, 0), 1, TOL); /* the peak is the first update */
    CHECK_NEAR(scale(&s, 9), 0.04 / 10000, TOL);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 1};
    CHECK_NEAR(scale(&s, 0), 0.04 / 10000, TOL);
    s.final_scale = (double)QUERN_ZERO;
    CHECK(scale(&s, 0) == 0 && scale(&s, 1) == 0);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 6, .warmup = 6};
    CHECK(scale(&s, 5) == 1);
    CHECK_NEAR(scale(&s, 6), 0.04 / 10000, TOL);
}

TEST_CASE(ScheduleForms, stable_decay_holds_and_then_falls_in_a_line) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY,
                              .warmup = 4,
                              .total = 24,
                              .decay = 5,
                              .final_scale = 0.1};
    CHECK_NEAR(scale(&s, 0), 0.25, TOL);
    for (int64_t n = 3; n <= 19; n++) CHECK(scale(&s, n) == 1);
    CHECK_NEAR(scale(&s, 20), 1 - 0.9 / 5, TOL);
    CHECK_NEAR(scale(&s, 22), 1 - 0.9 * 3 / 5, TOL);
    CHECK_NEAR(scale(&s, 23), 1 - 0.9 * 4 / 5, TOL);
    CHECK(scale(&s, 24) == 0.1 && scale(&s, 25) == 0.1);
    const quern_schedule tenth = {.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .total = 100};
    CHECK(scale(&tenth, 90) == 1);
    CHECK_NEAR(scale(&tenth, 99), 0.1, TOL);
    const quern_schedule all = {.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .total = 8, .decay = 8};
    CHECK(scale(&all, 0) == 1);
    CHECK_NEAR(scale(&all, 1), 0.875, TOL);
}

/* --- warm-ups --- */

static const quern_schedule behind[] = {
    {.kind = QUERN_SCHEDULE_CONSTANT},
    {.kind = QUERN_SCHEDULE_STEP, .period = 3, .gamma = 0.5},
    {.kind = QUERN_SCHEDULE_MULTI_STEP, .milestone_count = 1, .milestones = {4}},
    {.kind = QUERN_SCHEDULE_EXPONENTIAL, .period = 9},
    {.kind = QUERN_SCHEDULE_LINEAR, .total = 20},
    {.kind = QUERN_SCHEDULE_COSINE, .total = 20},
    {.kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 4},
    {.kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 20, .power = 3},
    {.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 20},
    {.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .total = 20, .decay = 6},
};

/* LinearLR(start_factor, total_iters = warmup - 1), and a geometric row of the same ends. */
static void check_warmup(quern_schedule s, int64_t warmup, double first) {
    const quern_schedule proper = s;
    s.warmup = warmup;
    s.warmup_scale = first;
    if (s.total > 0) s.total += warmup;
    const double start = first > 0 ? first : 1 / (double)warmup;
    const double ratio = pow(start, -1 / (double)(warmup - 1));
    double rate = start;
    for (int64_t n = 0; n < warmup; n++) {
        if (n > 0 && s.warmup_kind == QUERN_WARMUP_EXPONENTIAL) rate *= ratio;
        if (n > 0 && s.warmup_kind == QUERN_WARMUP_LINEAR)
            rate += (1 - start) / (double)(warmup - 1);
        CHECK_NEAR(scale(&s, n), rate, TOL);
    }
    CHECK(scale(&s, warmup - 1) == 1);
    for (int64_t m = 0; m < 40; m++) CHECK(scale(&s, warmup + m) == scale(&proper, m));
}

TEST_CASE(ScheduleForms, either_warmup_goes_before_any_schedule) {
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        quern_schedule s = behind[i];
        check_warmup(s, 5, 0);
        check_warmup(s, 2, 0.001);
        s.warmup_kind = QUERN_WARMUP_EXPONENTIAL;
        check_warmup(s, 7, 0);
        check_warmup(s, 6, 1e-6);
    }
}

TEST_CASE(ScheduleForms, a_warmup_from_zero_or_of_one_update) {
    const quern_schedule zero = {.warmup = 5, .warmup_scale = (double)QUERN_ZERO};
    CHECK(scale(&zero, 0) == 0 && scale(&zero, 4) == 1);
    CHECK_NEAR(scale(&zero, 1), 0.25, TOL);
    const quern_schedule one = {.warmup = 1, .warmup_kind = QUERN_WARMUP_EXPONENTIAL};
    CHECK(scale(&one, 0) == 1 && scale(&one, 1) == 1);
}

static double by_thirds(void *self, int64_t m) {
    *(int64_t *)self = m;
    return m == 9 ? -1 : m == 10 ? (double)INFINITY : 1.0 / (double)(m + 3);
}

TEST_CASE(ScheduleForms, a_function_gets_what_the_schedule_proper_counts) {
    int64_t asked = -1;
    const quern_schedule s = {
        .kind = QUERN_SCHEDULE_FUNCTION, .warmup = 4, .function = by_thirds, .self = &asked};
    CHECK_NEAR(scale(&s, 1), 0.5, TOL);
    CHECK(asked == -1);
    CHECK_NEAR(scale(&s, 4), 1.0 / 3, 0);
    CHECK(asked == 0);
    CHECK_NEAR(scale(&s, 11), 0.1, 0);
    CHECK(asked == 7);
    CHECK(isnan(scale(&s, 13)));
    CHECK(isnan(scale(&s, 14)));
}

TEST_CASE(ScheduleForms, every_kind_has_its_name) {
    CHECK_TEXT(quern_schedule_name(QUERN_SCHEDULE_CONSTANT), "constant");
    CHECK_TEXT(quern_schedule_name(QUERN_SCHEDULE_COSINE_RESTARTS), "cosine_restarts");
    CHECK_TEXT(quern_schedule_name(QUERN_SCHEDULE_WARMUP_STABLE_DECAY), "warmup_stable_decay");
    CHECK_TEXT(quern_schedule_name(QUERN_SCHEDULE_FUNCTION), "function");
    CHECK_TEXT(quern_schedule_name(QUERN_SCHEDULE_COUNT), "unknown");
}
