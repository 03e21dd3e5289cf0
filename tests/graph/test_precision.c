/* test_precision.c - programs in BF16 and F16: the steps that the precision pass makes, against F32
 * within named tolerances, and what an application sees of it all (F32). */
#include "graph_fixture.h"

#include "kernels/tolerances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct net {
    fixture f;
    quern_tensor *x, *y, *z, *loss;
} net;

static net mlp_open(void) {
    net n = {.f = fixture_open(QUERN_F32)};
    n.x = quern_input(n.f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    n.y = quern_labels(n.f.graph, "y");
    n.z = quern_mlp(n.f.graph, n.x,
                    &(quern_mlp_desc){.hidden_count = 1, .hidden = {33}, .class_count = 5});
    n.loss = quern_softmax_cross_entropy(n.f.graph, n.z, n.y, NULL);
    return n;
}

static net lenet_open(void) {
    net n = {.f = fixture_open(QUERN_F32)};
    n.x = quern_input(n.f.graph,
                      &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 1, 28, 28}});
    n.y = quern_labels(n.f.graph, "y");
    n.z = quern_lenet(n.f.graph, n.x, &(quern_lenet_desc){.class_count = 5});
    n.loss = quern_softmax_cross_entropy(n.f.graph, n.z, n.y, NULL);
    return n;
}

/* Layers and both forms of gelu, of which some become one node. */
static net gelu_open(void) {
    net n = {.f = fixture_open(QUERN_F32)};
    quern_graph *g = n.f.graph;
    n.x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    n.y = quern_labels(g, "y");
    quern_tensor *h = n.x;
    for (int i = 0; i < 3; i++) {
        h = quern_dense(g, h, &(quern_dense_desc){.units = 24});
        h = quern_gelu(g, h, &(quern_gelu_desc){.tanh = i == 1});
    }
    n.z = quern_dense(g, h, &(quern_dense_desc){.units = 5});
    n.loss = quern_softmax_cross_entropy(g, n.z, n.y, NULL);
    return n;
}

/* Everything the pass knows at once: batch norm (only x in 16 bits), an alias that is permuted and
 * one that is sliced, a value used twice by one op, F32 ops between 16-bit ones, a residual sum. */
static net mixed_open(void) {
    net n = {.f = fixture_open(QUERN_F32)};
    quern_graph *g = n.f.graph;
    n.x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    n.y = quern_labels(g, "y");
    quern_tensor *a = quern_dense(g, n.x, &(quern_dense_desc){.units = 24, .name = "a"});
    a = quern_batch_normalize(g, a, &(quern_batch_normalize_desc){.name = "bn"});
    quern_tensor *cube =
        quern_reshape(g, a, &(quern_reshape_desc){.rank = 3, .dim = {QUERN_B, 4, 6}});
    cube = quern_permute(g, cube, &(quern_permute_desc){.order = {0, 2, 1}});
    quern_tensor *parts[2];
    quern_split(g, cube, 1, 2, NULL, parts); /* (B, 3, 4) each */
    quern_tensor *left = quern_contiguous(g, parts[0]), *right = quern_contiguous(g, parts[1]);
    left = quern_mul(g, left, left);
    right = quern_exp(g, quern_scale(g, right, &(quern_scale_desc){.factor = 0.25f}));
    quern_tensor *both =
        quern_concat(g, (quern_tensor *[]){left, right}, 2, &(quern_concat_desc){.axis = 2});
    both = quern_reshape(g, both, &(quern_reshape_desc){.rank = 2, .dim = {QUERN_B, 24}});
    quern_tensor *b = quern_dense(g, both, &(quern_dense_desc){.units = 24, .name = "b"});
    b = quern_layer_normalize(g, quern_add(g, b, a), &(quern_layer_normalize_desc){.name = "ln"});
    n.z = quern_dense(g, quern_gelu(g, b, NULL), &(quern_dense_desc){.units = 5, .name = "c"});
    n.loss = quern_softmax_cross_entropy(g, n.z, n.y, NULL);
    return n;
}

enum { BATCH = 16 };

