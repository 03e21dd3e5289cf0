/* test_precision.c - training in BF16 and F16: near F32, loss scales that grow and fall on the
 * device, skipped updates that change nothing, and windows cut otherwise. */
#include "kernels/tolerances.h"
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

enum { WEIGHTS = 256, SEEN = 64 };

/* What came back of each attempt. */
typedef struct seen {
    quern_outcome outcome[SEEN];
    double scale[SEEN], norm[SEEN]; /* of each log */
    int64_t step[SEEN];
    int32_t count, logs;
    quern_tensor *watched; /* its gradient, at grads_ready */
    float gradient[WEIGHTS];
    size_t gradient_bytes;
} seen;

static quern_action on_update(void *self, const quern_event *event) {
    seen *s = self;
    if (s->count >= SEEN) return QUERN_FAIL;
    s->step[s->count] = event->step;
    s->outcome[s->count++] = event->outcome;
    return QUERN_CONTINUE;
}

static quern_action on_log(void *self, const quern_event *event) {
    seen *s = self;
    s->scale[s->logs] = quern_event_scalar(event, "train/loss_scale");
    s->norm[s->logs++] = quern_event_scalar(event, "train/gradient_norm");
    return s->logs < SEEN ? QUERN_CONTINUE : QUERN_FAIL;
}

