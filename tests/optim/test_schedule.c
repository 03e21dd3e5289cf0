/* test_schedule.c - schedules against closed forms at their edges, the desc's checks, and the ring
 * from which the device reads. */
#include "host/optim/schedule.h"
#include "quern_test.h"

#include <math.h>

#define TOL 1e-15

static double scale(const quern_schedule *s, int64_t n) { return quern_schedule_scale(s, n); }

TEST_CASE(Schedule, constant_is_one) {
    const quern_schedule s = {0};
    CHECK(scale(&s, 0) == 1 && scale(&s, 1000000) == 1);
    CHECK(scale(NULL, 5) == 1);
}

TEST_CASE(Schedule, warmup_reaches_one_at_its_last_update) {
    const quern_schedule s = {.warmup = 5};
    const double expected[] = {0.2, 0.4, 0.6, 0.8, 1, 1, 1};
    for (int64_t n = 0; n < 7; n++) CHECK_NEAR(scale(&s, n), expected[n], TOL);
    CHECK(scale(&(quern_schedule){.warmup = 1}, 0) == 1);
}

TEST_CASE(Schedule, step_multiplies_by_gamma_every_period) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_STEP, .period = 3, .gamma = 0.5, .warmup = 2};
    const double expected[] = {0.5, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25};
    for (int64_t n = 0; n < 9; n++) CHECK_NEAR(scale(&s, n), expected[n], TOL);
    CHECK_NEAR(scale(&(quern_schedule){.kind = QUERN_SCHEDULE_STEP, .period = 10}, 25), 0.01,
               1e-17);
    CHECK(scale(&(quern_schedule){.kind = QUERN_SCHEDULE_STEP,
                                  .period = 10,
                                  .gamma = (double)QUERN_ZERO},
                10) == 0);
}

TEST_CASE(Schedule, multi_step_counts_milestones_passed) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_MULTI_STEP,
                              .gamma = 0.1,
                              .milestone_count = 2,
                              .milestones = {30, 80}};
    CHECK(scale(&s, 29) == 1);
    CHECK_NEAR(scale(&s, 30), 0.1, TOL);
    CHECK_NEAR(scale(&s, 79), 0.1, TOL);
    CHECK_NEAR(scale(&s, 80), 0.01, TOL);
    CHECK_NEAR(scale(&s, 100000), 0.01, TOL);
}

TEST_CASE(Schedule, linear_goes_from_one_to_the_final_scale_at_total) {
    const quern_schedule s = {
        .kind = QUERN_SCHEDULE_LINEAR, .warmup = 2, .total = 10, .final_scale = 0.2};
    CHECK_NEAR(scale(&s, 0), 0.5, TOL);
    CHECK_NEAR(scale(&s, 1), 1, TOL);
    CHECK_NEAR(scale(&s, 2), 1, TOL);
    CHECK_NEAR(scale(&s, 6), 0.6, TOL);
    CHECK_NEAR(scale(&s, 9), 0.3, TOL);
    CHECK_NEAR(scale(&s, 10), 0.2, TOL);
    CHECK_NEAR(scale(&s, 11), 0.2, TOL);
}

TEST_CASE(Schedule, cosine_has_its_closed_form) {
    const quern_schedule s = {
        .kind = QUERN_SCHEDULE_COSINE, .warmup = 4, .total = 104, .final_scale = 0.1};
    CHECK_NEAR(scale(&s, 0), 0.25, TOL);
    CHECK_NEAR(scale(&s, 3), 1, TOL);
    CHECK_NEAR(scale(&s, 4), 1, TOL);
    CHECK_NEAR(scale(&s, 29), 0.1 + 0.9 * (1 + sqrt(0.5)) / 2, 1e-14); /* a quarter */
    CHECK_NEAR(scale(&s, 54), 0.55, 1e-14);                            /* half */
    CHECK_NEAR(scale(&s, 103), 0.1 + 0.45 * (1 + cos(0.99 * 3.14159265358979323846)), 1e-14);
    CHECK_NEAR(scale(&s, 104), 0.1, TOL);
    CHECK_NEAR(scale(&s, 5000), 0.1, TOL);
    const quern_schedule plain = {.kind = QUERN_SCHEDULE_COSINE, .total = 3};
    CHECK_NEAR(scale(&plain, 1), 0.75, TOL);
    CHECK_NEAR(scale(&plain, 2), 0.25, TOL);
    CHECK(scale(&plain, 3) == 0);
}