static void inputs_write(net *n, quern_program *p) {
    const quern_shape shape = quern_tensor_shape(n->x);
    int64_t count = BATCH;
    for (int32_t i = 1; i < shape.rank; i++) count *= shape.dim[i];
    float *x = malloc((size_t)count * sizeof *x);
    int32_t y[BATCH];
    REQUIRE(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = sinf(0.37f * (float)i) + 0.2f * cosf(1.9f * (float)i);
    for (int32_t i = 0; i < BATCH; i++) y[i] = i % 5;
    CHECK_OK(quern_program_write(p, n->x, x, (size_t)count * sizeof *x));
    if (quern_program_input(p, n->y)) CHECK_OK(quern_program_write(p, n->y, y, sizeof y));
    free(x);
}

typedef struct answer {
    float loss, z[BATCH * 5];
    float *gradients;
    int64_t count;
} answer;

static void gradients_read(net *n, quern_parameters *values, answer *out) {
    out->gradients = calloc(200000, sizeof *out->gradients);
    REQUIRE(out->gradients);
    for (int32_t i = 0; i < quern_graph_parameter_count(n->f.graph); i++) {
        quern_tensor *t = quern_graph_parameter(n->f.graph, i);
        const quern_shape shape = quern_tensor_shape(t);
        int64_t count = 1;
        if (strstr(quern_tensor_name(t), "running")) continue;
        for (int32_t k = 0; k < shape.rank; k++) count *= shape.dim[k];
        REQUIRE(out->count + count <= 200000);
        CHECK_OK(quern_parameters_read_gradient(values, t, out->gradients + out->count,
                                                (size_t)count * sizeof(float)));
        out->count += count;
    }
}

static void answer_compute(net *n, quern_precision precision, bool output_gradients, bool no_fusion,
                           answer *out) {
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    REQUIRE_OK(quern_parameters_create(
        &values, n->f.graph, &(quern_parameters_desc){.gradients = true, .precision = precision}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = n->f.graph,
                                                              .parameters = values,
                                                              .batch_size = BATCH,
                                                              .training = true,
                                                              .loss = n->loss,
                                                              .outputs = &n->z,
                                                              .output_count = 1,
                                                              .output_gradients = output_gradients,
                                                              .no_fusion = no_fusion,
                                                              .precision = precision}));
    inputs_write(n, p);
    *out = (answer){0};
    CHECK_OK(quern_program_forward(p, 0));
    CHECK_OK(quern_program_backward(p, false));
    CHECK_OK(quern_program_read(p, n->loss, &out->loss, sizeof out->loss));
    CHECK_OK(quern_program_read(p, n->z, out->z, sizeof out->z));
    gradients_read(n, values, out);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
}

static double distance(const float *a, const float *b, int64_t count) {
    double worst = 0, scale = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
        scale = fmax(scale, fabs((double)b[i]));
    }
    return worst / scale;
}

static void check_near(net *n, quern_precision precision, double tolerance) {
    answer half, wide;
    answer_compute(n, precision, false, false, &half);
    answer_compute(n, QUERN_PRECISION_F32, false, false, &wide);
    const double z = distance(half.z, wide.z, BATCH * 5);
    const double g = distance(half.gradients, wide.gradients, wide.count);
    CHECK_SAY(z <= tolerance && z > 0, "%s: z is off by %g", quern_precision_name(precision), z);
    CHECK_SAY(g <= tolerance && g > 0, "%s: gradients by %g", quern_precision_name(precision), g);
    CHECK_NEAR((double)half.loss, (double)wide.loss, tolerance * fabs((double)wide.loss));
    CHECK(half.loss != wide.loss && half.count > 0);
    free(half.gradients);
    free(wide.gradients);
}

static void check_network(net n) {
    REQUIRE_OK(quern_graph_status(n.f.graph));
    check_near(&n, QUERN_PRECISION_BF16, TOL_NETWORK_BF16);
    check_near(&n, QUERN_PRECISION_F16, TOL_NETWORK_F16);
    fixture_close(&n.f);
}

TEST_CASE(Precision, an_mlp_in_16_bits_is_near_f32) { check_network(mlp_open()); }
TEST_CASE(Precision, lenet_in_16_bits_is_near_f32) { check_network(lenet_open()); }
TEST_CASE(Precision, norms_aliases_and_f32_islands_in_16_bits_are_near_f32) {
    check_network(mixed_open());
}

