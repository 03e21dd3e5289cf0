/* test_plateau.c - when the learning rate is reduced, by a script of metric values, against torch's
 * ReduceLROnPlateau written down here; its state in another object. */
#include "quern_test.h"
#include "state.h"
#include "train/world.h"

#include <math.h>

enum { VALUES_MAX = 40 };

typedef struct script {
    const double *values;
    int at;
    double scales[VALUES_MAX]; /* of the learning rate, in each epoch */
} script;

static quern_status script_add(void *self, const quern_view *values, int64_t sample_count) {
    (void)self;
    (void)values;
    (void)sample_count;
    return QUERN_OK;
}

static double script_result(void *self) {
    script *s = self;
    return s->values[s->at++];
}

static quern_action keep_rate(void *self, const quern_event *event) {
    script *s = self;
    s->scales[event->epoch] = quern_trainer_learning_rate(event->trainer) / 0.5;
    return QUERN_CONTINUE;
}

/* `epochs` more epochs under plateau; each is judged at its end. */
static bool run(quern_plateau *p, world *w, script *s, int64_t epochs) {
    static quern_metric metric;
    metric = (quern_metric){.name = "score",
                            .kind = QUERN_METRIC_HOST,
                            .host = {.self = s,
                                     .tensors = {w->logits},
                                     .tensor_count = 1,
                                     .add = script_add,
                                     .result = script_result}};
    const quern_callback callbacks[] = {quern_plateau_callback(p),
                                        {.name = "rate", .self = s, .update_end = keep_rate}};
    quern_trainer_desc desc = world_with(w, callbacks, 2);
    desc.metrics = &metric;
    desc.metric_count = 1;
    desc.epoch_count = epochs;
    desc.optimizer = (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_LION, .learning_rate = 0.5};
    return quern_trainer_create(&w->trainer, &desc) == QUERN_OK;
}

/* torch/optim/lr_scheduler.py, ReduceLROnPlateau.step with threshold_mode "abs" and eps 0. */
static void torch_scales(const quern_plateau_desc *d, const double *values, int count,
                         double *scales) {
    double best = d->maximize ? -INFINITY : INFINITY, scale = 1;
    int64_t bad = 0, cooling = 0;
    for (int i = 0; i < count; i++) {
        scales[i] = scale;
        const bool better =
            d->maximize ? values[i] > best + d->min_delta : values[i] < best - d->min_delta;
        if (better) best = values[i];
        bad = better ? 0 : bad + 1;
        if (cooling > 0) {
            cooling--;
            bad = 0;
        }
        if (bad > d->patience) {
            scale = fmax(scale * d->factor, d->lowest);
            cooling = d->cooldown;
            bad = 0;
        }
    }
}

static void check_script(quern_plateau_desc desc, const double *values, int count) {
    world w;
    script s = {.values = values};
    quern_plateau *p = NULL;
    double expected[VALUES_MAX];
    desc.metric = "val/score";
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_plateau_create(&p, w.device, &desc));
    REQUIRE(run(p, &w, &s, count));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    torch_scales(&desc, values, count, expected);
    bool reduced = false;
    for (int i = 0; i < count; i++) {
        CHECK_NEAR(s.scales[i] / expected[i], 1, 1e-12);
        reduced |= expected[i] < 1;
    }
    CHECK(reduced);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_plateau_destroy(p);
    world_close(&w);
}

TEST_CASE(Plateau, reduces_where_torch_does) {
    static const double falling[] = {5, 4, 4, 4, 4, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9, 1, 1, 1};
    static const double rough[] = {(double)NAN, 3, 2.75, 2.5, (double)NAN, 2.5, (double)INFINITY,
                                   2,           2, 2,    2,   2,           2,   2,
                                   2,           2, 2,    2};
    static const double rising[] = {0.1, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.9, 0.9};
    check_script((quern_plateau_desc){.patience = 2, .factor = 0.5}, falling, 15);
    check_script((quern_plateau_desc){.patience = 1, .factor = 0.5, .cooldown = 3}, falling, 15);
    check_script((quern_plateau_desc){.patience = 2, .factor = 0.25, .min_delta = 0.5}, rough, 18);
    check_script((quern_plateau_desc){.patience = 1, .factor = 0.1, .lowest = 0.05}, rough, 18);
    check_script((quern_plateau_desc){.patience = 1, .factor = 0.5, .maximize = true}, rising, 10);
}

