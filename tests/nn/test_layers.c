/* test_layers.c - what each layer creates: names, shapes, starting ranges, decay; and how it says
 * no. */
#include "host/graph/parameters.h"
#include "quern_test.h"

#include <math.h>
#include <quern/nn.h>
#include <quern/ops.h>
#include <string.h>

static quern_device *device;
static quern_graph *graph;

static void begin(void) {
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1}));
    REQUIRE_OK(quern_graph_create(&graph, device, NULL));
}

static void end(void) {
    quern_graph_destroy(graph);
    quern_device_destroy(device);
}

static quern_tensor *input(int32_t rank, const int64_t *dim) {
    quern_input_desc desc = {.name = "x", .rank = rank};
    memcpy(desc.dim, dim, (size_t)rank * sizeof *dim);
    return quern_input(graph, &desc);
}

static quern_tensor *vectors(void) { return input(2, (const int64_t[]){QUERN_B, 6}); }
static quern_tensor *images(void) { return input(4, (const int64_t[]){QUERN_B, 4, 9, 9}); }

static void check_shape(const quern_tensor *t, const char *expected) {
    char found[160] = "NULL";
    if (t) shape_text(&t->shape, found, sizeof found);
    CHECK_TEXT(found, expected);
}

static void check_parameter(const char *name, const char *shape, bool decay) {
    const quern_tensor *t = quern_tensor_find(graph, name);
    CHECK_SAY(t != NULL, "no parameter %s", name);
    check_shape(t, shape);
    if (t) CHECK(t->parameter->weight_decay_scale == (decay ? 1 : 0));
}

TEST_CASE(Layers, dense_has_pytorchs_names_and_range) {
    begin();
    quern_tensor *y = quern_dense(graph, vectors(), &(quern_dense_desc){.units = 3, .name = "fc1"});
    check_shape(y, "(B, 3)");
    check_parameter("fc1.weight", "(3, 6)", true);
    check_parameter("fc1.bias", "(3)", false);
    const float bound = (float)(1 / sqrt(6));
    const char *names[] = {"fc1.weight", "fc1.bias"};
    for (int i = 0; i < 2; i++) {
        const quern_init init = quern_tensor_find(graph, names[i])->parameter->init;
        CHECK(init.kind == QUERN_INIT_UNIFORM && init.a == -bound && init.b == bound);
    }
    end();
}

TEST_CASE(Layers, a_named_init_is_for_the_weights_and_biases_are_zero) {
    begin();
    quern_dense(graph, vectors(),
                &(quern_dense_desc){.units = 3, .init = {.kind = QUERN_INIT_KAIMING_NORMAL}});
    CHECK(quern_tensor_find(graph, "dense1.weight")->parameter->init.kind ==
          QUERN_INIT_KAIMING_NORMAL);
    CHECK(quern_tensor_find(graph, "dense1.bias")->parameter->init.kind == QUERN_INIT_ZERO);
    end();
}

TEST_CASE(Layers, without_a_name_they_are_numbered_by_kind) {
    begin();
    quern_tensor *x = vectors();
    x = quern_dense(graph, x, &(quern_dense_desc){.units = 3, .no_bias = true});
    x = quern_layer_normalize(graph, x, NULL);
    x = quern_dense(graph, x, &(quern_dense_desc){.units = 3});
    quern_scope_push(graph, "head");
    x = quern_dense(graph, x, &(quern_dense_desc){.units = 3});
    quern_scope_pop(graph);
    quern_dense(graph, x, &(quern_dense_desc){.units = 3});
    static const char *const expected[] = {
        "dense1.weight",    "layer_norm1.weight", "layer_norm1.bias",
        "dense2.weight",    "dense2.bias",        "head.dense1.weight",
        "head.dense1.bias", "dense3.weight",      "dense3.bias"};
    CHECK_OK(quern_graph_status(graph));
    REQUIRE(quern_graph_parameter_count(graph) == 9);
    for (int32_t i = 0; i < 9; i++)
        CHECK_TEXT(quern_tensor_name(quern_graph_parameter(graph, i)), expected[i]);
    end();
}

TEST_CASE(Layers, a_name_with_dots_leaves_the_outer_scope_as_it_was) {
    begin();
    quern_scope_push(graph, "body");
    quern_tensor *x =
        quern_dense(graph, vectors(), &(quern_dense_desc){.units = 3, .name = "layer1.0.fc"});
    quern_dense(graph, x, &(quern_dense_desc){.units = 3, .name = "fc2"});
    quern_scope_pop(graph);
    CHECK(quern_tensor_find(graph, "body.layer1.0.fc.weight") != NULL);
    CHECK(quern_tensor_find(graph, "body.fc2.weight") != NULL);
    end();
}

TEST_CASE(Layers, conv_weights_are_oihw_by_group) {
    begin();
    quern_tensor *y = quern_conv(graph, images(),
                                 &(quern_conv_desc){.channels = 8,
                                                    .window = {3, 5},
                                                    .conv = {.padding = {1, 2}, .groups = 2},
                                                    .name = "conv1"});
    check_shape(y, "(B, 8, 9, 9)");
    check_parameter("conv1.weight", "(8, 2, 3, 5)", true);
    check_parameter("conv1.bias", "(8)", false);
    CHECK(quern_tensor_find(graph, "conv1.bias")->parameter->init.b == (float)(1 / sqrt(30)));
    end();
}

