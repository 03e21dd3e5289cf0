/* test_copies.c - updates of parameters that have 16-bit copies: rounded to nearest and by chance,
 * by the built-in rules as they write and behind an application's own. However the copies came
 * about, they are a function of the values and of the number of updates. */
#include "host/device/device.h"
#include "host/optim/optimizer.h"
#include "quern_test.h"

#include <quern/nn.h>
#include <quern/ops.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 8, FEATURES = 6, CLASSES = 5, WEIGHTS = FEATURES * CLASSES };

typedef struct net {
    quern_device *device;
    quern_graph *graph;
    quern_tensor *x, *label, *logits, *loss;
    quern_parameters *parameters;
    quern_program *program;
    quern_optimizer *optimizer;
} net;

static quern_status own_update(const quern_kernel_args *args) {
    const quern_update *u = args->attributes;
    const float rate = (float)u->hyper->learning_rate;
    if (*u->applied == 0) return QUERN_OK;
    for (int32_t k = 0; k < u->segment_count; k++)
        for (int64_t i = u->segments[k].start; i < u->segments[k].start + u->segments[k].count; i++)
            ((float *)u->parameters)[i] -= rate * ((const float *)u->gradients)[i];
    return QUERN_OK;
}
static const quern_update_rule own = {.name = "own", .update = {[QUERN_BACKEND_CPU] = own_update}};

static void net_open(net *n, uint64_t seed, const quern_parameters_desc *desc) {
    *n = (net){0};
    REQUIRE_OK(quern_device_create(
        &n->device,
        &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 2, .seed = seed}));
    REQUIRE_OK(quern_graph_create(&n->graph, n->device, NULL));
    n->x = quern_input(n->graph,
                       &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, FEATURES}});
    n->label = quern_labels(n->graph, "label");
    n->logits = quern_dense(n->graph, n->x, &(quern_dense_desc){.units = CLASSES, .name = "fc"});
    n->loss = quern_softmax_cross_entropy(n->graph, n->logits, n->label, NULL);
    REQUIRE_OK(quern_parameters_create(&n->parameters, n->graph, desc));
    REQUIRE_OK(
        quern_program_create(&n->program, &(quern_program_desc){.graph = n->graph,
                                                                .parameters = n->parameters,
                                                                .batch_size = BATCH,
                                                                .training = true,
                                                                .loss = n->loss,
                                                                .outputs = &n->logits,
                                                                .output_count = 1,
                                                                .precision = desc->precision}));
}

static void inputs_write(net *n) {
    float x[BATCH * FEATURES];
    int32_t label[BATCH];
    for (int i = 0; i < BATCH * FEATURES; i++) x[i] = (float)((i * 29) % 17) / 17 - 0.4f;
    for (int i = 0; i < BATCH; i++) label[i] = i % CLASSES;
    REQUIRE_OK(quern_program_write(n->program, n->x, x, sizeof x));
    REQUIRE_OK(quern_program_write(n->program, n->label, label, sizeof label));
}

/* The same whatever the seed. */
static void weights_write(net *n) {
    float weights[WEIGHTS];
    const float bias[CLASSES] = {0};
    for (int i = 0; i < WEIGHTS; i++) weights[i] = (float)((i * 13) % 23) / 23 - 0.5f;
    CHECK_OK(quern_parameters_write(n->parameters, quern_tensor_find(n->graph, "fc.weight"),
                                    weights, sizeof weights));
    CHECK_OK(quern_parameters_write(n->parameters, quern_tensor_find(n->graph, "fc.bias"), bias,
                                    sizeof bias));
}

static void net_close(net *n) {
    quern_optimizer_destroy(n->optimizer);
    quern_program_destroy(n->program);
    quern_parameters_destroy(n->parameters);
    quern_graph_destroy(n->graph);
    quern_device_destroy(n->device);
}

/* What the copies make of the same input. */
static void logits_read(net *n, float *logits) {
    CHECK_OK(quern_program_forward(n->program, 0));
    CHECK_OK(quern_program_read(n->program, n->logits, logits, BATCH * CLASSES * sizeof *logits));
}

typedef struct outcome {
    float logits[BATCH * CLASSES], weights[WEIGHTS];
} outcome;

/* After each update: the copies that it wrote, then those made anew from the values. */
static void updates_check(net *n, int updates, const char *what, outcome *out) {
    float before[BATCH * CLASSES], anew[BATCH * CLASSES];
    quern_tensor *weight = quern_tensor_find(n->graph, "fc.weight");
    logits_read(n, before);
    for (int i = 1; i <= updates; i++) {
        CHECK_OK(quern_program_forward(n->program, i));
        CHECK_OK(quern_program_backward(n->program, false));
        CHECK_OK(quern_optimizer_update(n->optimizer));
        CHECK_OK(quern_optimizer_wait(n->optimizer));
        CHECK(!n->parameters->stale);
        logits_read(n, out->logits);
        CHECK_SAY(memcmp(before, out->logits, sizeof before) != 0, "%s: update %d", what, i);
        CHECK_OK(quern_parameters_read(n->parameters, weight, out->weights, sizeof out->weights));
        CHECK_OK(quern_parameters_write(n->parameters, weight, out->weights, sizeof out->weights));
        CHECK(n->parameters->stale);
        logits_read(n, anew);
        CHECK_SAY(memcmp(anew, out->logits, sizeof anew) == 0, "%s: update %d made anew", what, i);
        memcpy(before, anew, sizeof before);
    }
}

