/* The graph object: sticky failures with their sentence, names, ownership of what it copies. */
#include "graph_fixture.h"

#include <string.h>

TEST_CASE(Graph, keeps_its_first_failure_and_its_sentence) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 784}});
    quern_tensor *w = fixture_parameter(&f, "w", 10, 700, 0, 0);
    quern_tensor *y = quern_relu(f.graph, quern_linear(f.graph, x, w, NULL));
    CHECK(y == NULL);
    CHECK_STATUS(quern_fail(QUERN_IO, "something else happens on this thread"), QUERN_IO);
    CHECK(quern_add(f.graph, x, NULL) == NULL);
    CHECK_STATUS(quern_graph_status(f.graph), QUERN_SHAPE);
    CHECK_ERROR_HAS("linear: weight is not (out, last axis of x): F32 (B, 784) and F32 (10, 700)");
    quern_program *program = NULL;
    CHECK_STATUS(quern_program_create(&program, &(quern_program_desc){.graph = f.graph}),
                 QUERN_SHAPE);
    CHECK(program == NULL);
    fixture_close(&f);
}

TEST_CASE(Graph, names_what_is_missing) {
    fixture f = fixture_open(QUERN_F32);
    CHECK(quern_relu(f.graph, NULL) == NULL);
    CHECK_STATUS(quern_graph_status(f.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("relu: input 0 is NULL");
    fixture_close(&f);
}

TEST_CASE(Graph, refuses_a_tensor_of_another_graph) {
    fixture a = fixture_open(QUERN_F32), b = fixture_open(QUERN_F32);
    quern_tensor *x = quern_labels(a.graph, "x");
    CHECK(quern_neg(b.graph, x) == NULL);
    CHECK_STATUS(quern_graph_status(b.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("belongs to another graph");
    CHECK_STATUS(quern_graph_status(a.graph), QUERN_OK);
    fixture_close(&a);
    fixture_close(&b);
}

TEST_CASE(Graph, refuses_a_name_twice_and_a_leaf_without_one) {
    fixture f = fixture_open(QUERN_F32), g = fixture_open(QUERN_F32);
    CHECK(fixture_parameter(&f, "w", 2, 2, 0, 0) != NULL);
    CHECK(fixture_parameter(&f, "w", 3, 0, 0, 0) == NULL);
    CHECK_STATUS(quern_graph_status(f.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("parameter w: the name is taken");
    CHECK(quern_input(g.graph, &(quern_input_desc){.rank = 1, .dim = {3}}) == NULL);
    CHECK_STATUS(quern_graph_status(g.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("input without a name");
    fixture_close(&f);
    fixture_close(&g);
}

TEST_CASE(Graph, puts_scopes_before_names) {
    fixture f = fixture_open(QUERN_F32);
    quern_scope_push(f.graph, "layer1");
    quern_scope_push(f.graph, "0");
    quern_tensor *w = fixture_parameter(&f, "weight", 2, 2, 0, 0);
    quern_tensor *y = quern_relu(f.graph, w), *z = quern_relu(f.graph, y);
    quern_scope_pop(f.graph);
    quern_tensor *v = fixture_parameter(&f, "weight", 2, 2, 0, 0);
    quern_scope_pop(f.graph);
    quern_scope_push(f.graph, "layer2.1");
    quern_tensor *u = fixture_parameter(&f, "weight", 1, 0, 0, 0);
    quern_scope_pop(f.graph);
    CHECK_TEXT(quern_tensor_name(u), "layer2.1.weight");
    CHECK_TEXT(quern_tensor_name(fixture_parameter(&f, "top", 1, 0, 0, 0)), "top");
    CHECK_TEXT(quern_tensor_name(w), "layer1.0.weight");
    CHECK_TEXT(quern_tensor_name(v), "layer1.weight");
    CHECK_TEXT(quern_tensor_name(y), "layer1.0.relu");
    CHECK_TEXT(quern_tensor_name(z), "layer1.0.relu_2");
    CHECK(quern_tensor_find(f.graph, "layer1.0.weight") == w);
    CHECK(quern_tensor_find(f.graph, "nobody") == NULL);
    CHECK(quern_graph_parameter_elements(f.graph) == 10);
    fixture_close(&f);
}

TEST_CASE(Graph, takes_no_parameter_once_their_values_exist) {
    fixture f = fixture_open(QUERN_F32);
    quern_parameters *values = NULL;
    CHECK(fixture_parameter(&f, "w", 2, 2, 0, 0) != NULL);
    REQUIRE_OK(quern_parameters_create(&values, f.graph, NULL));
    CHECK(fixture_parameter(&f, "late", 2, 2, 0, 0) == NULL);
    CHECK_STATUS(quern_graph_status(f.graph), QUERN_INVALID);
    CHECK_ERROR_HAS("late: the graph's parameters exist already");
    quern_parameters_destroy(values);
    fixture_close(&f);
}

TEST_CASE(Graph, refuses_dtypes_that_cannot_be_trained) {
    fixture f = fixture_open(QUERN_F32);
    quern_graph *graph = NULL;
    CHECK_STATUS(quern_graph_create(&graph, f.device, &(quern_graph_desc){.dtype = QUERN_I32}),
                 QUERN_UNSUPPORTED);
    CHECK(graph == NULL);
    CHECK_STATUS(quern_graph_create(&graph, NULL, NULL), QUERN_INVALID);
    quern_graph_destroy(NULL);
    fixture_close(&f);
}

static void append(void *self, const char *line) {
    char *text = self;
    strncat(text, line, 4000 - strlen(text));
}

TEST_CASE(Graph, dumps_itself_as_text) {
    fixture f = fixture_open(QUERN_F32);
    char text[4096] = "";
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 4}});
    (void)quern_relu(f.graph,
                     quern_linear(f.graph, x, fixture_parameter(&f, "w", 3, 4, 0, 0), NULL));
    quern_graph_dump(f.graph, append, text);
    CHECK_TEXT(text, "input x F32 (B, 4)\n"
                     "parameter w F32 (3, 4)\n"
                     "linear0 F32 (B, 3) = linear(x, w, -)\n"
                     "relu1 F32 (B, 3) = relu(linear0)\n");
    fixture_close(&f);
}

/* Every kind of attribute, with its default where none is given. */
TEST_CASE(Graph, dumps_what_each_op_was_told) {
    fixture f = fixture_open(QUERN_F32);
    char text[4096] = "";
    quern_tensor *x = quern_input(
        f.graph, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 2, 4, 4}});
    quern_tensor *y = quern_max_pool2d(f.graph, x, &(quern_max_pool2d_desc){.window = {2, 3}});
    y = quern_conv2d(f.graph, y, fixture_parameter(&f, "w", 3, 2, 1, 1), NULL,
                     &(quern_conv2d_desc){.padding = {0, 1}});
    y = quern_dropout(f.graph, quern_leaky_relu(f.graph, y, NULL),
                      &(quern_dropout_desc){.probability = 0.1f});
    y = quern_gelu(f.graph, y, &(quern_gelu_desc){.tanh = true});
    y = quern_sum(f.graph, y, &(quern_sum_desc){.axis_count = 2, .axes = {1, 3}});
    y = quern_reshape(f.graph, y, &(quern_reshape_desc){.rank = 3, .dim = {QUERN_B, 1, 2}});
    y = quern_permute(f.graph, y, &(quern_permute_desc){.order = {0, 2, 1}});
    y = quern_slice(f.graph, y, &(quern_slice_desc){.axis = 1, .start = 1, .stop = 2});
    (void)quern_cast(f.graph, y, &(quern_cast_desc){.dtype = QUERN_F64});
    REQUIRE_OK(quern_graph_status(f.graph));
    quern_graph_dump(f.graph, append, text);
    CHECK_HAS(text, "= max_pool2d(x, window=(2, 3), stride=(2, 3), padding=(0, 0), "
                    "count_exclude_padding=false)\n");
    CHECK_HAS(text, ", w, -, stride=(1, 1), padding=(0, 1), dilation=(1, 1), groups=1)\n");
    CHECK_HAS(text, ", slope=0.00999999978)\n");
    CHECK_HAS(text, "= dropout(leaky_relu2, probability=0.100000001)\n");
    CHECK_HAS(text, "= gelu(dropout3, tanh=true)\n");
    CHECK_HAS(text, "= sum(gelu4, axis_count=2, axes=(1, 3), keep=false)\n");
    CHECK_HAS(text, "= reshape(sum5, dim=(");
    CHECK_HAS(text, ", 1, 2))\n");
    CHECK_HAS(text, "= permute(reshape6, order=(0, 2, 1))\n");
    CHECK_HAS(text, ", axis=1, start=1, stop=2)\n");
    CHECK_HAS(text, ", dtype=F64)\n");
    fixture_close(&f);
}

/* y = 2 x + 1 through an op of the application's own */

static quern_status twice_shape(const quern_shape_args *args) {
    args->out[0] = args->in[0];
    return QUERN_OK;
}

static quern_status twice_forward(const quern_kernel_args *a) {
    const float *x = a->in[0].data, offset = *(const float *)a->attributes;
    float *y = a->out[0].data;
    for (int64_t i = 0; i < a->in[0].count; i++) y[i] = 2 * x[i] + offset;
    return QUERN_OK;
}

static quern_status twice_backward(const quern_kernel_args *a) {
    const float *gy = a->grad_out[0].data;
    float *gx = a->grad_in[0].data;
    for (int64_t i = 0; gx && i < a->in[0].count; i++)
        gx[i] = (a->accumulate[0] ? gx[i] : 0) + 2 * gy[i];
    return QUERN_OK;
}

static const quern_kernel twice_kernel = {.forward = twice_forward, .backward = twice_backward};
static const quern_kernel twice_forward_only = {.forward = twice_forward};

static quern_op twice_op(const quern_kernel *kernel) {
    return (quern_op){.name = "twice",
                      .attribute_bytes = sizeof(float),
                      .input_count = 1,
                      .output_count = 1,
                      .shape = twice_shape,
                      .kernels = {[QUERN_BACKEND_CPU] = kernel}};
}

TEST_CASE(Graph, runs_an_op_of_the_application) {
    fixture f = fixture_open(QUERN_F32);
    const quern_op op = twice_op(&twice_kernel);
    const float offset = 1;
    quern_parameters *values = NULL;
    quern_program *program = NULL;
    quern_tensor *w = fixture_parameter(&f, "w", 3, 0, 0, 0);
    quern_tensor *y = quern_custom(f.graph, &op, &w, 1, &offset, NULL);
    quern_tensor *loss = quern_sum(f.graph, y, NULL);
    REQUIRE_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_program_create(&program, &(quern_program_desc){.graph = f.graph,
                                                                    .parameters = values,
                                                                    .batch_size = 1,
                                                                    .training = true,
                                                                    .loss = loss,
                                                                    .outputs = &y,
                                                                    .output_count = 1}));
    float x[3], out[3], gradient[3];
    REQUIRE_OK(quern_parameters_read(values, w, x, sizeof x));
    REQUIRE_OK(quern_program_forward(program, 0));
    REQUIRE_OK(quern_program_backward(program, false));
    REQUIRE_OK(quern_program_read(program, y, out, sizeof out));
    REQUIRE_OK(quern_parameters_read_gradient(values, w, gradient, sizeof gradient));
    for (int i = 0; i < 3; i++) {
        CHECK(out[i] == 2 * x[i] + 1);
        CHECK(gradient[i] == 2);
    }
    quern_program_destroy(program);
    quern_parameters_destroy(values);
    fixture_close(&f);
}

TEST_CASE(Graph, says_which_op_has_no_gradient_and_which_no_kernel) {
    const quern_op forward_only = twice_op(&twice_forward_only), nothing = twice_op(NULL);
    const quern_op *ops[] = {&forward_only, &nothing};
    const char *sentences[] = {"no gradient flows back through twice0 (op twice)",
                               "twice0 (twice) has no kernel on the cpu backend"};
    for (int i = 0; i < 2; i++) {
        fixture f = fixture_open(QUERN_F32);
        const float offset = 1;
        quern_parameters *values = NULL;
        quern_program *program = NULL;
        quern_tensor *w = fixture_parameter(&f, "w", 3, 0, 0, 0);
        quern_tensor *loss =
            quern_sum(f.graph, quern_custom(f.graph, ops[i], &w, 1, &offset, NULL), NULL);
        REQUIRE_OK(
            quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
        CHECK_STATUS(quern_program_create(&program, &(quern_program_desc){.graph = f.graph,
                                                                          .parameters = values,
                                                                          .batch_size = 1,
                                                                          .training = true,
                                                                          .loss = loss}),
                     QUERN_UNSUPPORTED);
        CHECK_ERROR_HAS(sentences[i]);
        quern_parameters_destroy(values);
        fixture_close(&f);
    }
}
