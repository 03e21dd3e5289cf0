/* Programs: fused equals unfused, eval differs from training only where it should, outputs and
 * inputs are checked, dumps are stable. */
#include "graph_fixture.h"

#include <math.h>
#include <string.h>

typedef struct mlp {
    fixture f;
    quern_tensor *x, *y, *z, *loss;
    quern_parameters *values;
} mlp;

static mlp mlp_open(void) {
    mlp m = {.f = fixture_open(QUERN_F32)};
    m.x = quern_input(m.f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 20}});
    m.y = quern_labels(m.f.graph, "y");
    m.z = quern_mlp(m.f.graph, m.x,
                    &(quern_mlp_desc){.hidden_count = 2, .hidden = {33, 17}, .class_count = 5});
    m.loss = quern_softmax_cross_entropy(m.f.graph, m.z, m.y, NULL);
    CHECK_STATUS(
        quern_parameters_create(&m.values, m.f.graph, &(quern_parameters_desc){.gradients = true}),
        QUERN_OK);
    return m;
}

static void mlp_close(mlp *m) {
    quern_parameters_destroy(m->values);
    fixture_close(&m->f);
}

static quern_program_desc mlp_desc(mlp *m, int64_t batch, bool no_fusion) {
    return (quern_program_desc){.graph = m->f.graph,
                                .parameters = m->values,
                                .batch_size = batch,
                                .training = true,
                                .loss = m->loss,
                                .outputs = &m->z,
                                .output_count = 1,
                                .no_fusion = no_fusion};
}

static void mlp_step(mlp *m, quern_program *p, int64_t batch, float *z, float *gradient) {
    float x[31 * 20];
    int32_t y[31];
    for (int64_t i = 0; i < batch * 20; i++) x[i] = sinf(0.7f * (float)i);
    for (int64_t i = 0; i < batch; i++) y[i] = (int32_t)(i % 5);
    REQUIRE_OK(quern_program_write(p, m->x, x, (size_t)batch * 20 * sizeof *x));
    REQUIRE_OK(quern_program_write(p, m->y, y, (size_t)batch * sizeof *y));
    REQUIRE_OK(quern_program_forward(p, 0));
    REQUIRE_OK(quern_program_backward(p, false));
    REQUIRE_OK(quern_program_read(p, m->z, z, (size_t)batch * 5 * sizeof *z));
    REQUIRE_OK(quern_parameters_read_gradient(
        m->values, quern_tensor_find(m->f.graph, "fc1.weight"), gradient, 33 * 20 * sizeof *z));
}

TEST_CASE(Program, gives_the_same_answer_fused_and_unfused) {
    mlp m = mlp_open();
    float z[2][31 * 5], gradient[2][33 * 20];
    for (int i = 0; i < 2; i++) {
        quern_program *p = NULL;
        const quern_program_desc desc = mlp_desc(&m, 31, i == 1);
        REQUIRE_OK(quern_program_create(&p, &desc));
        mlp_step(&m, p, 31, z[i], gradient[i]);
        quern_program_destroy(p);
    }
    CHECK(memcmp(z[0], z[1], sizeof z[0]) == 0);
    CHECK(memcmp(gradient[0], gradient[1], sizeof gradient[0]) == 0);
    float largest = 0;
    for (int i = 0; i < 33 * 20; i++) largest = fmaxf(largest, fabsf(gradient[0][i]));
    CHECK(largest > 1e-4f);
    mlp_close(&m);
}

/* Lines in all, and those that say each of these. */
static const char *const fused_names[] = {" = linear_relu(", " = linear_gelu(",
                                          " = linear_relu_linear(", " = linear_gelu_linear("};
enum { FUSED_NAMES = 4 };

static void count_lines(void *self, const char *line) {
    int *count = self;
    count[0]++;
    for (int i = 0; i < FUSED_NAMES; i++) count[i + 1] += strstr(line, fused_names[i]) != NULL;
}

