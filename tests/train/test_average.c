/* test_average.c - the moving average against one computed here from the weights of every step,
 * who uses it, what leaves it alone, and what it takes. */
#include "quern_test.h"
#include "world.h"

#include <math.h>
#include <string.h>

enum { WEIGHTS = 67 + 4, STEPS_MAX = 64 };

typedef struct diary {
    world *w;
    int64_t steps;
    float weights[STEPS_MAX][WEIGHTS], average[STEPS_MAX][WEIGHTS];
} diary;

/* In the order of world_weights. */
static void average_read(world *w, float *out) {
    static const char *const names[] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};
    static const int64_t counts[] = {WORLD_HIDDEN * WORLD_FEATURES, WORLD_HIDDEN,
                                     WORLD_CLASSES * WORLD_HIDDEN, WORLD_CLASSES};
    for (int i = 0; i < 4; i++) {
        REQUIRE_OK(quern_parameters_read(quern_trainer_average(w->trainer),
                                         quern_tensor_find(w->graph, names[i]), out,
                                         (size_t)counts[i] * sizeof *out));
        out += counts[i];
    }
}

static quern_action write_down(void *self, const quern_event *event) {
    diary *d = self;
    d->w->trainer = event->trainer;
    world_weights(d->w, d->weights[event->step], WEIGHTS);
    average_read(d->w, d->average[event->step]);
    d->steps = event->step;
    return QUERN_CONTINUE;
}

/* log_every 1: at each log nothing is in flight, so weights and average are those of that step. */
static void diary_fit(diary *d, world *w, double decay, bool warmup, bool eager) {
    memset(d, 0, sizeof *d);
    d->w = w;
    const quern_callback callback = {
        .name = "diary", .self = d, .fit_begin = write_down, .log = write_down};
    quern_trainer_desc desc = world_with(w, &callback, 1);
    desc.epoch_count = 8;
    desc.log_every = 1;
    desc.average_decay = decay;
    desc.average_warmup = warmup;
    desc.no_capture = eager;
    REQUIRE_OK(quern_trainer_create(&w->trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w->trainer, NULL));
}

/* In double, from the weights as they were: F32 rounds three times a step. */
static void check_diary(const diary *d, double decay, bool warmup) {
    REQUIRE(d->steps == 24);
    double expected[WEIGHTS], furthest = 0;
    for (int i = 0; i < 67; i++) {
        expected[i] = (double)d->weights[0][i];
        CHECK(d->average[0][i] == d->weights[0][i]);
    }
    for (int64_t n = 1; n <= d->steps; n++) {
        const double warm = (1 + (double)n) / (10 + (double)n);
        const double keep = warmup && warm < decay ? warm : decay;
        for (int i = 0; i < 67; i++) {
            expected[i] = keep * expected[i] + (1 - keep) * (double)d->weights[n][i];
            CHECK_NEAR((double)d->average[n][i], expected[i], 1e-6);
            furthest = fmax(furthest, fabs(expected[i] - (double)d->weights[n][i]));
        }
    }
    CHECK(furthest > 0.05); /* else the weights themselves would have passed */
}

static diary first, second;

TEST_CASE(Average, follows_every_update) {
    for (int warmup = 0; warmup < 2; warmup++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        diary_fit(&first, &w, 0.9, warmup == 1, false);
        check_diary(&first, 0.9, warmup == 1);
        world_close(&w);
    }
}

/* SGD of the application's own. */
static quern_status own_update(const quern_kernel_args *args) {
    const quern_update *u = args->attributes;
    const float rate = (float)u->hyper->learning_rate;
    for (int32_t k = 0; *u->applied != 0 && k < u->segment_count; k++)
        for (int64_t i = 0; i < u->segments[k].count; i++)
            ((float *)u->parameters)[u->segments[k].start + i] -=
                rate * ((const float *)u->gradients)[u->segments[k].start + i];
    return QUERN_OK;
}
static const quern_update_rule own = {.name = "own", .update = {[QUERN_BACKEND_CPU] = own_update}};

TEST_CASE(Average, follows_every_update_of_an_own_rule) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.optimizer = (quern_optimizer_desc){.rule = &own, .learning_rate = 0.2};
    diary_fit(&first, &w, 0.9, true, false);
    check_diary(&first, 0.9, true);
    world_close(&w);
}

TEST_CASE(Average, is_the_same_captured_and_eager_and_for_any_thread_count) {
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true}));
    diary_fit(&first, &w, 0.8, true, false);
    world_close(&w);
    REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true, .thread_count = 3}));
    diary_fit(&second, &w, 0.8, true, true);
    world_close(&w);
    CHECK(memcmp(first.average, second.average, sizeof first.average) == 0);
}

TEST_CASE(Average, changes_no_bit_of_the_training) {
    float weights[2][WEIGHTS] = {{0}};
    for (int i = 0; i < 2; i++) {
        world w;
        REQUIRE_OK(world_open(&w, &(world_desc){.dropout = true}));
        w.desc.epoch_count = 4;
        w.desc.average_decay = i == 0 ? 0 : 0.5;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK((quern_trainer_average(w.trainer) == NULL) == (i == 0));
        REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
        REQUIRE(world_weights(&w, weights[i], WEIGHTS) == 67);
        world_close(&w);
    }
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
}

static double evaluated_loss(world *w) {
    quern_scalar scalars[4] = {{.value = (double)NAN}};
    int32_t count = 0;
    CHECK_OK(quern_trainer_evaluate(w->trainer, w->valid, scalars, 4, &count));
    return scalars[0].value;
}