static void run(uint64_t seed, const quern_parameters_desc *desc,
                const quern_optimizer_desc *optimizer, outcome *out) {
    net n;
    char what[96];
    snprintf(what, sizeof what, "%s, %s, %s", quern_precision_name(desc->precision),
             desc->stochastic_rounding ? "by chance" : "to nearest",
             optimizer->rule ? "own rule" : "built-in rule");
    net_open(&n, seed, desc);
    weights_write(&n);
    inputs_write(&n);
    CHECK_OK(quern_optimizer_create(&n.optimizer, n.parameters, optimizer));
    updates_check(&n, 5, what, out);
    net_close(&n);
}

TEST_CASE(Copies, are_those_of_the_values_and_the_update_however_they_came_about) {
    static const quern_precision precisions[] = {QUERN_PRECISION_BF16, QUERN_PRECISION_F16};
    static const quern_optimizer_desc optimizers[] = {
        {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.05},
        {.kind = QUERN_OPTIMIZER_ADAMW, .learning_rate = 0.01},
        {.rule = &own, .learning_rate = 0.05}};
    for (int p = 0; p < 2; p++) {
        outcome all[2][3];
        for (int chance = 0; chance < 2; chance++)
            for (int o = 0; o < 3; o++)
                run(7,
                    &(quern_parameters_desc){.gradients = true,
                                             .precision = precisions[p],
                                             .stochastic_rounding = chance == 1},
                    &optimizers[o], &all[chance][o]);
        for (int chance = 0; chance < 2; chance++) /* the same rule, twice written */
            CHECK(memcmp(&all[chance][0], &all[chance][2], sizeof all[0][0]) == 0);
        for (int o = 0; o < 3; o++) /* other copies, so other gradients */
            CHECK(memcmp(&all[0][o], &all[1][o], sizeof all[0][0]) != 0);
    }
}

TEST_CASE(Copies, by_chance_are_drawn_from_the_devices_seed) {
    static const quern_optimizer_desc sgd = {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.05};
    for (int chance = 0; chance < 2; chance++) {
        outcome seven, again, eight;
        const quern_parameters_desc desc = {.gradients = true,
                                            .precision = QUERN_PRECISION_BF16,
                                            .stochastic_rounding = chance == 1};
        run(7, &desc, &sgd, &seven);
        run(7, &desc, &sgd, &again);
        run(8, &desc, &sgd, &eight);
        CHECK(memcmp(&seven, &again, sizeof seven) == 0);
        CHECK((memcmp(&seven, &eight, sizeof seven) != 0) == (chance == 1));
    }
}

/* Where nothing is rounded nothing can be chosen. */
TEST_CASE(Copies, by_chance_are_refused_where_there_are_none) {
    static const quern_precision none[] = {QUERN_PRECISION_F32, QUERN_PRECISION_TF32};
    net n;
    quern_parameters *p = NULL;
    net_open(&n, 7, &(quern_parameters_desc){.gradients = true});
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(quern_parameters_create(&p, n.graph,
                                             &(quern_parameters_desc){.precision = none[i],
                                                                      .stochastic_rounding = true}),
                     QUERN_INVALID);
        CHECK_ERROR_HAS("parameters: stochastic_rounding is set, but precision is ");
        CHECK_ERROR_HAS(quern_precision_name(none[i]));
        CHECK(!p);
    }
    net_close(&n);
}

/* Whose updates the copies followed when the host first waited. */
static const quern_parameters *watched;
static const task_state *followed;
static bool waited;

static quern_status noting_wait(quern_stream *stream) {
    if (!waited) followed = watched->round.state;
    waited = true;
    return quern_backend_cpu.stream_wait(stream);
}

/* A rounding that is under way reads what it was issued with: it is waited for, and counted. */
TEST_CASE(Copies, follow_another_optimizer_only_behind_what_is_under_way) {
    net n;
    quern_backend noting = quern_backend_cpu;
    noting.stream_wait = noting_wait;
    net_open(&n, 7,
             &(quern_parameters_desc){.gradients = true,
                                      .precision = QUERN_PRECISION_BF16,
                                      .stochastic_rounding = true});
    inputs_write(&n);
    n.device->backend = &noting;
    watched = n.parameters;
    CHECK_OK(quern_program_forward(n.program, 0)); /* issues a rounding */
    waited = false;
    CHECK_OK(quern_optimizer_create(&n.optimizer, n.parameters,
                                    &(quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD}));
    CHECK(waited && !followed && n.parameters->round.state != NULL);
    CHECK_OK(quern_program_forward(n.program, 1));
    const task_state *state = n.parameters->round.state;
    waited = false;
    quern_optimizer_destroy(n.optimizer);
    n.optimizer = NULL;
    CHECK(waited && followed == state && !n.parameters->round.state);
    n.device->backend = &quern_backend_cpu;
    net_close(&n);
}
