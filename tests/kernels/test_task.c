/* test_task.c - the bookkeeping of a step: one window after another on a real stream. */
#include "host/device/device.h"
#include "quern_test.h"

#include <math.h>
#include <string.h>

#define NORM_COUNT (3 * TASK_NORM_CHUNK + 17)

static quern_device *device;
static task_state state;
static const double half_then_tenth[2] = {0.5, 0.1};

static void begin(int32_t thread_count) {
    state = (task_state){.run = {.seed = 7, .attempt = 3}, .scale = 1, .seeded = 1};
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = thread_count}));
}

static void end(void) { quern_device_destroy(device); }

static void run_task(task_id task, const void *attributes, void *scratch) {
    const quern_kernel_args args = {
        .attributes = attributes, .scratch = scratch, .stream = device->stream};
    REQUIRE_OK(device->backend->call(device->stream, device->backend->tasks[task], &args));
    REQUIRE_OK(device->backend->stream_wait(device->stream));
}

static quern_view view_of(void *data, quern_dtype dtype, int64_t count) {
    return (quern_view){
        .data = data, .dim = {count}, .stride = {1}, .count = count, .rank = 1, .dtype = dtype};
}

static task_decide decide_desc(double clip_norm, int64_t limit) {
    return (task_decide){.state = &state,
                         .schedule = half_then_tenth,
                         .schedule_count = 2,
                         .constants = {.learning_rate = 0.2, .beta1 = 0.9, .beta2 = 0.99},
                         .clip_norm = clip_norm,
                         .not_finite_limit = limit};
}

static void decide(double clip_norm, int64_t limit) {
    const task_decide t = decide_desc(clip_norm, limit);
    run_task(TASK_decide, &t, NULL);
}

TEST_CASE(Task, weigh_adds_loss_weight_and_samples) {
    float loss = 2.5f, weight = 3;
    double loss64 = 0.25;
    int32_t tokens = 40;
    begin(1);
    task_weigh t = {&state, view_of(&loss, QUERN_F32, 1), view_of(&weight, QUERN_F32, 1), 4};
    run_task(TASK_weigh, &t, NULL);
    t.loss = view_of(&loss64, QUERN_F64, 1);
    t.weight = view_of(&tokens, QUERN_I32, 1);
    run_task(TASK_weigh, &t, NULL);
    CHECK(state.loss == 2.75);
    CHECK(state.weight == 43);
    CHECK(state.samples == 8);
    t.loss.data = t.weight.data = NULL;
    run_task(TASK_weigh, &t, NULL);
    CHECK(state.loss == 2.75);
    CHECK(state.weight == 47);
    CHECK(state.samples == 12);
    end();
}

TEST_CASE(Task, seed_is_one_over_the_windows_weight) {
    float seed32 = -1;
    double seed64 = -1;
    begin(1);
    state.weight = 48;
    run_task(TASK_seed, &(task_seed){&state, view_of(&seed32, QUERN_F32, 1)}, NULL);
    run_task(TASK_seed, &(task_seed){&state, view_of(&seed64, QUERN_F64, 1)}, NULL);
    CHECK(seed32 == 1.0f / 48);
    CHECK(seed64 == 1.0 / 48);
    state.weight = 0;
    run_task(TASK_seed, &(task_seed){&state, view_of(&seed32, QUERN_F32, 1)}, NULL);
    CHECK(seed32 == 0);
    end();
}

TEST_CASE(Task, norm_is_the_root_of_the_sum_of_squares_for_any_thread_count) {
    static float gradients[NORM_COUNT];
    static double gradients64[NORM_COUNT];
    double scratch[4], expected = 0, found[3];
    for (int64_t i = 0; i < NORM_COUNT; i++) {
        gradients[i] = (float)sin((double)i) * (i % 3 == 0 ? 100.0f : 0.01f);
        gradients64[i] = (double)gradients[i];
        expected += gradients64[i] * gradients64[i];
    }
    for (int32_t i = 0; i < 3; i++) {
        begin(i + 1);
        const task_norm t = {&state, view_of(gradients, QUERN_F32, NORM_COUNT)};
        run_task(TASK_norm, &t, scratch);
        found[i] = state.norm;
        const task_norm t64 = {&state, view_of(gradients64, QUERN_F64, NORM_COUNT)};
        run_task(TASK_norm, &t64, scratch);
        CHECK(state.norm == found[i]);
        end();
    }
    CHECK_NEAR(found[0], sqrt(expected), 1e-12 * sqrt(expected));
    CHECK(found[0] == found[1] && found[0] == found[2]);
}