/* Half the script in one object and trainer, the other half in another one: the same reductions. */
TEST_CASE(Plateau, its_state_goes_on_in_another_object) {
    static const double values[] = {5, 4, 4, 4, 4, 4, 4, 4, 4, 4};
    const quern_plateau_desc desc = {
        .metric = "val/score", .patience = 2, .factor = 0.5, .cooldown = 2, .lowest = 0.3};
    world w[2];
    quern_plateau *p[2] = {NULL, NULL};
    script s[3] = {{.values = values}, {.values = values}, {.values = values, .at = 5}};
    double expected[VALUES_MAX];
    torch_scales(&desc, values, 10, expected);
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(world_open(&w[i], &(world_desc){0}));
        REQUIRE_OK(quern_plateau_create(&p[i], w[i].device, &desc));
        REQUIRE(run(p[i], &w[i], &s[i + 1], 5));
    }
    REQUIRE_OK(quern_trainer_fit(w[0].trainer, NULL));
    REQUIRE(state_move(quern_plateau_callback(p[0]), quern_plateau_callback(p[1])));
    CHECK(state_loaded(quern_plateau_callback(p[1]), w[1].trainer) == QUERN_CONTINUE);
    CHECK_OK(quern_trainer_scale_learning_rate(w[1].trainer, 0.5)); /* the trainer's own state */
    REQUIRE_OK(quern_trainer_fit(w[1].trainer, NULL));
    for (int i = 0; i < 5; i++) {
        CHECK_NEAR(s[1].scales[i], expected[i], 1e-12);
        CHECK_NEAR(s[2].scales[i], expected[i + 5], 1e-12);
    }
    for (int i = 0; i < 2; i++) {
        quern_trainer_destroy(w[i].trainer);
        w[i].trainer = NULL;
        quern_plateau_destroy(p[i]);
        world_close(&w[i]);
    }
}

TEST_CASE(Plateau, a_state_that_cannot_be_is_refused) {
    world w;
    quern_plateau *p = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_plateau_create(&p, w.device, NULL));
    const quern_callback callback = quern_plateau_callback(p);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const quern_callback_state state = callback.state(callback.self);
    CHECK(state_loaded(callback, w.trainer) == QUERN_CONTINUE);
    memset(state.data, 0xFF, state.bytes);
    CHECK(state_loaded(callback, w.trainer) == QUERN_FAIL);
    CHECK_ERROR_HAS("plateau: a state");
    memset(state.data, 0, state.bytes); /* a product of 0 */
    CHECK(state_loaded(callback, w.trainer) == QUERN_FAIL);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_plateau_destroy(p);
    world_close(&w);
}

TEST_CASE(Plateau, a_desc_or_metric_that_makes_no_sense_is_refused) {
    static const quern_plateau_desc bad[] = {
        {.factor = 1},  {.factor = -0.5}, {.factor = NAN}, {.patience = -1},  {.cooldown = -1},
        {.lowest = -1}, {.lowest = 1},    {.lowest = NAN}, {.min_delta = -1}, {.min_delta = NAN}};
    world w;
    quern_plateau *p = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(quern_plateau_create(&p, w.device, &bad[i]), QUERN_INVALID);
        CHECK(p == NULL);
    }
    quern_plateau_destroy(NULL);
    REQUIRE_OK(quern_plateau_create(&p, w.device, &(quern_plateau_desc){.metric = "val/los"}));
    const quern_callback callback = quern_plateau_callback(p);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    CHECK_STATUS(quern_trainer_create(&w.trainer, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("plateau: init has no scalar val/los");
    quern_plateau_destroy(p);
    world_close(&w);
}
