/* test_schedule_training.c - over n updates exactly the factors f(0 … n - 1) reach the parameters:
 * what a training run logs of each update, bit for bit. */
#include "../train/world.h"
#include "quern_test.h"

#include <math.h>

enum { UPDATES = 24 };
static const double RATE = 0.0625;

typedef struct rates {
    double rate[UPDATES + 1];
    int64_t step[UPDATES + 1];
    int count;
    int64_t skipped_attempt; /* -1: none */
} rates;

static quern_action take_log(void *self, const quern_event *event) {
    rates *r = self;
    if (r->count > UPDATES) return QUERN_FAIL;
    r->rate[r->count] = quern_event_scalar(event, "train/learning_rate");
    r->step[r->count++] = event->step;
    return QUERN_CONTINUE;
}

static quern_action skip_one(void *self, const quern_event *event) {
    const rates *r = self;
    return event->attempts == r->skipped_attempt ? QUERN_SKIP_STEP : QUERN_CONTINUE;
}

/* `parts` fits of UPDATES / parts updates each, in epochs of 4, 4 and 2 samples. */
static quern_status train(rates *r, const quern_schedule *schedule, int parts,
                          quern_schedule *resolved, quern_result *result) {
    world w;
    quern_status s = world_open(&w, &(world_desc){.valid_length = -1});
    if (s != QUERN_OK) return s;
    const quern_callback callback = {
        .name = "rates", .self = r, .log = take_log, .update_begin = skip_one};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.step_limit = UPDATES / parts;
    desc.log_every = 1;
    desc.optimizer = (quern_optimizer_desc){
        .kind = QUERN_OPTIMIZER_SGD, .learning_rate = RATE, .schedule = *schedule};
    s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK) *resolved = quern_trainer_resolved(w.trainer)->optimizer.schedule;
    for (int i = 0; i < parts && s == QUERN_OK; i++) s = quern_trainer_fit(w.trainer, result);
    world_close(&w);
    return s;
}

static void check_rates(const rates *r, const quern_schedule *resolved) {
    REQUIRE(r->count == UPDATES);
    for (int n = 0; n < UPDATES; n++) {
        CHECK(r->step[n] == n + 1);
        CHECK(r->rate[n] == RATE * quern_schedule_scale(resolved, n));
    }
}

static double halves(void *self, int64_t m) {
    (void)self;
    return 1 / (double)(m + 2);
}

static const quern_schedule schedules[] = {
    {.kind = QUERN_SCHEDULE_CONSTANT, .warmup = 5},
    {.kind = QUERN_SCHEDULE_STEP, .period = 5},
    {.kind = QUERN_SCHEDULE_MULTI_STEP, .milestone_count = 2, .milestones = {1, 11}},
    {.kind = QUERN_SCHEDULE_EXPONENTIAL, .warmup = 3, .warmup_kind = QUERN_WARMUP_EXPONENTIAL},
    {.kind = QUERN_SCHEDULE_LINEAR, .total = UPDATES},
    {.kind = QUERN_SCHEDULE_COSINE, .total = UPDATES, .warmup = 4},
    {.kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 3, .period_factor = 2},
    {.kind = QUERN_SCHEDULE_POLYNOMIAL, .total = UPDATES, .power = 2},
    {.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = UPDATES},
    {.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .warmup = 4, .total = UPDATES},
    {.kind = QUERN_SCHEDULE_FUNCTION, .warmup = 2, .function = halves},
};

TEST_CASE(ScheduleTraining, uses_exactly_the_first_n_factors) {
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++)
        for (int parts = 1; parts <= 3; parts++) {
            rates r = {.skipped_attempt = -1};
            quern_schedule resolved;
            quern_result result;
            REQUIRE_OK(train(&r, &schedules[i], parts, &resolved, &result));
            CHECK(resolved.kind == schedules[i].kind);
            check_rates(&r, &resolved);
        }
}

TEST_CASE(ScheduleTraining, a_skipped_attempt_uses_no_factor) {
    rates r = {.skipped_attempt = 7};
    quern_schedule resolved;
    quern_result result;
    REQUIRE_OK(train(&r, &schedules[5], 1, &resolved, &result));
    CHECK(result.attempts == UPDATES + 1 && result.step == UPDATES);
    check_rates(&r, &resolved);
}

TEST_CASE(ScheduleTraining, the_total_is_the_planned_number_of_updates) {
    rates r = {.skipped_attempt = -1};
    quern_schedule resolved;
    quern_result result;
    REQUIRE_OK(train(&r, &(quern_schedule){.kind = QUERN_SCHEDULE_LINEAR, .final_scale = 0.5}, 1,
                     &resolved, &result));
    CHECK(resolved.total == UPDATES);
    CHECK_NEAR(r.rate[UPDATES - 1], RATE * (1 - 0.5 * (UPDATES - 1) / UPDATES), 1e-15);
}

static double breaks(void *self, int64_t m) { return m == 9 ? *(const double *)self : 1; }

TEST_CASE(ScheduleTraining, a_function_without_a_factor_ends_the_run_before_that_update) {
    static const double bad[] = {-1, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        rates r = {.skipped_attempt = -1};
        quern_schedule resolved;
        quern_result result;
        double value = bad[i];
        const quern_schedule s = {
            .kind = QUERN_SCHEDULE_FUNCTION, .function = breaks, .self = &value};
        CHECK_STATUS(train(&r, &s, 1, &resolved, &result), QUERN_NOT_FINITE);
        CHECK_ERROR_HAS("step 9: the schedule function gives no factor");
        CHECK(result.step == 9 && r.rate[8] == RATE);
    }
}

TEST_CASE(ScheduleTraining, a_function_is_free_beyond_what_the_run_uses) {
    rates r = {.skipped_attempt = -1};
    quern_schedule resolved;
    quern_result result;
    double value = NAN;
    const quern_schedule s = {.kind = QUERN_SCHEDULE_FUNCTION,
                              .warmup = UPDATES - 9, /* m = 9 is the update behind the last */
                              .function = breaks,
                              .self = &value};
    REQUIRE_OK(train(&r, &s, 1, &resolved, &result));
    CHECK(r.count == UPDATES && result.step == UPDATES);
}