TEST_CASE(Program, fuses_layers_and_activations_and_dumps_its_steps) {
    mlp m = mlp_open();
    for (int i = 0; i < 2; i++) {
        quern_program *p = NULL;
        int count[FUSED_NAMES + 1] = {0};
        const quern_program_desc desc = mlp_desc(&m, 8, i == 1);
        REQUIRE_OK(quern_program_create(&p, &desc));
        quern_program_dump(p, count_lines, count);
        /* forward and backward: the first two layers, and the last with the one before it */
        CHECK_SAY(count[1] == (i ? 0 : 2), "%d times linear_relu", count[1]);
        CHECK_SAY(count[3] == (i ? 0 : 2), "%d times linear_relu_linear", count[3]);
        CHECK(count[2] + count[4] == 0);
        CHECK(count[0] > 8);
        quern_program_destroy(p);
    }
    mlp_close(&m);
}

/* gelu's form goes along; what somebody else reads is not taken from them. */
TEST_CASE(Program, fuses_gelu_in_either_form_and_leaves_what_is_read_elsewhere) {
    for (int form = 0; form < 4; form++) {
        fixture f = fixture_open(QUERN_F32);
        quern_parameters *values = NULL;
        quern_program *p = NULL;
        int count[FUSED_NAMES + 1] = {0};
        quern_tensor *x =
            quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 8}});
        quern_tensor *u = quern_dense(f.graph, x, &(quern_dense_desc){.units = 8});
        quern_tensor *h = quern_gelu(f.graph, u, &(quern_gelu_desc){.tanh = form == 1});
        quern_tensor *z = quern_dense(f.graph, h, &(quern_dense_desc){.units = 8});
        if (form == 2) z = quern_add(f.graph, z, h);
        if (form == 3) z = quern_add(f.graph, z, u);
        quern_tensor *loss = quern_mse(f.graph, z, x);
        REQUIRE_OK(
            quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
        REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = f.graph,
                                                                  .parameters = values,
                                                                  .batch_size = 4,
                                                                  .training = true,
                                                                  .loss = loss}));
        quern_program_dump(p, count_lines, count);
        CHECK(count[4] == (form < 2 ? 2 : 0));
        CHECK(count[2] == (form == 2 ? 2 : 0));
        quern_program_destroy(p);
        quern_parameters_destroy(values);
        fixture_close(&f);
    }
}

TEST_CASE(Program, trains_on_an_empty_batch_without_harm) {
    mlp m = mlp_open();
    quern_program *p = NULL;
    const quern_program_desc desc = mlp_desc(&m, 0, false);
    REQUIRE_OK(quern_program_create(&p, &desc));
    REQUIRE_OK(quern_program_forward(p, 0));
    float loss = -1;
    REQUIRE_OK(quern_program_read(p, m.loss, &loss, sizeof loss));
    CHECK(loss == 0);
    quern_program_destroy(p);
    mlp_close(&m);
}

TEST_CASE(Program, checks_what_is_written_and_read) {
    mlp m = mlp_open();
    quern_program *p = NULL;
    float z[40];
    const quern_program_desc desc = mlp_desc(&m, 8, false);
    REQUIRE_OK(quern_program_create(&p, &desc));
    CHECK_STATUS(quern_program_write(p, m.x, z, sizeof z), QUERN_SHAPE);
    CHECK_ERROR_HAS("x has 640 bytes for a batch of 8, not 160");
    CHECK_STATUS(quern_program_write(p, m.z, z, sizeof z), QUERN_INVALID);
    CHECK(quern_program_input(p, m.z) == NULL);
    quern_tensor *hidden = quern_tensor_find(m.f.graph, "fc1.linear");
    if (hidden) CHECK_STATUS(quern_program_read(p, hidden, z, sizeof z), QUERN_INVALID);
    quern_program_destroy(p);
    CHECK_STATUS(quern_program_create(&p, &(quern_program_desc){.graph = m.f.graph,
                                                                .parameters = m.values,
                                                                .batch_size = 4,
                                                                .training = true,
                                                                .loss = m.z}),
                 QUERN_SHAPE);
    CHECK_ERROR_HAS("must be one number");
    CHECK_STATUS(quern_program_create(&p, &(quern_program_desc){.graph = m.f.graph,
                                                                .parameters = m.values,
                                                                .batch_size = -1}),
                 QUERN_INVALID);
    CHECK_STATUS(quern_program_create(&p, NULL), QUERN_INVALID);
    mlp_close(&m);
}

