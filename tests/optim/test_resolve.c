/* test_resolve.c - the optimizer desc: defaults of every rule, fields that it does not read,
 * values out of range. */
#include "host/optim/optimizer.h"
#include "quern_test.h"

#include <math.h>

static quern_optimizer_desc resolved(quern_optimizer_desc desc) {
    quern_optimizer_desc out = {0};
    CHECK_OK(optimizer_resolve(&out, &desc, 0));
    return out;
}

TEST_CASE(OptimizerDesc, zero_means_adamw_with_its_defaults) {
    quern_optimizer_desc d;
    CHECK_OK(optimizer_resolve(&d, NULL, 0));
    CHECK_TEXT(optimizer_name(&d), "adamw");
    CHECK(d.learning_rate == 1e-3 && d.beta1 == 0.9 && d.beta2 == 0.999 && d.epsilon == 1e-8);
    CHECK(d.weight_decay == 0 && d.clip_norm == 0);
}

TEST_CASE(OptimizerDesc, every_rule_has_its_own_defaults) {
    const quern_optimizer_desc lion =
        resolved((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_LION});
    CHECK(lion.beta1 == 0.9 && lion.beta2 == 0.99 && lion.epsilon == 0);
    const quern_optimizer_desc rms =
        resolved((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_RMSPROP});
    CHECK(rms.beta1 == 0 && rms.beta2 == 0.99 && rms.epsilon == 1e-8 && rms.momentum == 0);
    const quern_optimizer_desc ada =
        resolved((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_ADAGRAD});
    CHECK(ada.beta2 == 0 && ada.epsilon == 1e-10);
    const quern_optimizer_desc sgd = resolved((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD});
    CHECK(sgd.beta1 == 0 && sgd.epsilon == 0 && sgd.learning_rate == 1e-3);
}

TEST_CASE(OptimizerDesc, minus_zero_says_exactly_zero_and_stays) {
    quern_optimizer_desc d = resolved(
        (quern_optimizer_desc){.learning_rate = (double)QUERN_ZERO, .beta1 = (double)QUERN_ZERO});
    CHECK(d.learning_rate == 0 && d.beta1 == 0 && d.beta2 == 0.999);
    d = resolved(d);
    CHECK(d.learning_rate == 0 && d.beta1 == 0);
}

TEST_CASE(OptimizerDesc, a_state_that_momentum_does_not_need_is_not_kept) {
    static const struct {
        quern_optimizer_kind kind;
        double momentum;
        int32_t states;
    } cases[] = {{QUERN_OPTIMIZER_ADAMW, 0, 2},   {QUERN_OPTIMIZER_ADAM, 0, 2},
                 {QUERN_OPTIMIZER_SGD, 0, 0},     {QUERN_OPTIMIZER_SGD, 0.9, 1},
                 {QUERN_OPTIMIZER_RMSPROP, 0, 1}, {QUERN_OPTIMIZER_RMSPROP, 0.9, 2},
                 {QUERN_OPTIMIZER_ADAGRAD, 0, 1}, {QUERN_OPTIMIZER_LION, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const quern_optimizer_desc d =
            resolved((quern_optimizer_desc){.kind = cases[i].kind, .momentum = cases[i].momentum});
        CHECK_SAY(optimizer_state_count(&d) == cases[i].states, "%s: %d states", optimizer_name(&d),
                  (int)optimizer_state_count(&d));
    }
}

static const quern_update_rule nameless = {.state_count = 1};
static const quern_update_rule greedy = {.name = "greedy", .state_count = 5};
static const quern_update_rule plain = {.name = "plain"};

TEST_CASE(OptimizerDesc, what_is_wrong_is_refused_with_field_and_value) {
    static const struct {
        quern_optimizer_desc desc;
        const char *says;
    } cases[] = {
        {{.kind = QUERN_OPTIMIZER_SGD, .beta1 = 0.9}, "sgd does not read beta1"},
        {{.clip_value = -1}, "adamw: clip_value -1, expected 0 or more"},
        {{.clip_value = (double)NAN}, "clip_value"},
        {{.clip_value = (double)INFINITY}, "clip_value"},
        {{.kind = QUERN_OPTIMIZER_SGD, .beta2 = 0.9}, "sgd does not read beta2"},
        {{.kind = QUERN_OPTIMIZER_SGD, .epsilon = 1e-8}, "sgd does not read epsilon"},
        {{.momentum = 0.9}, "adamw does not read momentum"},
        {{.momentum = (double)QUERN_ZERO}, "adamw does not read momentum"},
        {{.nesterov = true}, "adamw does not read nesterov"},
        {{.kind = QUERN_OPTIMIZER_RMSPROP, .beta1 = 0.9}, "rmsprop does not read beta1"},
        {{.kind = QUERN_OPTIMIZER_RMSPROP, .momentum = 0.9, .nesterov = true},
         "rmsprop does not read nesterov"},
        {{.kind = QUERN_OPTIMIZER_ADAGRAD, .beta2 = 0.9}, "adagrad does not read beta2"},
        {{.kind = QUERN_OPTIMIZER_LION, .epsilon = 1}, "lion does not read epsilon"},
        {{.kind = QUERN_OPTIMIZER_SGD, .nesterov = true}, "nesterov needs a momentum above 0"},
        {{.learning_rate = -0.5}, "adamw: learning_rate -0.5, expected 0 or more"},
        {{.learning_rate = NAN}, "learning_rate nan"},
        {{.learning_rate = INFINITY}, "learning_rate inf"},
        {{.beta1 = 1}, "beta1 1, expected [0, 1)"},
        {{.beta2 = -0.1}, "beta2 -0.1"},
        {{.epsilon = -1}, "epsilon -1"},
        {{.weight_decay = -1}, "weight_decay -1"},
        {{.weight_decay = INFINITY}, "weight_decay inf"},
        {{.clip_norm = -1}, "clip_norm -1"},
        {{.clip_norm = NAN}, "clip_norm nan"},
        {{.kind = QUERN_OPTIMIZER_SGD, .momentum = NAN}, "momentum nan"},
        {{.kind = (quern_optimizer_kind)77}, "kind 77 does not exist"},
        {{.kind = QUERN_OPTIMIZER_SGD, .rule = &plain}, "kind sgd and a rule"},
        {{.rule = &nameless}, "no name"},
        {{.rule = &greedy}, "greedy: 5 states"},
        {{.rule = &plain, .weight_decay = 0.1}, "plain does not read weight_decay"},
        {{.schedule = {.kind = QUERN_SCHEDULE_COSINE}}, "cosine needs total"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_optimizer_desc d;
        CHECK_STATUS(optimizer_resolve(&d, &cases[i].desc, 0), QUERN_INVALID);
        CHECK_ERROR_HAS(cases[i].says);
    }
}