TEST_CASE(Task, average_follows_in_both_types_and_for_any_thread_count) {
    static float values[NORM_COUNT], average[3][NORM_COUNT];
    static double values64[NORM_COUNT], average64[NORM_COUNT];
    for (int run = 0; run < 3; run++) {
        begin(run + 1);
        for (int64_t i = 0; i < NORM_COUNT; i++) {
            values64[i] = (double)(values[i] = (float)cos((double)i));
            average64[i] = (double)(average[run][i] = (float)sin((double)i));
        }
        task_average t = {.state = &state,
                          .average = view_of(average[run], QUERN_F32, NORM_COUNT),
                          .values = view_of(values, QUERN_F32, NORM_COUNT),
                          .decay = 0.75};
        state.step = 3;
        run_task(TASK_average, &t, NULL); /* not applied */
        for (int64_t i = 0; i < NORM_COUNT; i++) CHECK(average[run][i] == (float)sin((double)i));
        state.applied = 1;
        run_task(TASK_average, &t, NULL);
        t.average = view_of(average64, QUERN_F64, NORM_COUNT);
        t.values = view_of(values64, QUERN_F64, NORM_COUNT);
        t.warmup = true; /* 4 / 13 at the third update */
        run_task(TASK_average, &t, NULL);
        for (int64_t i = 0; i < NORM_COUNT; i++) {
            const double old = (double)(float)sin((double)i), value = values64[i];
            CHECK_NEAR((double)average[run][i], 0.75 * old + 0.25 * value, 1e-7);
            CHECK_NEAR(average64[i], 4.0 / 13 * old + 9.0 / 13 * value, 1e-15);
        }
        end();
    }
    CHECK(memcmp(average[0], average[1], sizeof average[0]) == 0);
}

/* 1 - decay is no float: a value that stands still must not drift away from itself. */
TEST_CASE(Task, average_of_what_stands_still_is_that_to_the_bit) {
    float value = 0.1f, average = 0.1f;
    begin(1);
    state.applied = 1;
    const task_average t = {.state = &state,
                            .average = view_of(&average, QUERN_F32, 1),
                            .values = view_of(&value, QUERN_F32, 1),
                            .decay = 0.9999};
    for (int i = 0; i < 1000; i++) run_task(TASK_average, &t, NULL);
    CHECK(average == 0.1f);
    end();
}

TEST_CASE(Task, norm_keeps_nan_and_infinity_wherever_they_are) {
    static float gradients[NORM_COUNT];
    const int64_t places[] = {0, 15, TASK_NORM_CHUNK - 1, TASK_NORM_CHUNK, NORM_COUNT - 1};
    double scratch[4];
    begin(2);
    const task_norm t = {&state, view_of(gradients, QUERN_F32, NORM_COUNT)};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        gradients[places[i]] = NAN;
        run_task(TASK_norm, &t, scratch);
        CHECK(isnan(state.norm));
        gradients[places[i]] = -INFINITY;
        run_task(TASK_norm, &t, scratch);
        CHECK(isinf(state.norm) && state.norm > 0);
        gradients[places[i]] = 0;
    }
    run_task(TASK_norm, &t, scratch);
    CHECK(state.norm == 0);
    const task_norm none = {&state, view_of(NULL, QUERN_F32, 0)};
    state.norm = 9;
    run_task(TASK_norm, &none, NULL);
    CHECK(state.norm == 0);
    end();
}