static quern_action on_gradients(void *self, const quern_event *event) {
    seen *s = self;
    const quern_status status = quern_parameters_read_gradient(
        quern_trainer_parameters(event->trainer), s->watched, s->gradient, s->gradient_bytes);
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

/* One epoch of the world's data. */
static quern_status run(world *w, seen *s, quern_precision precision, quern_loss_scale scale) {
    const quern_callback callback = {
        .name = "seen", .self = s, .update_end = on_update, .log = on_log};
    quern_trainer_desc desc = world_with(w, &callback, 1);
    *s = (seen){0};
    desc.precision = precision;
    desc.loss_scale = scale;
    desc.log_every = 1;
    const quern_status status = quern_trainer_create(&w->trainer, &desc);
    return status == QUERN_OK ? quern_trainer_fit(w->trainer, NULL) : status;
}

TEST_CASE(TrainPrecision, an_overflow_skips_the_update_and_halves_the_scale) {
    world w;
    seen s;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    CHECK_OK(run(&w, &s, QUERN_PRECISION_F16, (quern_loss_scale){.initial = 0x1p22}));
    int32_t overflows = 0, applied = 0;
    for (int32_t i = 0; i < s.count; i++) {
        const bool overflow = s.outcome[i] == QUERN_OUTCOME_OVERFLOW;
        CHECK(overflow || s.outcome[i] == QUERN_OUTCOME_APPLIED);
        overflows += overflow;
        if (!overflow) CHECK(s.scale[applied++] == ldexp(0x1p22, -overflows));
        CHECK(s.step[i] == applied);
    }
    CHECK(s.count == 10 && s.outcome[0] == QUERN_OUTCOME_OVERFLOW && overflows >= 2);
    CHECK(applied >= 2 && s.logs == applied);
    CHECK(isfinite(s.norm[0]) && s.norm[0] > 0 && s.norm[0] < 100);
    CHECK_TEXT(quern_outcome_name(s.outcome[0]), "overflow");
    quern_result result;
    CHECK_OK(quern_trainer_wait(w.trainer, &result));
    CHECK(result.attempts == 10 && result.step == 10 - overflows);
    world_close(&w);
}

TEST_CASE(TrainPrecision, a_skipped_update_leaves_the_weights_bit_for_bit) {
    world w;
    float before[WEIGHTS], after[WEIGHTS];
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    quern_trainer_desc desc = w.desc;
    desc.train = NULL;
    desc.epoch_count = desc.accumulate = 0;
    desc.precision = QUERN_PRECISION_F16;
    desc.loss_scale.initial = 0x1p22;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    int64_t step = 0, skipped = 0;
    for (int i = 0; i < 10; i++) {
        quern_result result;
        const int64_t count = world_weights(&w, before, WEIGHTS);
        CHECK_OK(quern_trainer_step(
            w.trainer, &(quern_batch){.sample_count = 4,
                                      .field_count = 2,
                                      .names = {"x", "label"},
                                      .data = {w.train_x[4 * i], &w.train_label[4 * i]}}));
        CHECK_OK(quern_trainer_wait(w.trainer, &result));
        CHECK(world_weights(&w, after, WEIGHTS) == count && count > 0);
        const bool same = memcmp(before, after, (size_t)count * sizeof *after) == 0;
        CHECK(result.attempts == i + 1 && same == (result.step == step));
        skipped += same;
        step = result.step;
    }
    CHECK(skipped >= 2 && step >= 2);
    world_close(&w);
}

TEST_CASE(TrainPrecision, at_the_smallest_scale_an_overflow_is_a_failure) {
    world w;
    seen s;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    CHECK_STATUS(
        run(&w, &s, QUERN_PRECISION_F16, (quern_loss_scale){.initial = 0x1p40, .minimum = 0x1p38}),
        QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("the gradient of");
    CHECK(s.outcome[0] == QUERN_OUTCOME_OVERFLOW && s.outcome[1] == QUERN_OUTCOME_OVERFLOW);
    CHECK(s.outcome[2] == QUERN_OUTCOME_NOT_FINITE && s.count == 3);
    world_close(&w);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    CHECK_STATUS(
        run(&w, &s, QUERN_PRECISION_F16, (quern_loss_scale){.initial = 0x1p40, .is_static = true}),
        QUERN_NOT_FINITE);
    CHECK(s.outcome[0] == QUERN_OUTCOME_NOT_FINITE && s.count == 1);
    world_close(&w);
}

TEST_CASE(TrainPrecision, the_scale_grows_behind_so_many_updates) {
    world w;
    seen s;
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    CHECK_OK(run(&w, &s, QUERN_PRECISION_BF16,
                 (quern_loss_scale){.initial = 8, .growth = 4, .interval = 3}));
    CHECK(s.logs == 10);
    for (int i = 0; i < s.logs; i++)
        CHECK_SAY(s.scale[i] == 8 * pow(4, (i + 1) / 3), "%d: %g", i, s.scale[i]);
    world_close(&w);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
    CHECK_OK(run(&w, &s, QUERN_PRECISION_BF16, (quern_loss_scale){0}));
    CHECK(isnan(s.scale[0])); /* none */
    world_close(&w);
}

/* A scale that is a power of two changes no bit in F32: clipping, norm, update and weights. */
TEST_CASE(TrainPrecision, what_is_clipped_and_reported_is_unscaled) {
    float weights[2][WEIGHTS];
    seen s[2];
    int64_t count = 0;
    for (int k = 0; k < 2; k++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 40, .valid_length = -1}));
        w.desc.optimizer.clip_norm = 0.05;
        CHECK_OK(run(&w, &s[k], QUERN_PRECISION_F32,
                     (quern_loss_scale){.initial = k ? 1024 : 0, .is_static = k == 1}));
        count = world_weights(&w, weights[k], WEIGHTS);
        world_close(&w);
    }
    CHECK(memcmp(weights[0], weights[1], (size_t)count * sizeof(float)) == 0);
    for (int i = 0; i < 10; i++) CHECK(s[0].norm[i] == s[1].norm[i]);
    CHECK(s[1].scale[9] == 1024);
}

TEST_CASE(TrainPrecision, a_callback_reads_unscaled_gradients) {
    float gradient[2][WEIGHTS];
    size_t bytes = 0;
    for (int k = 0; k < 2; k++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 4, .valid_length = -1}));
        seen s = {.watched = quern_graph_parameter(w.graph, 0)};
        s.gradient_bytes = bytes = WORLD_HIDDEN * WORLD_FEATURES * sizeof(float);
        const quern_callback callback = {.name = "reads", .self = &s, .grads_ready = on_gradients};
        quern_trainer_desc desc = world_with(&w, &callback, 1);
        desc.precision = k ? QUERN_PRECISION_F16 : QUERN_PRECISION_F32;
        CHECK_OK(quern_trainer_create(&w.trainer, &desc));
        CHECK_OK(quern_trainer_fit(w.trainer, NULL));
        memcpy(gradient[k], s.gradient, bytes);
        world_close(&w);
    }
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        CHECK_NEAR((double)gradient[1][i], (double)gradient[0][i], TOL_NETWORK_F16);
    CHECK(gradient[0][0] != 0 && memcmp(gradient[0], gradient[1], bytes) != 0);
}