/* Fusion and gradients that are to be read change steps, not values. */
static void check_fusion(net n) {
    for (int k = 0; k < 2; k++) {
        const quern_precision precision = k ? QUERN_PRECISION_F16 : QUERN_PRECISION_BF16;
        answer plain, unfused, read;
        answer_compute(&n, precision, false, false, &plain);
        answer_compute(&n, precision, false, true, &unfused);
        answer_compute(&n, precision, true, true, &read);
        CHECK(memcmp(plain.z, unfused.z, sizeof plain.z) == 0 && plain.loss == unfused.loss);
        CHECK(memcmp(plain.z, read.z, sizeof plain.z) == 0 && plain.loss == read.loss);
        CHECK(distance(unfused.gradients, plain.gradients, plain.count) <=
              (k ? TOL_WINDOW_F16 : TOL_WINDOW_BF16));
        CHECK(distance(read.gradients, plain.gradients, plain.count) <=
              (k ? TOL_WINDOW_F16 : TOL_WINDOW_BF16));
        free(plain.gradients);
        free(unfused.gradients);
        free(read.gradients);
    }
    fixture_close(&n.f);
}

TEST_CASE(Precision, the_answer_does_not_depend_on_fusion_or_on_what_is_to_be_read) {
    check_fusion(mlp_open());
    check_fusion(gelu_open());
}

static void tf32_is_f32_on_the_cpu(net *n) {
    answer tf32, f32;
    answer_compute(n, QUERN_PRECISION_TF32, false, false, &tf32);
    answer_compute(n, QUERN_PRECISION_F32, false, false, &f32);
    CHECK(memcmp(tf32.z, f32.z, sizeof f32.z) == 0);
    CHECK(memcmp(tf32.gradients, f32.gradients, (size_t)f32.count * sizeof(float)) == 0);
    free(tf32.gradients);
    free(f32.gradients);
}

TEST_CASE(Precision, tf32_on_the_cpu_is_f32_bit_for_bit) {
    net n = mlp_open();
    tf32_is_f32_on_the_cpu(&n);
    fixture_close(&n.f);
}

static void line_append(void *self, const char *line) {
    char *to = self;
    if (strstr(line, "backward ") || strstr(line, "forward ")) strcat(to, line);
}

TEST_CASE(Precision, the_pass_inserts_the_casts_that_the_rows_ask_for) {
    static const char golden[] =
        "program: training, bf16, batch 8, 8 forward and 2 backward steps, arena 12032"
        " bytes, inputs 704 bytes\n"
        "   0 forward   x:BF16 = cast(x)\n"
        "   1 forward   fc1.weight:BF16 = cast(fc1.weight), by the update\n"
        "   2 forward   fc1.bias:BF16 = cast(fc1.bias), by the update\n"
        "   3 forward   fc2.weight:BF16 = cast(fc2.weight), by the update\n"
        "   4 forward   fc2.bias:BF16 = cast(fc2.bias), by the update\n"
        "   5 forward   fc2.linear:BF16 = linear_relu_linear(x:BF16, fc1.weight:BF16,"
        " fc1.bias:BF16, fc2.weight:BF16, fc2.bias:BF16)\n"
        "   6 forward   softmax_cross_entropy3 = softmax_cross_entropy(fc2.linear:BF16, y)\n"
        "   7 forward   valid_count4 = valid_count(y)\n"
        "   8 backward  softmax_cross_entropy3 = softmax_cross_entropy(fc2.linear:BF16, y)"
        " dfc2.linear:BF16 =\n"
        "   9 backward  fc2.linear:BF16 = linear_relu_linear(x:BF16, fc1.weight:BF16,"
        " fc1.bias:BF16, fc2.weight:BF16, fc2.bias:BF16) dfc1.weight = dfc1.bias ="
        " dfc2.weight = dfc2.bias =\n";
    net n = mlp_open();
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    char text[8192] = "";
    REQUIRE_OK(quern_parameters_create(
        &values, n.f.graph,
        &(quern_parameters_desc){.gradients = true, .precision = QUERN_PRECISION_BF16}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = n.f.graph,
                                                              .parameters = values,
                                                              .batch_size = 8,
                                                              .training = true,
                                                              .loss = n.loss,
                                                              .precision = QUERN_PRECISION_BF16}));
    quern_program_dump(p, line_append, text);
    CHECK_TEXT(text, golden);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&n.f);
}

/* A weight that is read in F32 and in 16 bits, and one that is read as a part, whose gradient a
 * cast adds. */