TEST_CASE(Task, an_applied_update_gets_rate_corrections_and_clip) {
    begin(1);
    state.weight = 4, state.loss = 1, state.norm = 8;
    decide(2, 0);
    CHECK(state.applied == 1 && state.outcome == QUERN_OUTCOME_APPLIED && state.step == 1);
    CHECK(state.hyper.n == 1);
    CHECK_NEAR(state.hyper.learning_rate, 0.1, 1e-16);
    CHECK(state.learning_rate == state.hyper.learning_rate);
    CHECK_NEAR(state.hyper.correct1, 10, 1e-13);
    CHECK_NEAR(state.hyper.correct2, 100, 1e-11);
    CHECK_NEAR(state.hyper.gradient_scale, 2 / (8 + 1e-6), 1e-16);
    state.norm = 1.5;
    decide(2, 0);
    CHECK(state.hyper.gradient_scale == 1);
    CHECK(state.hyper.n == 2 && state.step == 2);
    CHECK_NEAR(state.hyper.learning_rate, 0.02, 1e-16);
    CHECK_NEAR(state.hyper.correct1, 1 / (1 - 0.81), 1e-13);
    decide(0, 0);
    CHECK(state.hyper.gradient_scale == 1);
    CHECK_NEAR(state.hyper.learning_rate, 0.1, 1e-16); /* the ring begins again */
    end();
}

/* Every reason not to apply, alone and with all that come after it. */
TEST_CASE(Task, the_reasons_not_to_apply_have_an_order) {
    begin(1);
    state = (task_state){.skip = 1, .frozen = 1, .weight = 0, .loss = NAN, .norm = NAN, .step = 5};
    decide(0, 0);
    CHECK(state.outcome == QUERN_OUTCOME_FROZEN && state.applied == 0);
    state.frozen = 0;
    decide(0, 0);
    CHECK(state.outcome == QUERN_OUTCOME_SKIPPED && state.applied == 0);
    state.skip = 0;
    decide(0, 0);
    CHECK(state.outcome == QUERN_OUTCOME_EMPTY && state.applied == 0 && state.frozen == 0);
    state.weight = 2;
    decide(0, INT64_MAX);
    CHECK(state.outcome == QUERN_OUTCOME_NOT_FINITE && state.frozen == 0);
    decide(0, 0);
    CHECK(state.outcome == QUERN_OUTCOME_NOT_FINITE && state.frozen == 1);
    state.frozen = 0;
    const double bad[][3] = {{NAN, 1, 1}, {1, NAN, 1}, {1, 1, INFINITY}, {1, INFINITY, 1}};
    for (int i = 0; i < 4; i++) {
        state.loss = bad[i][0], state.weight = bad[i][1], state.norm = bad[i][2];
        state.applied = 1;
        decide(0, INT64_MAX);
        CHECK(state.outcome == QUERN_OUTCOME_NOT_FINITE && state.applied == 0);
    }
    CHECK(state.step == 5);
    end();
}

/* One attempt with a gradient of that norm under a scaler: grows by 4 behind 3 updates. */
static void decide_scaled(double loss, double norm) {
    task_decide t = decide_desc(0, INT64_MAX);
    t.scaler = (task_scaler){.growth = 4, .backoff = 0.5, .minimum = 2, .interval = 3};
    state.loss = loss, state.weight = 1, state.norm = norm, state.seeded = state.scale;
    run_task(TASK_decide, &t, NULL);
}

TEST_CASE(Task, a_loss_scale_grows_behind_updates_and_falls_with_overflows) {
    static const struct {
        double loss, norm;
        int32_t outcome;
        int64_t step, age, not_finite;
        double scale;
    } attempts[] = {
        {1, 1, QUERN_OUTCOME_APPLIED, 1, 1, 0, 4},
        {1, 1, QUERN_OUTCOME_APPLIED, 2, 2, 0, 4},
        {1, 1, QUERN_OUTCOME_APPLIED, 3, 0, 0, 16},
        {1, 1, QUERN_OUTCOME_APPLIED, 4, 1, 0, 16},
        {1, INFINITY, QUERN_OUTCOME_OVERFLOW, 4, 0, 0, 8},
        {1, NAN, QUERN_OUTCOME_OVERFLOW, 4, 0, 0, 4},
        {1, 1, QUERN_OUTCOME_APPLIED, 5, 1, 0, 4},
        {NAN, 1, QUERN_OUTCOME_NOT_FINITE, 5, 0, 1, 4}, /* of the loss: no scale mends it */
        {1, INFINITY, QUERN_OUTCOME_OVERFLOW, 5, 0, 1, 2},
        {1, INFINITY, QUERN_OUTCOME_NOT_FINITE, 5, 0, 2, 2}, /* at the minimum */
        {1, 1, QUERN_OUTCOME_APPLIED, 6, 1, 0, 2},
    };
    begin(1);
    state.scale = 4;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        decide_scaled(attempts[i].loss, attempts[i].norm);
        CHECK_SAY(state.outcome == attempts[i].outcome && state.step == attempts[i].step &&
                      state.scale_age == attempts[i].age && state.scale == attempts[i].scale &&
                      state.not_finite == attempts[i].not_finite,
                  "attempt %d: outcome %d, step %d, age %d, scale %g", (int)i, (int)state.outcome,
                  (int)state.step, (int)state.scale_age, state.scale);
        CHECK(state.applied == (attempts[i].outcome == QUERN_OUTCOME_APPLIED));
    }
    CHECK_NEAR(state.hyper.gradient_scale, 0.5, 1e-16);
    end();
}