static double trained_loss(quern_precision precision, bool stochastic, float *weights) {
    world w;
    quern_result result = {0};
    if (world_open(&w, &(world_desc){.train_length = 48, .valid_length = 12}) != QUERN_OK)
        return (double)NAN;
    w.desc.epoch_count = 20;
    w.desc.precision = precision;
    w.desc.stochastic_rounding = stochastic;
    w.desc.average_decay = 0.5;
    CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_trainer_fit(w.trainer, &result));
    CHECK(isfinite(result.valid_loss));
    if (weights) (void)world_weights(&w, weights, WEIGHTS);
    world_close(&w);
    return result.train_loss;
}

TEST_CASE(TrainPrecision, training_comes_to_the_loss_that_f32_comes_to) {
    float weights[2][WEIGHTS] = {{0}};
    const double f32 = trained_loss(QUERN_PRECISION_F32, false, NULL);
    CHECK_NEAR(trained_loss(QUERN_PRECISION_TF32, false, NULL), f32, 0);
    CHECK_NEAR(trained_loss(QUERN_PRECISION_F16, false, NULL), f32, TOL_NETWORK_F16 * f32);
    CHECK_NEAR(trained_loss(QUERN_PRECISION_BF16, false, NULL), f32, TOL_NETWORK_BF16 * f32);
    const double chance = trained_loss(QUERN_PRECISION_BF16, true, weights[0]);
    CHECK_NEAR(chance, f32, TOL_NETWORK_BF16 * f32);
    CHECK(trained_loss(QUERN_PRECISION_BF16, true, weights[1]) == chance);
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
    CHECK(trained_loss(QUERN_PRECISION_BF16, false, weights[1]) != chance);
}

/* 8 samples as one batch, as 2 of 4, as 8 of 1: the same update but for roundings. */
TEST_CASE(TrainPrecision, windows_cut_otherwise_are_the_same_update) {
    for (int k = 0; k < 2; k++) {
        float weights[3][WEIGHTS];
        const double tolerance = k ? TOL_WINDOW_F16 : TOL_WINDOW_BF16;
        int64_t count = 0;
        for (int i = 0; i < 3; i++) {
            static const int64_t parts[] = {1, 2, 8};
            world w;
            REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 8, .valid_length = -1}));
            w.desc.batch_size = 8 / parts[i];
            w.desc.accumulate = parts[i];
            w.desc.precision = k ? QUERN_PRECISION_F16 : QUERN_PRECISION_BF16;
            w.desc.optimizer =
                (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1};
            CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
            CHECK_OK(quern_trainer_fit(w.trainer, NULL));
            count = world_weights(&w, weights[i], WEIGHTS);
            world_close(&w);
        }
        for (int64_t i = 0; i < count; i++) {
            CHECK_NEAR((double)weights[1][i], (double)weights[0][i], tolerance);
            CHECK_NEAR((double)weights[2][i], (double)weights[0][i], tolerance);
        }
    }
}

static void refused(world *w, quern_trainer_desc desc, const char *sentence) {
    CHECK_STATUS(quern_trainer_create(&w->trainer, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS(sentence);
}

TEST_CASE(TrainPrecision, fields_that_nothing_reads_are_refused) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    quern_trainer_desc d = w.desc;
    d.loss_scale.growth = 3;
    refused(&w, d, "precision f32 has none without loss_scale.initial");
    d.precision = QUERN_PRECISION_F16;
    d.loss_scale.is_static = true;
    refused(&w, d, "is_static is set");
    d.loss_scale = (quern_loss_scale){.backoff = 1};
    refused(&w, d, "loss_scale.backoff is 1, expected between 0 and 1");
    d.loss_scale = (quern_loss_scale){.initial = -1};
    refused(&w, d, "loss_scale.initial is -1");
    d.loss_scale = (quern_loss_scale){.initial = (double)NAN};
    refused(&w, d, "loss_scale.initial");
    d.loss_scale = (quern_loss_scale){.initial = 4, .minimum = 8};
    refused(&w, d, "loss_scale.minimum is 8, expected initial at most");
    d.loss_scale = (quern_loss_scale){0};
    d.precision = (quern_precision)9;
    refused(&w, d, "precision 9");
    d.precision = QUERN_PRECISION_TF32;
    d.stochastic_rounding = true;
    refused(&w, d, "stochastic_rounding is set, but precision tf32");
    world_close(&w);
}
