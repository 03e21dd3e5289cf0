/* test_schedule_refusals.c - a schedule's desc that is wrong is refused with a sentence that names
 * the schedule and the field; every field against every kind. */
#include "host/optim/schedule.h"
#include "quern_test.h"

#include <math.h>
#include <stdio.h>

TEST_CASE(ScheduleRefusal, says_what_is_wrong) {
    static const struct {
        quern_schedule schedule;
        const char *says;
    } cases[] = {
        {{.kind = (quern_schedule_kind)99}, "schedule 99"},
        {{.warmup = -1}, "warmup -1"},
        {{.warmup_scale = 0.1}, "constant does not read warmup_scale without a warmup"},
        {{.warmup_kind = QUERN_WARMUP_EXPONENTIAL},
         "constant does not read warmup_kind without a warmup"},
        {{.warmup = 3, .warmup_kind = (quern_warmup_kind)2}, "warmup_kind 2"},
        {{.warmup = 3, .warmup_scale = -0.5}, "warmup_scale -0.5"},
        {{.warmup = 3, .warmup_scale = NAN}, "warmup_scale nan"},
        {{.warmup = 3, .warmup_kind = QUERN_WARMUP_EXPONENTIAL, .warmup_scale = -0.0},
         "exponential warm-up from a warmup_scale of 0"},
        {{.kind = QUERN_SCHEDULE_STEP}, "period 0"},
        {{.kind = QUERN_SCHEDULE_STEP, .period = 1, .gamma = -1}, "gamma -1"},
        {{.kind = QUERN_SCHEDULE_STEP, .period = 1, .gamma = NAN}, "gamma nan"},
        {{.kind = QUERN_SCHEDULE_EXPONENTIAL}, "exponential needs period"},
        {{.kind = QUERN_SCHEDULE_EXPONENTIAL, .period = -2}, "exponential: period -2"},
        {{.kind = QUERN_SCHEDULE_EXPONENTIAL, .period = 1, .gamma = -0.1}, "gamma -0.1"},
        {{.kind = QUERN_SCHEDULE_MULTI_STEP}, "0 milestones"},
        {{.kind = QUERN_SCHEDULE_MULTI_STEP, .milestone_count = 17}, "17 milestones"},
        {{.kind = QUERN_SCHEDULE_MULTI_STEP, .milestone_count = 2, .milestones = {5, 5}},
         "milestone 5 after 5"},
        {{.kind = QUERN_SCHEDULE_LINEAR}, "linear needs total"},
        {{.kind = QUERN_SCHEDULE_LINEAR, .total = -4}, "total -4"},
        {{.kind = QUERN_SCHEDULE_LINEAR, .total = 4, .warmup = 5}, "below its warmup of 5"},
        {{.kind = QUERN_SCHEDULE_LINEAR, .total = 4, .final_scale = INFINITY}, "final_scale inf"},
        {{.kind = QUERN_SCHEDULE_COSINE_RESTARTS}, "cosine_restarts: period 0"},
        {{.kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 2, .period_factor = -1},
         "period_factor -1"},
        {{.kind = QUERN_SCHEDULE_COSINE_RESTARTS, .period = 2, .final_scale = -1},
         "final_scale -1"},
        {{.kind = QUERN_SCHEDULE_POLYNOMIAL}, "polynomial needs total"},
        {{.kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 9, .power = -1}, "power -1"},
        {{.kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 9, .power = -0.0}, "power 0"},
        {{.kind = QUERN_SCHEDULE_POLYNOMIAL, .total = 9, .power = NAN}, "power nan"},
        {{.kind = QUERN_SCHEDULE_ONE_CYCLE}, "one_cycle needs total"},
        {{.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 9, .peak = 1.5}, "peak 1.5, expected 0 to 1"},
        {{.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 9, .peak = -0.5}, "peak -0.5"},
        {{.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 9, .start_scale = -1}, "start_scale -1"},
        {{.kind = QUERN_SCHEDULE_ONE_CYCLE, .total = 9, .final_scale = NAN}, "final_scale nan"},
        {{.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY}, "warmup_stable_decay needs total"},
        {{.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .total = 9, .warmup = 4, .decay = 6},
         "decay 6, expected at most the 5"},
        {{.kind = QUERN_SCHEDULE_WARMUP_STABLE_DECAY, .total = 9, .decay = -1}, "decay -1"},
        {{.kind = QUERN_SCHEDULE_FUNCTION}, "function is NULL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_schedule s = cases[i].schedule;
        CHECK_STATUS(schedule_resolve(&s, 0), QUERN_INVALID);
        CHECK_ERROR_HAS(cases[i].says);
    }
}

/* Which kinds read a field; the rows are written out once more, beside optim.h's. */
enum {
    C = 1 << QUERN_SCHEDULE_CONSTANT,
    S = 1 << QUERN_SCHEDULE_STEP,
    M = 1 << QUERN_SCHEDULE_MULTI_STEP,
    E = 1 << QUERN_SCHEDULE_EXPONENTIAL,
    L = 1 << QUERN_SCHEDULE_LINEAR,
    H = 1 << QUERN_SCHEDULE_COSINE,
    R = 1 << QUERN_SCHEDULE_COSINE_RESTARTS,
    P = 1 << QUERN_SCHEDULE_POLYNOMIAL,
    O = 1 << QUERN_SCHEDULE_ONE_CYCLE,
    W = 1 << QUERN_SCHEDULE_WARMUP_STABLE_DECAY,
    F = 1 << QUERN_SCHEDULE_FUNCTION,
};

static double one(void *self, int64_t m) {
    (void)self;
    (void)m;
    return 1;
}

static const struct {
    const char *name;
    quern_schedule set;
    int read_by;
} fields[] = {
    {"gamma", {.gamma = 0.5}, S | M | E},
    {"gamma", {.gamma = -0.0}, S | M | E},
    {"period", {.period = 5}, S | E | R},
    {"milestones", {.milestone_count = 1, .milestones = {3}}, M},
    {"total", {.total = 50}, L | H | P | O | W},
    {"final_scale", {.final_scale = 0.1}, L | H | R | P | O | W},
    {"final_scale", {.final_scale = -0.0}, L | H | R | P | O | W},
    {"period_factor", {.period_factor = 2}, R},
    {"power", {.power = 2}, P},
    {"start_scale", {.start_scale = 0.2}, O},
    {"peak", {.peak = 0.2}, O},
    {"decay", {.decay = 5}, W},
    {"function", {.function = one}, F},
    {"self", {.self = &(int){0}}, F},
};

/* Beside the field, what the kind cannot do without. */
static quern_schedule with_required(quern_schedule s, quern_schedule_kind kind) {
    s.kind = kind;
    if (kind == QUERN_SCHEDULE_STEP || kind == QUERN_SCHEDULE_COSINE_RESTARTS) s.period = 5;
    if (kind == QUERN_SCHEDULE_MULTI_STEP && s.milestone_count == 0)
        s.milestones[0] = s.milestone_count = 1;
    if (kind == QUERN_SCHEDULE_FUNCTION) s.function = one;
    return s;
}

TEST_CASE(ScheduleRefusal, every_field_is_read_or_refused) {
    CHECK(QUERN_SCHEDULE_COUNT == 11 && (C | S | M | E | L | H | R | P | O | W | F) == 2047);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (int kind = 0; kind < QUERN_SCHEDULE_COUNT; kind++) {
            quern_schedule s = with_required(fields[i].set, (quern_schedule_kind)kind);
            char expected[96];
            if (fields[i].read_by & 1 << kind) {
                CHECK_OK(schedule_resolve(&s, 40));
                continue;
            }
            CHECK_STATUS(schedule_resolve(&s, 40), QUERN_INVALID);
            snprintf(expected, sizeof expected, "schedule %s does not read %s",
                     quern_schedule_name((quern_schedule_kind)kind), fields[i].name);
            CHECK_ERROR_HAS(expected);
        }
}