TEST_CASE(Schedule, a_total_within_the_warmup_ends_at_the_final_scale) {
    const quern_schedule s = {.kind = QUERN_SCHEDULE_COSINE, .warmup = 5, .total = 3};
    CHECK_NEAR(scale(&s, 4), 1, TOL);
    CHECK(scale(&s, 5) == 0);
}

TEST_CASE(Schedule, resolve_fills_gamma_and_the_planned_total) {
    quern_schedule s = {.kind = QUERN_SCHEDULE_STEP, .period = 2};
    CHECK_OK(schedule_resolve(&s, 0));
    CHECK(s.gamma == 0.1);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_COSINE, .warmup = 50};
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.total == 20);
    s.total = 70;
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.total == 70 && s.warmup_scale == 0.02);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_EXPONENTIAL, .warmup = 5};
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.period == 15);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_EXPONENTIAL, .warmup = 50};
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.period == 1);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 3};
    CHECK_OK(schedule_resolve(&s, 0));
    CHECK(s.period_factor == 1 && s.final_scale == 0);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_POLYNOMIAL};
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.power == 1 && s.total == 20);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_ONE_CYCLE, .start_scale = 0.5};
    CHECK_OK(schedule_resolve(&s, 20));
    CHECK(s.peak == 0.3 && s.start_scale == 0.5 && s.final_scale == 0.5 / 10000);
    s = (quern_schedule){.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .warmup = 10};
    CHECK_OK(schedule_resolve(&s, 200));
    CHECK(s.decay == 19);
}

/* What resolve fills in is what the function takes without it. */
TEST_CASE(Schedule, resolving_changes_no_factor) {
    for (int kind = 0; kind < QUERN_SCHEDULE_FUNCTION; kind++)
        for (int64_t warmup = 0; warmup <= 6; warmup += 3) {
            quern_schedule given = {.kind = (quern_schedule_kind)kind, .warmup = warmup};
            if (kind == QUERN_SCHEDULE_STEP || kind == QUERN_SCHEDULE_COSINE_RESTARTS)
                given.period = 7;
            if (kind == QUERN_SCHEDULE_MULTI_STEP) given.milestones[0] = given.milestone_count = 1;
            quern_schedule resolved = given;
            CHECK_OK(schedule_resolve(&resolved, 60));
            given.total = resolved.total;
            if (kind == QUERN_SCHEDULE_EXPONENTIAL) given.period = 60 - warmup;
            for (int64_t n = 0; n < 70; n++) CHECK(scale(&given, n) == scale(&resolved, n));
        }
}

/* What the device reads for update n must be the function, however far the host feeds ahead. */
TEST_CASE(Schedule, the_ring_holds_the_factors_ahead_of_every_known_step) {
    quern_schedule s = {.kind = QUERN_SCHEDULE_COSINE, .total = 5000, .warmup = 100};
    static double values[4096];
    schedule_ring ring;
    quern_device *device = NULL;
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    CHECK_OK(schedule_resolve(&s, 0));
    REQUIRE(schedule_ring_count(&s) <= 4096);
    REQUIRE_OK(schedule_ring_create(&ring, device, &s, values));
    for (int64_t step = 0; step < 5200 && !quern_test_failed(); step += 1 + step % 7) {
        CHECK_OK(schedule_ring_feed(&ring, device->stream, step));
        CHECK_OK(device->backend->stream_wait(device->stream));
        for (int64_t n = step; n <= step + 256; n++)
            REQUIRE(values[n % ring.count] == quern_schedule_scale(&s, n));
    }
    CHECK_OK(schedule_ring_feed(&ring, device->stream, 123456)); /* a resumed run jumps */
    CHECK_OK(device->backend->stream_wait(device->stream));
    for (int64_t n = 123456; n <= 123456 + 256; n++)
        CHECK(values[n % ring.count] == quern_schedule_scale(&s, n));
    schedule_ring_destroy(&ring);
    CHECK(schedule_ring_count(&(quern_schedule){0}) == 1);
    quern_device_destroy(device);
}
