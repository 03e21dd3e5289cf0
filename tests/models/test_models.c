/* test_models.c - the whole models: parameter names and shapes in order, counts, refusals. */
#include "host/graph/graph.h"
#include "quern_test.h"

#include <quern/models.h>
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

static quern_tensor *images(int64_t channels, int64_t side) {
    return quern_input(
        graph,
        &(quern_input_desc){.name = "image", .rank = 4, .dim = {QUERN_B, channels, side, side}});
}

static int64_t element_count(void) {
    int64_t count = 0;
    for (int32_t i = 0; i < quern_graph_parameter_count(graph); i++) {
        quern_view view;
        CHECK_OK(shape_view(&quern_graph_parameter(graph, i)->shape, 0, &view));
        count += view.count;
    }
    return count;
}

static void check_parameters(const char *const *expected, int32_t count) {
    char found[256], shape[160];
    CHECK_OK(quern_graph_status(graph));
    REQUIRE(quern_graph_parameter_count(graph) == count);
    for (int32_t i = 0; i < count; i++) {
        const quern_tensor *t = quern_graph_parameter(graph, i);
        shape_text(&t->shape, shape, sizeof shape);
        strcpy(found, t->name);
        strcat(strcat(found, " "), shape);
        CHECK_TEXT(found, expected[i]);
    }
}

static void check_logits(const quern_tensor *t, const char *expected) {
    char found[160] = "NULL";
    if (t) shape_text(&t->shape, found, sizeof found);
    CHECK_TEXT(found, expected);
}

TEST_CASE(Models, mlp_is_784_512_10_by_default) {
    static const char *const expected[] = {"fc1.weight (512, 784)", "fc1.bias (512)",
                                           "fc2.weight (10, 512)", "fc2.bias (10)"};
    begin();
    check_logits(quern_mlp(graph, images(1, 28), NULL), "(B, 10)");
    check_parameters(expected, 4);
    CHECK(element_count() == 407050);
    end();
}

TEST_CASE(Models, mlp_takes_the_layers_it_is_told) {
    static const char *const expected[] = {"fc1.weight (20, 6)",   "fc1.bias (20)",
                                           "fc2.weight (512, 20)", "fc2.bias (512)",
                                           "fc3.weight (3, 512)",  "fc3.bias (3)"};
    begin();
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 6}});
    const quern_mlp_desc desc = {.hidden_count = 2, .hidden = {20}, .class_count = 3};
    check_logits(quern_mlp(graph, x, &desc), "(B, 3)");
    check_parameters(expected, 6);
    end();
}

TEST_CASE(Models, lenet_has_61706_parameters_on_mnist) {
    static const char *const expected[] = {"conv1.weight (6, 1, 5, 5)",  "conv1.bias (6)",
                                           "conv2.weight (16, 6, 5, 5)", "conv2.bias (16)",
                                           "fc1.weight (120, 400)",      "fc1.bias (120)",
                                           "fc2.weight (84, 120)",       "fc2.bias (84)",
                                           "fc3.weight (10, 84)",        "fc3.bias (10)"};
    begin();
    check_logits(quern_lenet(graph, images(1, 28), NULL), "(B, 10)");
    check_parameters(expected, 10);
    CHECK(element_count() == 61706);
    end();
}

TEST_CASE(Models, lenet_takes_32x32_without_padding) {
    begin();
    check_logits(quern_lenet(graph, images(3, 32), &(quern_lenet_desc){.class_count = 100}),
                 "(B, 100)");
    const quern_tensor *fc1 = quern_tensor_find(graph, "fc1.weight");
    CHECK(fc1 && fc1->shape.dim[1] == 400);
    end();
}

TEST_CASE(Models, refuse_what_does_not_fit) {
    begin();
    quern_mlp(graph, images(1, 28), &(quern_mlp_desc){.hidden_count = 9});
    CHECK_STATUS(quern_graph_status(graph), QUERN_INVALID);
    CHECK_ERROR_HAS("mlp: 9 hidden layers, expected 1 to 8");
    CHECK(quern_lenet(graph, NULL, NULL) == NULL);
    end();
    begin();
    quern_lenet(graph, quern_labels(graph, "label"), NULL);
    CHECK_STATUS(quern_graph_status(graph), QUERN_SHAPE);
    CHECK_ERROR_HAS("lenet: x is (B), expected (B, C, H, W)");
    end();
    begin();
    CHECK(quern_lenet(graph, NULL, NULL) == NULL);
    CHECK_ERROR_HAS("lenet: x is NULL");
    end();
    begin();
    quern_mlp(graph, images(1, 28), &(quern_mlp_desc){.hidden = {-3}});
    CHECK_STATUS(quern_graph_status(graph), QUERN_INVALID);
    CHECK_ERROR_HAS("fc1: units is -3");
    end();
}