static net shared_open(void) {
    net n = {.f = fixture_open(QUERN_F32)};
    quern_graph *g = n.f.graph;
    n.x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    n.y = quern_labels(g, "y");
    quern_tensor *w = quern_parameter(
        g, &(quern_parameter_desc){.name = "w",
                                   .rank = 2,
                                   .dim = {20, 20},
                                   .init = {QUERN_INIT_UNIFORM, -0.3f, 0.3f, false}});
    quern_tensor *v = quern_parameter(
        g, &(quern_parameter_desc){.name = "v",
                                   .rank = 2,
                                   .dim = {30, 20},
                                   .init = {QUERN_INIT_UNIFORM, -0.3f, 0.3f, false}});
    quern_tensor *h = quern_linear(g, n.x, quern_mul(g, w, quern_sigmoid(g, w)), NULL);
    h = quern_linear(g, h, w, NULL);
    h = quern_linear(g, quern_tanh(g, h),
                     quern_slice(g, v, &(quern_slice_desc){.axis = 0, .start = 3, .stop = 23}),
                     NULL);
    n.z = quern_dense(g, h, &(quern_dense_desc){.units = 5, .name = "c"});
    n.loss = quern_softmax_cross_entropy(g, n.z, n.y, NULL);
    return n;
}

/* Of the weights of a norm and of a slice a cast adds the gradient; a product makes its in F32. */
TEST_CASE(Precision, a_cast_adds_the_gradients_of_those_weights_that_only_some_can_write) {
    net nets[] = {mixed_open(), shared_open()};
    for (int i = 0; i < 2; i++) {
        net *n = &nets[i];
        quern_parameters *values = NULL;
        quern_program *p = NULL;
        char text[16384] = "";
        REQUIRE_OK(quern_parameters_create(
            &values, n->f.graph,
            &(quern_parameters_desc){.gradients = true, .precision = QUERN_PRECISION_F16}));
        REQUIRE_OK(
            quern_program_create(&p, &(quern_program_desc){.graph = n->f.graph,
                                                           .parameters = values,
                                                           .batch_size = 8,
                                                           .training = true,
                                                           .loss = n->loss,
                                                           .precision = QUERN_PRECISION_F16}));
        quern_program_dump(p, line_append, text);
        CHECK(strstr(text, "backward  c.weight:F16") == NULL && strstr(text, " dc.weight ="));
        CHECK(strstr(text, i ? "backward  v:F16 = cast(v)" : "backward  ln.weight:F16 = cast("));
        CHECK(i == 0 || (!strstr(text, "backward  w:F16") && strstr(text, " dw +=")));
        quern_program_destroy(p);
        quern_parameters_destroy(values);
        fixture_close(&n->f);
    }
}

TEST_CASE(Precision, weights_that_are_read_in_several_ways_are_near_f32) {
    check_network(shared_open());
}

/* A parameter is there in both forms, and so is an alias of one: what it is added to decides. */
TEST_CASE(Precision, an_alias_of_a_parameter_decides_as_little_as_itself) {
    static const char golden[] =
        "program: evaluation, bf16, batch 8, 7 forward and 0 backward steps, arena 2048 bytes,"
        " inputs 640 bytes\n"
        "   0 forward   x:BF16 = cast(x)\n"
        "   1 forward   a.weight:BF16 = cast(a.weight), by the update\n"
        "   2 forward   a.bias:BF16 = cast(a.bias), by the update\n"
        "   3 forward   a.linear:BF16 = linear(x:BF16, a.weight:BF16, a.bias:BF16)\n"
        "   4 forward   shift:BF16 = cast(shift), by the update\n"
        "   5 forward   add3:BF16 = add(a.linear:BF16, reshape1:BF16)\n"
        "   6 forward   add3 = cast(add3:BF16)\n";
    net n = {.f = fixture_open(QUERN_F32)};
    quern_graph *g = n.f.graph;
    n.x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    quern_tensor *shift =
        quern_parameter(g, &(quern_parameter_desc){.name = "shift", .rank = 2, .dim = {6, 2}});
    shift = quern_slice(g, shift, &(quern_slice_desc){.axis = 0, .start = 1, .stop = 5});
    shift = quern_reshape(g, shift, &(quern_reshape_desc){.rank = 1, .dim = {8}});
    quern_tensor *a = quern_dense(g, n.x, &(quern_dense_desc){.units = 8, .name = "a"});
    n.z = quern_add(g, a, shift);
    char text[8192] = "";
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    REQUIRE_OK(quern_parameters_create(
        &values, g, &(quern_parameters_desc){.precision = QUERN_PRECISION_BF16}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = g,
                                                              .parameters = values,
                                                              .batch_size = 8,
                                                              .outputs = &n.z,
                                                              .output_count = 1,
                                                              .precision = QUERN_PRECISION_BF16}));
    quern_program_dump(p, line_append, text);
    CHECK_TEXT(text, golden);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&n.f);
}