/* The average is moved away by hand: only who computes with it sees that. */
TEST_CASE(Average, evaluation_and_prediction_use_it_and_training_does_not) {
    world w;
    quern_result r;
    float before[WEIGHTS], after[WEIGHTS], bias[WORLD_CLASSES] = {0, 1000, 0};
    float logits[10 * WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.average_decay = 0.999;
    w.desc.step_limit = 2;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    const double loss = evaluated_loss(&w);
    CHECK(r.valid_loss == loss);
    REQUIRE(world_weights(&w, before, WEIGHTS) == 67);
    REQUIRE_OK(quern_parameters_write(quern_trainer_average(w.trainer),
                                      quern_tensor_find(w.graph, "fc2.bias"), bias, sizeof bias));
    CHECK(evaluated_loss(&w) > loss + 100);
    CHECK_OK(quern_trainer_predict(w.trainer, w.valid, w.logits, logits, sizeof logits));
    for (int i = 0; i < 10; i++) CHECK(logits[i * WORLD_CLASSES + 1] > 900);
    REQUIRE(world_weights(&w, after, WEIGHTS) == 67);
    CHECK(memcmp(before, after, 67 * sizeof *before) == 0);
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.train_loss < 5);
    CHECK(r.valid_loss > 100);
    world_close(&w);
}

/* Weights that an application loads are evaluated and averaged until training moves them. */
TEST_CASE(Average, begins_with_the_parameters_as_they_are_before_the_first_update) {
    world w;
    float average[WEIGHTS], weights[WEIGHTS], bias[WORLD_CLASSES] = {0, 500, 0};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_tensor *tensor = quern_tensor_find(w.graph, "fc2.bias");
    w.desc.average_decay = 0.5;
    w.desc.step_limit = 1;
    w.desc.optimizer = (quern_optimizer_desc){.learning_rate = (double)QUERN_ZERO};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    const double untouched = evaluated_loss(&w);
    REQUIRE_OK(
        quern_parameters_write(quern_trainer_parameters(w.trainer), tensor, bias, sizeof bias));
    CHECK(evaluated_loss(&w) > untouched + 50);
    bias[1] = 250;
    REQUIRE_OK(
        quern_parameters_write(quern_trainer_parameters(w.trainer), tensor, bias, sizeof bias));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    average_read(&w, average);
    REQUIRE(world_weights(&w, weights, WEIGHTS) == 67);
    CHECK(memcmp(average, weights, 67 * sizeof *average) == 0);
    world_close(&w);
}

static quern_action skip_odd(void *self, const quern_event *event) {
    (void)self;
    return event->attempts % 2 == 1 ? QUERN_SKIP_STEP : QUERN_CONTINUE;
}

typedef struct outcomes {
    world *w;
    float last[WEIGHTS];
    int64_t applied, skipped;
} outcomes;

static quern_action compare(void *self, const quern_event *event) {
    outcomes *o = self;
    float now[WEIGHTS] = {0};
    o->w->trainer = event->trainer;
    average_read(o->w, now);
    const bool moved = memcmp(now, o->last, sizeof now) != 0;
    if (event->outcome == QUERN_OUTCOME_APPLIED) {
        o->applied++;
        CHECK(moved);
    } else {
        o->skipped++;
        CHECK(!moved);
    }
    memcpy(o->last, now, sizeof now);
    return QUERN_CONTINUE;
}

/* One attempt at a time, so that what is read is what that attempt left. */
TEST_CASE(Average, a_skipped_attempt_leaves_every_bit) {
    world w;
    outcomes o = {.w = &w};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_callback callbacks[] = {{.name = "skip", .step_begin = skip_odd},
                                        {.name = "compare", .self = &o, .step_end = compare}};
    w.desc = world_with(&w, callbacks, 2);
    w.desc.average_decay = 0.9;
    w.desc.train = w.desc.valid = NULL;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    for (int i = 0; i < 8; i++) {
        const quern_batch batch = {.sample_count = 4,
                                   .field_count = 2,
                                   .names = {"x", "label"},
                                   .data = {w.train_x[4 * i], &w.train_label[4 * i]}};
        REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
        REQUIRE_OK(quern_trainer_wait(w.trainer, NULL));
    }
    CHECK(o.applied == 4 && o.skipped == 4);
    world_close(&w);
}

TEST_CASE(Average, is_counted_to_the_byte) {
    world w;
    quern_memory without, with;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_trainer_memory(&without, &w.desc));
    w.desc.average_decay = 0.9;
    REQUIRE_OK(quern_trainer_memory(&with, &w.desc));
    /* each tensor padded to 16 elements: 32 + 16 + 32 + 16 */
    CHECK(with.parameter_bytes - without.parameter_bytes == 96 * sizeof(float));
    CHECK(with.peak_bytes - without.peak_bytes == 96 * sizeof(float));
    world_close(&w);
}

TEST_CASE(Average, a_decay_that_is_none_is_refused) {
    static const double bad[] = {-0.1, 1, 2, NAN, INFINITY};
    world w;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        w.desc.average_decay = bad[i];
        CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
        CHECK_ERROR_HAS("average_decay");
    }
    w.desc.average_decay = 0;
    w.desc.average_warmup = true;
    CHECK_STATUS(quern_trainer_create(&w.trainer, &w.desc), QUERN_INVALID);
    CHECK_ERROR_HAS("average_warmup");
    CHECK(quern_trainer_average(NULL) == NULL);
    world_close(&w);
}