TEST_CASE(Task, seed_scales_and_the_norm_is_of_the_unscaled_gradient) {
    float seed = 0, gradients[2] = {3 * 1024, 4 * 1024};
    double scratch[1];
    begin(1);
    state.scale = 1024, state.weight = 8;
    run_task(TASK_seed, &(task_seed){&state, view_of(&seed, QUERN_F32, 1)}, NULL);
    CHECK(seed == 128 && state.seeded == 1024);
    run_task(TASK_norm, &(task_norm){&state, view_of(gradients, QUERN_F32, 2)}, scratch);
    CHECK(state.norm == 5);
    task_decide t = decide_desc(2.5, 0);
    state.loss = 1;
    run_task(TASK_decide, &t, NULL);
    CHECK_NEAR(state.hyper.gradient_scale, 2.5 / (5 + 1e-6) / 1024, 1e-16);
    end();
}

/* Copies: the task and the updates give the same bits, and every update its own draws. */
TEST_CASE(Task, round_makes_what_an_update_makes) {
    enum { COUNT = 3 * 16384 + 5 };
    static float values[COUNT], gradients[COUNT];
    static uint16_t by_task[COUNT], by_update[COUNT], later[COUNT];
    const quern_segment segment = {.count = COUNT, .learning_rate_scale = 1};
    begin(2);
    for (int i = 0; i < COUNT; i++) values[i] = sinf((float)i), gradients[i] = cosf((float)i);
    state.applied = 1, state.step = 9, state.hyper.n = 9;
    state.hyper.learning_rate = 0.1, state.hyper.gradient_scale = 1;
    state.hyper.clip_value = INFINITY;
    for (int k = 0; k < 4; k++) {
        const quern_update u = {.parameters = values,
                                .gradients = gradients,
                                .segments = &segment,
                                .segment_count = 1,
                                .hyper = &state.hyper,
                                .applied = &state.applied,
                                .copies = by_update,
                                .copy_dtype = k % 2 ? QUERN_BF16 : QUERN_F16,
                                .copy_stochastic = k >= 2};
        const quern_kernel_args args = {
            .attributes = &u, .run = &state.run, .stream = device->stream};
        REQUIRE_OK(device->backend->call(
            device->stream, device->backend->update_rules[QUERN_OPTIMIZER_SGD], &args));
        task_round r = {values, by_task, COUNT, u.copy_dtype, u.copy_stochastic, &state};
        run_task(TASK_round, &r, NULL);
        CHECK(memcmp(by_task, by_update, sizeof by_task) == 0);
        r.to = later;
        state.step++;
        run_task(TASK_round, &r, NULL);
        CHECK((memcmp(by_task, later, sizeof later) == 0) == (k < 2));
        state.step--;
    }
    end();
}