static quern_status program_of(net *n, quern_parameters *values, quern_precision precision) {
    quern_program *p = NULL;
    const quern_status status =
        quern_program_create(&p, &(quern_program_desc){.graph = n->f.graph,
                                                       .parameters = values,
                                                       .batch_size = 4,
                                                       .training = true,
                                                       .loss = n->loss,
                                                       .precision = precision});
    quern_program_destroy(p);
    return status;
}

TEST_CASE(Precision, what_does_not_fit_together_is_refused) {
    net n = mlp_open();
    quern_parameters *plain = NULL, *bf16 = NULL, *none = NULL;
    fixture wide = fixture_open(QUERN_F64);
    REQUIRE_OK(
        quern_parameters_create(&plain, n.f.graph, &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_parameters_create(
        &bf16, n.f.graph,
        &(quern_parameters_desc){.gradients = true, .precision = QUERN_PRECISION_BF16}));
    CHECK_STATUS(program_of(&n, plain, QUERN_PRECISION_BF16), QUERN_INVALID);
    CHECK_ERROR_HAS("precision is bf16, but its parameters were made without 16-bit copies");
    CHECK_STATUS(program_of(&n, bf16, QUERN_PRECISION_F16), QUERN_INVALID);
    CHECK_ERROR_HAS("for the other 16-bit type");
    CHECK_STATUS(program_of(&n, plain, (quern_precision)7), QUERN_INVALID);
    CHECK_ERROR_HAS("precision 7");
    CHECK_OK(program_of(&n, bf16, QUERN_PRECISION_F32));
    CHECK_STATUS(quern_parameters_create(
                     &none, wide.graph, &(quern_parameters_desc){.precision = QUERN_PRECISION_F16}),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("precision is f16, but the graph is F64");
    CHECK(!none);
    quern_parameters_destroy(bf16);
    quern_parameters_destroy(plain);
    fixture_close(&wide);
    fixture_close(&n.f);
}

/* What is written is what the next forward computes with, and two bytes a parameter more. */
TEST_CASE(Precision, copies_follow_what_is_written_and_are_counted) {
    net n = mlp_open();
    answer zero;
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    quern_memory half = {0}, wide = {0};
    quern_program_desc desc = {
        .graph = n.f.graph, .batch_size = BATCH, .outputs = &n.z, .output_count = 1};
    CHECK_OK(quern_program_memory(&wide, &desc));
    desc.precision = QUERN_PRECISION_F16;
    CHECK_OK(quern_program_memory(&half, &desc));
    CHECK(half.parameter_bytes == wide.parameter_bytes + wide.parameter_bytes / 2);
    REQUIRE_OK(quern_parameters_create(&values, n.f.graph,
                                       &(quern_parameters_desc){.precision = QUERN_PRECISION_F16}));
    desc.parameters = values;
    REQUIRE_OK(quern_program_create(&p, &desc));
    inputs_write(&n, p);
    CHECK_OK(quern_program_forward(p, 0));
    const float weights[5 * 33] = {0}, bias[5] = {1, 2, 3, 4, 5};
    CHECK_OK(quern_parameters_write(values, quern_tensor_find(n.f.graph, "fc2.weight"), weights,
                                    sizeof weights));
    CHECK_OK(quern_parameters_write(values, quern_tensor_find(n.f.graph, "fc2.bias"), bias,
                                    sizeof bias));
    CHECK_OK(quern_program_forward(p, 0));
    CHECK_OK(quern_program_read(p, n.z, zero.z, sizeof zero.z));
    for (int i = 0; i < BATCH * 5; i++) CHECK(zero.z[i] == bias[i % 5]);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&n.f);
}