TEST_CASE(Layers, batch_normalize_has_statistics_that_an_update_commits) {
    begin();
    quern_tensor *y =
        quern_batch_normalize(graph, images(), &(quern_batch_normalize_desc){.name = "bn1"});
    check_shape(y, "(B, 4, 9, 9)");
    check_parameter("bn1.weight", "(4)", false);
    check_parameter("bn1.bias", "(4)", false);
    const quern_tensor *mean = quern_tensor_find(graph, "bn1.running_mean");
    const quern_tensor *variance = quern_tensor_find(graph, "bn1.running_var");
    REQUIRE(mean && variance);
    CHECK(mean->role == ROLE_BUFFER && variance->role == ROLE_BUFFER);
    CHECK(mean->pending == y->producer->out[1] && variance->pending == y->producer->out[2]);
    CHECK(mean->parameter->init.a == 0 && variance->parameter->init.a == 1);
    CHECK(quern_tensor_find(graph, "bn1.weight")->parameter->init.a == 1);
    end();
}

TEST_CASE(Layers, layer_normalize_may_go_without_bias) {
    begin();
    quern_tensor *y = quern_layer_normalize(
        graph, vectors(), &(quern_layer_normalize_desc){.name = "ln", .no_bias = true});
    check_shape(y, "(B, 6)");
    check_parameter("ln.weight", "(6)", false);
    CHECK(quern_tensor_find(graph, "ln.bias") == NULL);
    end();
}

TEST_CASE(Layers, flatten_keeps_the_batch) {
    begin();
    check_shape(quern_flatten(graph, images()), "(B, 324)");
    check_shape(quern_flatten(graph, quern_labels(graph, "label")), "(B, 1)");
    end();
}

typedef void (*build_wrong)(void);
static void dense_without_units(void) {
    quern_dense(graph, vectors(), &(quern_dense_desc){.name = "fc1"});
}
static void dense_without_desc(void) { quern_dense(graph, vectors(), NULL); }
static void dense_of_labels(void) {
    quern_dense(graph, quern_labels(graph, "label"), &(quern_dense_desc){.units = 3});
}
static void dense_twice(void) {
    quern_tensor *x = vectors();
    for (int i = 0; i < 2; i++)
        quern_dense(graph, x, &(quern_dense_desc){.units = 3, .name = "fc1"});
}
static void dense_init_without_kind(void) {
    quern_dense(graph, vectors(), &(quern_dense_desc){.units = 3, .init = {.b = 1}});
}
static void conv_without_window(void) {
    quern_conv(graph, images(), &(quern_conv_desc){.channels = 3, .name = "c"});
}
static void conv_of_vectors(void) {
    quern_conv(graph, vectors(), &(quern_conv_desc){.channels = 3, .window = {3, 3}});
}
static void conv_with_odd_groups(void) {
    quern_conv(graph, images(),
               &(quern_conv_desc){.channels = 3, .window = {3, 3}, .conv = {.groups = 3}});
}
static void batch_normalize_of_labels(void) {
    quern_batch_normalize(graph, quern_labels(graph, "label"), NULL);
}
static void layer_normalize_of_labels(void) {
    quern_layer_normalize(graph, quern_labels(graph, "label"), NULL);
}
static void flatten_of_nothing(void) { quern_flatten(graph, NULL); }
static void flatten_with_batch_inside(void) {
    quern_flatten(graph, input(2, (const int64_t[]){QUERN_B, QUERN_B}));
}

TEST_CASE(Layers, what_is_wrong_sticks_with_layer_and_reason) {
    static const struct {
        build_wrong build;
        quern_status status;
        const char *says;
    } cases[] = {
        {dense_without_units, QUERN_INVALID, "fc1: units is 0, expected above 0"},
        {dense_without_desc, QUERN_INVALID, "dense1: units is 0"},
        {dense_of_labels, QUERN_SHAPE, "dense1: x (B) has no features"},
        {dense_twice, QUERN_INVALID, "fc1.weight: the name is taken"},
        {dense_init_without_kind, QUERN_INVALID, "dense1: init has values but no kind"},
        {conv_without_window, QUERN_INVALID, "c: 3 channels of window 0 x 0"},
        {conv_of_vectors, QUERN_SHAPE, "conv1: x is (B, 6), expected (N, C, H, W)"},
        {conv_with_odd_groups, QUERN_SHAPE, "conv1: 3 groups do not divide"},
        {batch_normalize_of_labels, QUERN_SHAPE, "batch_norm1: x (B) has no channels"},
        {layer_normalize_of_labels, QUERN_SHAPE, "layer_norm1: x (B) has no features"},
        {flatten_of_nothing, QUERN_INVALID, "flatten: x is NULL"},
        {flatten_with_batch_inside, QUERN_SHAPE, "flatten: x (B, B)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        cases[i].build();
        CHECK_STATUS(quern_graph_status(graph), cases[i].status);
        CHECK_ERROR_HAS(cases[i].says);
        CHECK(quern_dense(graph, NULL, NULL) == NULL); /* an earlier failure passes through */
        CHECK(quern_conv(graph, NULL, NULL) == NULL);
        CHECK(quern_flatten(graph, NULL) == NULL);
        CHECK_STATUS(quern_graph_status(graph), cases[i].status);
        CHECK_ERROR_HAS(cases[i].says);
        end();
    }
}