/* The row is ended by an update alone; more in a row than the limit freeze what follows. */
TEST_CASE(Task, not_finite_attempts_in_a_row_are_counted) {
    static const struct {
        double loss, weight;
        int64_t row;
        int32_t frozen;
    } attempts[] = {{NAN, 1, 1, 0}, {1, 0, 1, 0},   {NAN, 1, 2, 0}, {1, 1, 0, 0},
                    {NAN, 1, 1, 0}, {NAN, 1, 2, 0}, {NAN, 1, 3, 1}, {1, 1, 3, 1}};
    begin(1);
    for (int i = 0; i < 8; i++) {
        state.loss = attempts[i].loss, state.weight = attempts[i].weight;
        decide(0, 2);
        CHECK_SAY(state.not_finite == attempts[i].row && state.frozen == attempts[i].frozen,
                  "attempt %d: %d in a row, frozen %d", i, (int)state.not_finite,
                  (int)state.frozen);
    }
    CHECK(state.step == 1 && state.outcome == QUERN_OUTCOME_FROZEN);
    end();
}

TEST_CASE(Task, open_counts_the_microbatches) {
    begin(1);
    state.run.microbatch = 77;
    for (int64_t i = 0; i < 4; i++) {
        run_task(TASK_open, &(task_open){.state = &state, .first = i == 0}, NULL);
        CHECK(state.run.microbatch == i && state.run.attempt == 3 && state.run.seed == 7);
    }
    end();
}

TEST_CASE(Task, commit_copies_pairs_only_when_applied) {
    float to32[3] = {1, 2, 3}, from32[3] = {4, 5, 6};
    double to64 = 1, from64 = 2;
    const quern_view to[2] = {view_of(to32, QUERN_F32, 3), view_of(&to64, QUERN_F64, 1)};
    const quern_view from[2] = {view_of(from32, QUERN_F32, 3), view_of(&from64, QUERN_F64, 1)};
    begin(1);
    const task_commit t = {&state, 2, to, from};
    run_task(TASK_commit, &t, NULL);
    CHECK(to32[0] == 1 && to32[2] == 3 && to64 == 1);
    state.applied = 1;
    run_task(TASK_commit, &t, NULL);
    CHECK(to32[0] == 4 && to32[2] == 6 && to64 == 2);
    end();
}

TEST_CASE(Task, record_writes_its_slot_and_opens_the_next_window) {
    task_record ring[4];
    memset(ring, 0xEE, sizeof ring);
    begin(1);
    state.step = 9, state.loss = 6, state.weight = 3, state.samples = 2, state.norm = 0.5;
    state.learning_rate = 0.125, state.outcome = QUERN_OUTCOME_SKIPPED;
    state.skip = 1, state.frozen = 1, state.applied = 1, state.not_finite = 6;
    const task_record_args t = {&state, ring, 4};
    run_task(TASK_record, &t, NULL);
    CHECK(ring[3].attempt == 3 && ring[3].step == 9 && ring[3].loss == 6 && ring[3].weight == 3);
    CHECK(ring[3].samples == 2 && ring[3].norm == 0.5 && ring[3].learning_rate == 0.125);
    CHECK(ring[3].outcome == QUERN_OUTCOME_SKIPPED && ring[3].not_finite == 6);
    CHECK(state.not_finite == 6 && state.run.microbatch == 0);
    CHECK(state.loss == 0 && state.weight == 0 && state.samples == 0);
    CHECK(state.skip == 0 && state.applied == 0 && state.frozen == 1);
    CHECK(state.run.attempt == 4 && state.run.seed == 7 && state.step == 9);
    run_task(TASK_record, &t, NULL);
    CHECK(ring[0].attempt == 4);
    end();
}

TEST_CASE(Task, accumulate_adds_values_of_any_dtype_in_double) {
    double sums[3] = {0.5, 0, 0};
    float f32[3] = {1, 2, 3};
    int64_t i64[3] = {10, 20, 30};
    begin(1);
    run_task(TASK_accumulate, &(task_accumulate){sums, view_of(f32, QUERN_F32, 3), 100}, NULL);
    run_task(TASK_accumulate, &(task_accumulate){sums, view_of(i64, QUERN_I64, 3), 100}, NULL);
    CHECK(sums[0] == 11.5 && sums[1] == 22 && sums[2] == 33);
    run_task(TASK_accumulate, &(task_accumulate){.sums = sums, .constant = 64}, NULL);
    CHECK(sums[0] == 75.5 && sums[1] == 22);
    end();
}
