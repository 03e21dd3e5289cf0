/* test_optimizer.c - the public quern_optimizer over a small graph whose gradients the test writes
 * itself: schedule, clip, decay groups, refused updates, running statistics, custom rules. */
#include "host/optim/optimizer.h"
#include "quern_test.h"

#include <math.h>
#include <quern/nn.h>
#include <string.h>

enum { FEATURES = 3 };

static quern_device *device;
static quern_graph *graph;
static quern_parameters *parameters;
static quern_tensor *weight, *bias, *mean;

static void begin(quern_dtype dtype) {
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 2}));
    REQUIRE_OK(quern_graph_create(&graph, device, &(quern_graph_desc){.dtype = dtype}));
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, FEATURES}});
    quern_batch_normalize(graph, quern_dense(graph, x, &(quern_dense_desc){.units = 2}), NULL);
    REQUIRE_OK(
        quern_parameters_create(&parameters, graph, &(quern_parameters_desc){.gradients = true}));
    weight = quern_tensor_find(graph, "dense1.weight");
    bias = quern_tensor_find(graph, "dense1.bias");
    mean = quern_tensor_find(graph, "batch_norm1.running_mean");
    REQUIRE(weight && bias && mean);
}

static void end(void) {
    quern_parameters_destroy(parameters);
    quern_graph_destroy(graph);
    quern_device_destroy(device);
}

/* The first element of a parameter, its value or what is in its gradient. */
static double *value(const quern_tensor *t) { return parameters_view(parameters, t).data; }
static double *gradient(const quern_tensor *t) {
    return parameters_gradient_view(parameters, t).data;
}

static quern_optimizer *optimizer_of(quern_optimizer_desc desc) {
    quern_optimizer *o = NULL;
    CHECK_OK(quern_optimizer_create(&o, parameters, &desc));
    return o;
}

static void update_and_wait(quern_optimizer *o) {
    REQUIRE_OK(quern_optimizer_update(o));
    REQUIRE_OK(quern_optimizer_wait(o));
}

TEST_CASE(Optimizer, sgd_follows_its_schedule_beyond_the_rings_size) {
    begin(QUERN_F64);
    const quern_schedule schedule = {
        .kind = QUERN_SCHEDULE_LINEAR, .warmup = 10, .total = 3000, .final_scale = 0.5};
    quern_optimizer *o = optimizer_of((quern_optimizer_desc){
        .kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01, .schedule = schedule});
    *value(weight) = 0;
    *gradient(weight) = -1;
    double expected = 0;
    for (int64_t n = 0; n < 3100; n++) {
        REQUIRE_OK(quern_optimizer_update(o));
        expected += 0.01 * quern_schedule_scale(&schedule, n);
    }
    CHECK_OK(quern_optimizer_wait(o));
    CHECK_NEAR(*value(weight), expected, 1e-10);
    quern_optimizer_destroy(o);
    end();
}

TEST_CASE(Optimizer, clipping_scales_the_global_norm) {
    begin(QUERN_F64);
    quern_optimizer *o = optimizer_of(
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1, .clip_norm = 0.5});
    *value(weight) = *value(bias) = 0;
    *gradient(weight) = 3;
    *gradient(bias) = -4;
    update_and_wait(o);
    CHECK_NEAR(*value(weight), -3 * 0.5 / (5 + 1e-6), 1e-15);
    CHECK_NEAR(*value(bias), 4 * 0.5 / (5 + 1e-6), 1e-15);
    *gradient(weight) = 0.3;
    *gradient(bias) = 0;
    *value(weight) = 0;
    update_and_wait(o);
    CHECK_NEAR(*value(weight), -0.3, 1e-16);
    quern_optimizer_destroy(o);
    end();
}