TEST_CASE(Program, does_not_know_what_the_graph_got_later_and_follows_no_stale_pass) {
    mlp m = mlp_open();
    quern_program *p = NULL;
    float z[40], gradient[33 * 20];
    const int32_t unchecked[8] = {0, 1, 2, 3, 4, 0, 1, 1 << 20};
    const quern_program_desc desc = mlp_desc(&m, 8, false);
    REQUIRE_OK(quern_program_create(&p, &desc));
    quern_tensor *later = m.z;
    for (int i = 0; i < 100; i++) later = quern_relu(m.f.graph, later);
    CHECK_STATUS(quern_program_read(p, later, z, sizeof z), QUERN_INVALID);
    CHECK_ERROR_HAS("was added after the program was made");
    CHECK_STATUS(quern_program_read_gradient(p, later, z, sizeof z), QUERN_INVALID);
    mlp_step(&m, p, 8, z, gradient);
    CHECK_STATUS(quern_program_backward(p, true), QUERN_INVALID);
    CHECK_ERROR_HAS("a second backward behind one forward");
    REQUIRE_OK(quern_program_write(p, m.y, unchecked, sizeof unchecked));
    CHECK_STATUS(quern_program_backward(p, true), QUERN_INVALID);
    CHECK_ERROR_HAS("without a forward");
    CHECK_STATUS(quern_program_read(p, m.z, z, sizeof z), QUERN_INVALID);
    quern_program_destroy(p);
    mlp_close(&m);
}

TEST_CASE(Program, answers_how_much_memory_without_sealing_the_graph) {
    fixture f = fixture_open(QUERN_F32);
    quern_memory memory;
    quern_tensor *w = fixture_parameter(&f, "w", 5, 0, 0, 0);
    REQUIRE_OK(quern_program_memory(
        &memory, &(quern_program_desc){
                     .graph = f.graph, .batch_size = 1, .loss = quern_sum(f.graph, w, NULL)}));
    CHECK(memory.parameter_bytes == 16 * sizeof(float));
    CHECK(fixture_parameter(&f, "v", 5, 0, 0, 0) != NULL);
    CHECK_OK(quern_graph_status(f.graph));
    fixture_close(&f);
}

TEST_CASE(Program, refuses_a_loss_that_nothing_trainable_feeds) {
    fixture f = fixture_open(QUERN_F32);
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 1, .dim = {QUERN_B}});
    quern_tensor *loss = quern_sum(f.graph, x, NULL);
    REQUIRE_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    CHECK_STATUS(quern_program_create(&p, &(quern_program_desc){.graph = f.graph,
                                                                .parameters = values,
                                                                .batch_size = 4,
                                                                .training = true,
                                                                .loss = loss}),
                 QUERN_INVALID);
    CHECK_ERROR_HAS("depends on no trainable parameter");
    quern_parameters_destroy(values);
    fixture_close(&f);
}

TEST_CASE(Program, gives_the_gradient_of_an_input_that_asks) {
    fixture f = fixture_open(QUERN_F64);
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    const double data[3] = {1, -2, 3};
    double gradient[3] = {0};
    quern_tensor *x = quern_input(
        f.graph, &(quern_input_desc){.name = "x", .rank = 1, .dim = {QUERN_B}, .gradient = true});
    quern_tensor *loss = quern_sum(f.graph, quern_mul(f.graph, x, x), NULL);
    REQUIRE_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = f.graph,
                                                              .parameters = values,
                                                              .batch_size = 3,
                                                              .training = true,
                                                              .loss = loss}));
    REQUIRE_OK(quern_program_write(p, x, data, sizeof data));
    REQUIRE_OK(quern_program_forward(p, 0));
    REQUIRE_OK(quern_program_backward(p, false));
    REQUIRE_OK(quern_program_read_gradient(p, x, gradient, sizeof gradient));
    for (int i = 0; i < 3; i++) CHECK_NEAR(gradient[i], 2 * data[i] / 3, 1e-15);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&f);
}
