/* test_learning_rate.c - a scale on the schedule: which updates have it, what it does to what was
 * tabulated ahead, where it may be asked for. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS_MAX = 1200 };

typedef struct rates {
    int64_t at; /* scale at the log of this step, and again behind it */
    double factor;
    double rates[STEPS_MAX + 1];
    int64_t count;
    quern_event_kind refused_at; /* an event at which it is tried */
    quern_status refused;
} rates;

static quern_action on_log(void *self, const quern_event *event) {
    rates *r = self;
    if (event->step % r->at != 0) return QUERN_CONTINUE;
    return quern_trainer_scale_learning_rate(event->trainer, r->factor) == QUERN_OK ? QUERN_CONTINUE
                                                                                    : QUERN_FAIL;
}

static quern_action on_update(void *self, const quern_event *event) {
    rates *r = self;
    r->rates[event->step] = quern_trainer_learning_rate(event->trainer);
    r->count = event->step;
    return QUERN_CONTINUE;
}

static void run(rates *r, const quern_schedule *schedule, int64_t steps, int32_t ahead) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    const quern_callback callback = {
        .name = "rates", .self = r, .log = on_log, .update_end = on_update};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 0;
    desc.step_limit = steps;
    desc.log_every = 3;
    desc.run_ahead = ahead;
    desc.optimizer.learning_rate = 0.01;
    desc.optimizer.schedule = *schedule;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    world_close(&w);
}

static void check_rates(const rates *r, const quern_schedule *schedule, int64_t steps) {
    double scale = 1;
    REQUIRE(r->count == steps);
    for (int64_t n = 0; n < steps; n++) {
        const double expected = 0.01 * (scale * quern_schedule_scale(schedule, n));
        CHECK_SAY(r->rates[n + 1] == expected, "update %lld has %.17g, expected %.17g",
                  (long long)n, r->rates[n + 1], expected);
        if ((n + 1) % r->at == 0) scale *= r->factor;
    }
}

/* The ring holds 1024 factors and is written 512 ahead: the run goes twice around its border. */
TEST_CASE(LearningRate, a_scale_holds_from_the_next_update_on) {
    static rates r;
    const quern_schedule linear = {
        .kind = QUERN_SCHEDULE_LINEAR, .total = 1200, .final_scale = 0.25};
    for (int32_t ahead = 1; ahead <= 8; ahead += 7) {
        r = (rates){.at = 300, .factor = 0.5};
        run(&r, &linear, 1200, ahead);
        check_rates(&r, &linear, 1200);
    }
}

TEST_CASE(LearningRate, a_constant_schedule_is_scaled_too) {
    static rates r;
    const quern_schedule constant = {.kind = QUERN_SCHEDULE_CONSTANT};
    r = (rates){.at = 6, .factor = 1.25};
    run(&r, &constant, 30, 2);
    check_rates(&r, &constant, 30);
}

static quern_batch batch_of(const world *w, int i) {
    return (quern_batch){.sample_count = 4,
                         .field_count = 2,
                         .names = {"x", "label"},
                         .data = {w->train_x[4 * i], &w->train_label[4 * i]}};
}

/* In the own loop it waits for the attempts that were issued with the rate before. */
TEST_CASE(LearningRate, between_steps_of_the_own_loop) {
    static rates r;
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    r = (rates){.at = 1000};
    const quern_callback callback = {.name = "rates", .self = &r, .update_end = on_update};
    w.desc = world_with(&w, &callback, 1);
    w.desc.train = w.desc.valid = NULL;
    w.desc.run_ahead = 8;
    w.desc.optimizer.learning_rate = 0.01;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < 6; i++) {
        const quern_batch batch = batch_of(&w, i);
        REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
        if (i == 2 || i == 3) CHECK_OK(quern_trainer_scale_learning_rate(w.trainer, 0.5));
    }
    REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
    static const double expected[] = {0.01, 0.01, 0.01, 0.005, 0.0025, 0.0025};
    for (int i = 0; i < 6; i++) CHECK(r.rates[i + 1] == expected[i]);
    world_close(&w);
}

static quern_action try_it(void *self, const quern_event *event) {
    rates *r = self;
    r->refused_at = event->kind;
    r->refused = quern_trainer_scale_learning_rate(event->trainer, 0.5);
    return QUERN_CONTINUE;
}

TEST_CASE(LearningRate, is_refused_where_updates_may_be_under_way_and_for_no_number) {
    static const double bad[] = {0, -1, NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        world w;
        rates r = {.refused = QUERN_OK};
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        quern_callback callback = {.name = "rates", .self = &r};
        if (i == 0) callback.update_end = try_it;
        if (i == 1) callback.step_begin = try_it;
        if (i == 2) callback.eval_begin = try_it;
        if (i == 3) callback.fit_end = try_it;
        const quern_trainer_desc desc = world_with(&w, &callback, 1);
        REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
        REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
        CHECK_STATUS(r.refused, QUERN_INVALID);
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            CHECK_STATUS(quern_trainer_scale_learning_rate(w.trainer, bad[k]), QUERN_INVALID);
            CHECK_ERROR_HAS("above 0 and finite");
        }
        CHECK_STATUS(quern_trainer_scale_learning_rate(NULL, 1), QUERN_INVALID);
        CHECK_OK(quern_trainer_scale_learning_rate(w.trainer, 1e-300));
        CHECK_STATUS(quern_trainer_scale_learning_rate(w.trainer, 1e-300), QUERN_INVALID);
        world_close(&w);
    }
}