/* PyTorch's order: clip_grad_norm_, then clip_grad_value_. */
TEST_CASE(Optimizer, clipping_by_value_comes_behind_the_one_by_norm) {
    begin(QUERN_F64);
    quern_optimizer *o = optimizer_of((quern_optimizer_desc){
        .kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1, .clip_norm = 0.5, .clip_value = 0.35});
    *value(weight) = *value(bias) = 0;
    *gradient(weight) = 3;
    *gradient(bias) = -4;
    update_and_wait(o);
    CHECK_NEAR(*value(weight), -3 * 0.5 / (5 + 1e-6), 1e-15); /* 0.3: below the limit */
    CHECK(*value(bias) == 0.35);                              /* not 0.4 */
    quern_optimizer_destroy(o);
    o = optimizer_of(
        (quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 1, .clip_value = 0.5});
    *value(weight) = *value(bias) = 0;
    update_and_wait(o);
    CHECK(*value(weight) == -0.5 && *value(bias) == 0.5);
    quern_optimizer_destroy(o);
    end();
}

TEST_CASE(Optimizer, weight_decay_leaves_biases_and_norms_alone) {
    begin(QUERN_F64);
    quern_optimizer *o =
        optimizer_of((quern_optimizer_desc){.learning_rate = 0.5, .weight_decay = 0.5});
    const quern_tensor *scale = quern_tensor_find(graph, "batch_norm1.weight");
    *value(weight) = *value(bias) = 8;
    update_and_wait(o);
    CHECK(*value(weight) == 6);
    CHECK(*value(bias) == 8);
    CHECK(*value(scale) == 1);
    quern_optimizer_destroy(o);
    end();
}

TEST_CASE(Optimizer, a_gradient_that_is_not_finite_changes_nothing_and_is_reported_once) {
    begin(QUERN_F64);
    quern_optimizer *o =
        optimizer_of((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_ADAM, .learning_rate = 0.1});
    double *pending = parameters_pending_view(parameters, mean).data;
    *value(weight) = 0;
    *gradient(weight) = 2;
    *gradient(bias) = NAN;
    *pending = 5;
    REQUIRE_OK(quern_optimizer_update(o));
    CHECK_STATUS(quern_optimizer_wait(o), QUERN_NOT_FINITE);
    CHECK_ERROR_HAS("adam: update 0 was not applied, its gradient's norm is");
    CHECK(*value(weight) == 0);
    CHECK(*value(mean) == 0); /* the running statistics stay too */
    *gradient(bias) = 0;
    update_and_wait(o);
    CHECK(*value(mean) == 5);
    CHECK_NEAR(*value(weight), -0.1, 1e-9); /* its bias correction is the first update's */
    quern_optimizer_destroy(o);
    end();
}

TEST_CASE(Optimizer, update_reports_a_refusal_at_most_eight_later) {
    begin(QUERN_F64);
    quern_optimizer *o = optimizer_of((quern_optimizer_desc){.kind = QUERN_OPTIMIZER_SGD});
    *gradient(weight) = INFINITY;
    int issued = 0;
    quern_status status = QUERN_OK;
    while (issued < 20 && (status = quern_optimizer_update(o)) == QUERN_OK) issued++;
    CHECK(status == QUERN_NOT_FINITE);
    CHECK(issued == 8);
    CHECK_ERROR_HAS("update 0 was not applied");
    quern_optimizer_destroy(o); /* with unread refusals */
    end();
}

TEST_CASE(Optimizer, f32_and_f64_take_the_same_path) {
    double after[2];
    for (int i = 0; i < 2; i++) {
        begin(i ? QUERN_F64 : QUERN_F32);
        quern_optimizer *o = optimizer_of((quern_optimizer_desc){.weight_decay = 0.1});
        for (int n = 0; n < 20; n++) {
            if (i)
                *gradient(weight) = 0.5;
            else
                *(float *)(void *)gradient(weight) = 0.5f;
            update_and_wait(o);
        }
        after[i] = i ? *value(weight) : (double)*(float *)(void *)value(weight);
        quern_optimizer_destroy(o);
        end();
    }
    CHECK_NEAR(after[0], after[1], 1e-6);
}

