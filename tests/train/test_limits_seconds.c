/* The limit of training time: what counts, across fits and processes, and where nothing is trained.
 */
#include "quern_test.h"
#include "slow_clock.h"
#include "temporary.h"
#include "world.h"

typedef struct timed {
    slow_clock *clock;
    int64_t per_step_ns, per_evaluation_ns;
    int evaluations;
    int64_t leave_at; /* a stop at this step */
} timed;

static quern_action time_step(void *self, const quern_event *event) {
    const timed *m = self;
    (void)event;
    m->clock->now_ns += m->per_step_ns;
    return QUERN_CONTINUE;
}

static quern_action time_evaluation(void *self, const quern_event *event) {
    timed *m = self;
    (void)event;
    m->evaluations++;
    m->clock->now_ns += m->per_evaluation_ns;
    return QUERN_CONTINUE;
}

/* A second a step, an hour an evaluation: five steps and a half end behind the sixth, each fit. */
TEST_CASE(Limits, seconds_are_of_training_alone_and_a_window_is_never_cut) {
    world w;
    quern_result r = {0};
    slow_clock clock = {.now_ns = 1000000000};
    timed m = {
        .clock = &clock, .per_step_ns = 1000000000, .per_evaluation_ns = INT64_C(3600000000000)};
    const quern_callback callback = {
        .name = "timed", .self = &m, .fetch_end = time_step, .eval_batch_end = time_evaluation};
    const world_desc desc = {
        .host.clock = {.monotonic_ns = slow_now, .wall_ns = slow_now, .self = &clock}};
    REQUIRE_OK(world_open(&w, &desc));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.seconds_limit = 5.5;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK(quern_trainer_resolved(w.trainer)->epoch_count == 0);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_TIME);
    CHECK_SAY(r.step == 6 && r.epochs == 2, "%d steps", (int)r.step);
    CHECK_NEAR(r.train_seconds, 6.0, 1e-9);
    CHECK(m.evaluations == 6);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK_SAY(r.step == 12 && r.reason == QUERN_STOPPED_TIME, "%d steps", (int)r.step);
    CHECK_NEAR(r.train_seconds, 6.0, 1e-9);
    world_close(&w);
}

typedef struct idle {
    slow_clock *clock;
    int calls;
} idle;

static quern_action idle_for(idle *i, quern_action action) {
    i->clock->now_ns += 1000000000;
    return ++i->calls < 100 ? action : QUERN_STOP;
}

static quern_action skip_each(void *self, const quern_event *event) {
    (void)event;
    return idle_for(self, QUERN_SKIP_BATCH);
}

static quern_action end_each(void *self, const quern_event *event) {
    (void)event;
    return idle_for(self, QUERN_END_EPOCH);
}

/* A second for each batch that is left out, or for each epoch that is. */
TEST_CASE(Limits, seconds_end_a_run_in_which_nothing_is_trained) {
    for (int i = 0; i < 2; i++) {
        world w;
        quern_result r = {0};
        slow_clock clock = {.now_ns = 1000000000};
        idle doing = {.clock = &clock};
        const quern_callback callback = {.name = "idle",
                                         .self = &doing,
                                         .fetch_end = i == 0 ? skip_each : NULL,
                                         .epoch_begin = i == 1 ? end_each : NULL};
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = WORLD_SAMPLES_MAX,
                                                .batch_size = 1,
                                                .host.clock = {.monotonic_ns = slow_now,
                                                               .wall_ns = slow_now,
                                                               .self = &clock}}));
        quern_trainer_desc d = world_with(&w, &callback, 1);
        d.seconds_limit = 5.5;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK_SAY(r.reason == QUERN_STOPPED_TIME && doing.calls == 6, "%s behind %d",
                  quern_stop_reason_name(r.reason), doing.calls);
        CHECK(r.step == 0 && r.attempts == 0);
        world_close(&w);
    }
}

/* What a run has spent before it is resumed counts, of the fit that it was in. */
static quern_action leave_at(void *self, const quern_event *event) {
    const timed *m = self;
    if (event->step == m->leave_at) quern_trainer_stop(event->trainer);
    return time_step(self, event);
}

/* A second a step, whichever process it was in. */
static void check_saved_time(world *w, const quern_result *r) {
    quern_checkpoint *c = NULL;
    REQUIRE(r->checkpoint != NULL);
    REQUIRE_OK(quern_checkpoint_open(&c, w->device, r->checkpoint));
    CHECK_NEAR(quern_checkpoint_info_get(c).train_seconds, (double)r->step, 1e-9);
    quern_checkpoint_destroy(c);
}

static int64_t run_timed(const char *directory, int64_t leave_at_step, int fits) {
    world w;
    quern_result r = {0};
    slow_clock clock = {.now_ns = 1000000000};
    timed m = {.clock = &clock, .per_step_ns = 1000000000, .leave_at = leave_at_step};
    const quern_callback callback = {.name = "timed", .self = &m, .fetch_end = leave_at};
    const world_desc desc = {
        .valid_length = -1,
        .host.clock = {.monotonic_ns = slow_now, .wall_ns = slow_now, .self = &clock}};
    CHECK_OK(world_open(&w, &desc));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.seconds_limit = 5.5;
    d.run_ahead = 1;
    d.log_every = 1;
    d.save = (quern_save_desc){.directory = directory, .resume = true};
    CHECK_OK(quern_trainer_create(&w.trainer, &d));
    for (int i = 0; i < fits; i++) CHECK_OK(quern_trainer_fit(w.trainer, &r));
    check_saved_time(&w, &r);
    world_close(&w);
    return r.step;
}

TEST_CASE(Limits, seconds_go_on_where_a_run_is_resumed) {
    for (int fits = 1; fits <= 2; fits++) {
        temporary folder;
        REQUIRE(temporary_begin(&folder));
        const int64_t left = run_timed(folder.path, 6 * (fits - 1) + 2, fits);
        CHECK_SAY(left == 6 * (fits - 1) + 3, "left at %d", (int)left);
        CHECK(run_timed(folder.path, -1, 1) == 6 * fits);
        CHECK(run_timed(folder.path, -1, 1) == 6 * fits); /* over: nothing more */
        temporary_end(&folder);
    }
}