/* w = w - rate s, s counts the updates. */
static quern_status counting_update(const quern_kernel_args *args) {
    const quern_update *u = args->attributes;
    if (*u->applied == 0) return QUERN_OK;
    for (int32_t k = 0; k < u->segment_count; k++)
        for (int64_t i = u->segments[k].start; i < u->segments[k].start + u->segments[k].count;
             i++) {
            ((double *)u->states[0])[i] += 1;
            ((double *)u->parameters)[i] -= u->hyper->learning_rate * ((double *)u->states[0])[i];
        }
    return QUERN_OK;
}
static const quern_update_rule counting = {
    .name = "counting", .state_count = 1, .update = {[QUERN_BACKEND_CPU] = counting_update}};
static const quern_update_rule elsewhere = {.name = "elsewhere"};

TEST_CASE(Optimizer, runs_the_applications_own_rule) {
    begin(QUERN_F64);
    quern_optimizer *o =
        optimizer_of((quern_optimizer_desc){.rule = &counting, .learning_rate = 0.5});
    *value(weight) = 0;
    for (int i = 0; i < 4; i++) update_and_wait(o);
    CHECK(*value(weight) == -5);
    CHECK(quern_optimizer_resolved(o).rule == &counting);
    quern_optimizer_destroy(o);
    CHECK_STATUS(
        quern_optimizer_create(&o, parameters, &(quern_optimizer_desc){.rule = &elsewhere}),
        QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("elsewhere has no update function for the cpu backend");
    CHECK(o == NULL);
    end();
}

TEST_CASE(Optimizer, says_its_bytes_before_it_takes_them) {
    begin(QUERN_F32);
    static const quern_optimizer_desc descs[] = {
        {.kind = QUERN_OPTIMIZER_ADAMW},
        {.kind = QUERN_OPTIMIZER_SGD},
        {.kind = QUERN_OPTIMIZER_SGD, .momentum = 0.9, .schedule = {.warmup = 5}},
    };
    task_state *state = NULL;
    REQUIRE_OK(memory_allocate(&device->host, &state, 1, sizeof *state, "state"));
    for (size_t i = 0; i < sizeof descs / sizeof *descs; i++) {
        quern_optimizer_desc resolved;
        bound_optimizer o;
        size_t bytes = 0;
        CHECK_OK(optimizer_resolve(&resolved, &descs[i], 0));
        CHECK_OK(optimizer_bytes(&resolved, parameters, &bytes));
        CHECK_OK(optimizer_bind(&o, &(optimizer_bind_desc){.desc = &resolved,
                                                           .parameters = parameters,
                                                           .state = state,
                                                           .stream = device->stream}));
        CHECK(o.memory_bytes == bytes);
        CHECK(o.block_bytes == (size_t)parameters->trainable_count * sizeof(float));
        CHECK((o.update.states[0] == NULL) == (i == 1));
        CHECK_OK(device->backend->stream_wait(device->stream));
        optimizer_release(&o);
    }
    memory_release(&device->host, state, 1, sizeof *state);
    end();
}

TEST_CASE(Optimizer, needs_parameters_with_gradients) {
    quern_optimizer *o = NULL;
    quern_parameters *without = NULL;
    CHECK_STATUS(quern_optimizer_create(&o, NULL, NULL), QUERN_INVALID);
    CHECK_STATUS(quern_optimizer_update(NULL), QUERN_INVALID);
    CHECK_STATUS(quern_optimizer_wait(NULL), QUERN_INVALID);
    quern_optimizer_destroy(NULL);
    begin(QUERN_F32);
    REQUIRE_OK(quern_parameters_create(&without, graph, NULL));
    CHECK_STATUS(quern_optimizer_create(&o, without, NULL), QUERN_INVALID);
    CHECK_ERROR_HAS("adamw: the parameters were made without gradients");
    quern_parameters_destroy(without);
    end();
}
