/* Residual sums and the norms behind them: fused and unfused give the same answer, what is not the
 * pattern stays as it was, and both operands of a sum have one gradient in one place where nobody
 * could tell. */
#include "graph_fixture.h"

#include "host/graph/compile.h"

#include <math.h>
#include <string.h>

enum { BATCH = 6, WIDTH = 24, PARAMETERS = 4096 };

static quern_tensor *features(fixture *f) {
    return quern_input(f->graph,
                       &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WIDTH}});
}

static quern_tensor *branch(fixture *f, quern_tensor *x, const char *name) {
    x = quern_dense(f->graph, x, &(quern_dense_desc){.units = WIDTH, .name = name});
    return quern_gelu(f->graph, x, NULL);
}

static quern_tensor *norm(fixture *f, quern_tensor *x, const char *name) {
    return quern_layer_normalize(f->graph, x, &(quern_layer_normalize_desc){.name = name});
}

/* Two blocks: the first sum is read by a norm and by the second sum, which only a norm reads. */
static quern_tensor *blocks(fixture *f) {
    quern_tensor *h = quern_dense(f->graph, features(f), &(quern_dense_desc){.units = WIDTH});
    quern_tensor *first = quern_add(f->graph, h, branch(f, norm(f, h, "n0"), "b0"));
    quern_tensor *second = quern_add(f->graph, first, branch(f, norm(f, first, "n1"), "b1"));
    quern_tensor *z = quern_dense(f->graph, norm(f, second, "n2"), &(quern_dense_desc){.units = 5});
    return quern_softmax_cross_entropy(f->graph, z, quern_labels(f->graph, "y"), NULL);
}

typedef struct answer {
    float loss, gradients[PARAMETERS];
    int64_t count;
} answer;

static void inputs_write(quern_program *p, fixture *f) {
    float x[BATCH * WIDTH];
    int32_t y[BATCH];
    for (int i = 0; i < BATCH * WIDTH; i++) x[i] = sinf(0.37f * (float)i);
    for (int i = 0; i < BATCH; i++) y[i] = i % 5;
    for (quern_tensor *t = f->graph->tensors; t; t = t->next) {
        const bool labels = t->role == ROLE_INPUT && t->shape.dtype == QUERN_I32;
        if (t->role == ROLE_INPUT && quern_program_input(p, t))
            CHECK_OK(quern_program_write(p, t, labels ? (const void *)y : (const void *)x,
                                         labels ? sizeof y : sizeof x));
    }
}

static void answer_of(fixture *f, quern_tensor *loss, quern_precision precision, bool no_fusion,
                      answer *out) {
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    *out = (answer){0};
    REQUIRE_OK(quern_parameters_create(
        &values, f->graph, &(quern_parameters_desc){.gradients = true, .precision = precision}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = f->graph,
                                                              .parameters = values,
                                                              .batch_size = BATCH,
                                                              .training = true,
                                                              .loss = loss,
                                                              .no_fusion = no_fusion,
                                                              .precision = precision}));
    inputs_write(p, f);
    for (int following = 0; following < 2; following++) {
        CHECK_OK(quern_program_forward(p, 0));
        CHECK_OK(quern_program_backward(p, following != 0));
    }
    CHECK_OK(quern_program_read(p, loss, &out->loss, sizeof out->loss));
    for (int32_t i = 0; i < quern_graph_parameter_count(f->graph); i++) {
        quern_tensor *t = quern_graph_parameter(f->graph, i);
        const quern_shape shape = quern_tensor_shape(t);
        const int64_t count = shape.dim[0] * (shape.rank > 1 ? shape.dim[1] : 1);
        REQUIRE(out->count + count <= PARAMETERS);
        CHECK_OK(quern_parameters_read_gradient(values, t, out->gradients + out->count,
                                                (size_t)count * sizeof(float)));
        out->count += count;
    }
    quern_program_destroy(p);
    quern_parameters_destroy(values);
}

TEST_CASE(Residual, and_norm_give_the_same_bits_fused_and_unfused) {
    static const quern_precision precisions[] = {QUERN_PRECISION_F32, QUERN_PRECISION_BF16,
                                                 QUERN_PRECISION_F16};
    static answer fused, plain;
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
        fixture f = fixture_open(QUERN_F32);
        quern_tensor *loss = blocks(&f);
        answer_of(&f, loss, precisions[i], false, &fused);
        answer_of(&f, loss, precisions[i], true, &plain);
        CHECK(fused.count > 0 && isfinite(fused.loss) && fused.loss == plain.loss);
        CHECK(memcmp(fused.gradients, plain.gradients, sizeof plain.gradients) == 0);
        fixture_close(&f);
    }
}

static void line_append(void *self, const char *line) {
    char *to = self;
    if (strstr(line, "backward ") || strstr(line, "forward ")) strcat(to, line);
}

static void check_steps(fixture *f, quern_tensor *output, const char *golden) {
    char text[4096] = "";
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    REQUIRE_OK(quern_parameters_create(&values, f->graph, NULL));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = f->graph,
                                                              .parameters = values,
                                                              .batch_size = BATCH,
                                                              .outputs = &output,
                                                              .output_count = 1}));
    quern_program_dump(p, line_append, text);
    CHECK_TEXT(strstr(text, "   0 "), golden);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
}

TEST_CASE(Residual, and_norm_are_one_step_though_the_sum_is_read_again) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x = features(&f), *t = quern_tanh(f.graph, x);
    quern_tensor *sum = quern_add(f.graph, x, t);
    quern_tensor *y = quern_mul(f.graph, norm(&f, sum, "n"), sum);
    check_steps(&f, y,
                "   0 forward   tanh0 = tanh(x)\n"
                "   1 forward   add1, n.layer_norm = add_layer_norm(x, tanh0, n.weight, n.bias)\n"
                "   2 forward   mul3 = mul(n.layer_norm, add1)\n");
    fixture_close(&f);
}

TEST_CASE(Residual, that_adds_a_row_to_every_row_stays_as_it_was) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x = features(&f), *row = fixture_parameter(&f, "row", WIDTH, 0, 0, 0);
    quern_tensor *sum = quern_add(f.graph, x, row), *y = norm(&f, sum, "n");
    check_steps(&f, y,
                "   0 forward   add0 = add(x, row)\n"
                "   1 forward   n.layer_norm = layer_norm(add0, n.weight, n.bias)\n");
    fixture_close(&f);
}

TEST_CASE(Residual, that_is_read_before_its_norm_stays_as_it_was) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x = features(&f), *sum = quern_add(f.graph, x, quern_tanh(f.graph, x));
    quern_tensor *early = quern_exp(f.graph, sum);
    check_steps(&f, quern_mul(f.graph, norm(&f, sum, "n"), early),
                "   0 forward   tanh0 = tanh(x)\n"
                "   1 forward   add1 = add(x, tanh0)\n"
                "   2 forward   exp2 = exp(add1)\n"
                "   3 forward   n.layer_norm = layer_norm(add1, n.weight, n.bias)\n"
                "   4 forward   mul4 = mul(n.layer_norm, exp2)\n");
    fixture_close(&f);
}

/* As a view of itself, too: a gradient that is written twice would be written once. */
TEST_CASE(Residual, that_adds_a_tensor_to_itself_stays_as_it_was) {
    for (int view = 0; view < 2; view++) {
        fixture f = fixture_open(QUERN_F32);
        quern_tensor *x = quern_tanh(f.graph, features(&f)), *other = x;
        if (view) other = quern_reshape(f.graph, x, &(quern_reshape_desc){2, {QUERN_B, WIDTH}});
        quern_tensor *sum = quern_add(f.graph, x, other);
        check_steps(&f, norm(&f, sum, "n"),
                    view ? "   0 forward   tanh0 = tanh(x)\n"
                           "   1 forward   add2 = add(tanh0, reshape1)\n"
                           "   2 forward   n.layer_norm = layer_norm(add2, n.weight, n.bias)\n"
                         : "   0 forward   tanh0 = tanh(x)\n"
                           "   1 forward   add1 = add(tanh0, tanh0)\n"
                           "   2 forward   n.layer_norm = layer_norm(add1, n.weight, n.bias)\n");
        fixture_close(&f);
    }
}

/* The gradients of h and of the branch in `h + branch(h)`. */
static bool one_gradient(bool deep, bool swapped) {
    fixture f = fixture_open(QUERN_F32);
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    quern_tensor *h = quern_dense(f.graph, features(&f), &(quern_dense_desc){.units = WIDTH});
    quern_tensor *b = quern_dense(f.graph, deep ? quern_silu(f.graph, h) : h,
                                  &(quern_dense_desc){.units = WIDTH});
    quern_tensor *sum = swapped ? quern_add(f.graph, b, h) : quern_add(f.graph, h, b);
    quern_tensor *loss = quern_sum(f.graph, quern_mul(f.graph, sum, sum), NULL);
    CHECK_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    CHECK_OK(quern_program_create(&p, &(quern_program_desc){.graph = f.graph,
                                                            .parameters = values,
                                                            .batch_size = BATCH,
                                                            .training = true,
                                                            .loss = loss}));
    const arena_item *of_h = &p->items[plan_of(p, h)->gradient.item];
    const arena_item *of_b = &p->items[plan_of(p, b)->gradient.item];
    const bool one = of_h->offset == of_b->offset;
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&f);
    return one;
}

/* A branch of one product adds to the gradient of h in the step that reads its own. */
TEST_CASE(Residual, has_one_gradient_in_one_place_where_the_branch_is_done_before_it_grows) {
    CHECK(one_gradient(true, false));
    CHECK(one_gradient(true, true));
    CHECK(!one_gradient(false, false));
    CHECK(!one_gradient(false, true));
}

/* The sum and its norm are operands of a sum: their gradients are one, and the step that reads both
 * overwrites neither with the operand's. */
TEST_CASE(Residual, and_norm_that_are_added_again_keep_their_gradients_until_both_are_read) {
    fixture f = fixture_open(QUERN_F32);
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    quern_tensor *h = quern_dense(f.graph, features(&f), &(quern_dense_desc){.units = WIDTH});
    quern_tensor *sum = quern_add(f.graph, h, branch(&f, h, "b"));
    quern_tensor *y = norm(&f, sum, "n"), *z = quern_add(f.graph, sum, y);
    quern_tensor *loss = quern_sum(f.graph, quern_mul(f.graph, z, z), NULL);
    CHECK_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    CHECK_OK(quern_program_create(&p, &(quern_program_desc){.graph = f.graph,
                                                            .parameters = values,
                                                            .batch_size = BATCH,
                                                            .training = true,
                                                            .loss = loss}));
    const arena_item *of_sum = &p->items[plan_of(p, sum)->gradient.item];
    const arena_item *of_y = &p->items[plan_of(p, y)->gradient.item];
    const arena_item *of_h = &p->items[plan_of(p, h)->gradient.item];
    CHECK(of_sum->offset == of_y->offset);
    CHECK(of_h->offset != of_y->offset);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
    fixture_close(&f);
}

static void gradient_of_output(fixture *f, quern_tensor *output, quern_tensor *loss, bool no_fusion,
                               float gradient[BATCH * WIDTH]) {
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    REQUIRE_OK(
        quern_parameters_create(&values, f->graph, &(quern_parameters_desc){.gradients = true}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = f->graph,
                                                              .parameters = values,
                                                              .batch_size = BATCH,
                                                              .training = true,
                                                              .loss = loss,
                                                              .outputs = &output,
                                                              .output_count = 1,
                                                              .output_gradients = true,
                                                              .no_fusion = no_fusion}));
    inputs_write(p, f);
    CHECK_OK(quern_program_forward(p, 0));
    CHECK_OK(quern_program_backward(p, false));
    CHECK_OK(quern_program_read_gradient(p, output, gradient, BATCH * WIDTH * sizeof gradient[0]));
    quern_program_destroy(p);
    quern_parameters_destroy(values);
}

/* As verify reads them: the norm's part too. */
TEST_CASE(Residual, that_is_an_output_has_its_whole_gradient_to_be_read) {
    float fused[BATCH * WIDTH], plain[BATCH * WIDTH];
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *h = quern_dense(f.graph, features(&f), &(quern_dense_desc){.units = WIDTH});
    quern_tensor *sum = quern_add(f.graph, h, branch(&f, h, "b"));
    quern_tensor *z = quern_mul(f.graph, sum, norm(&f, sum, "n"));
    quern_tensor *loss = quern_sum(f.graph, quern_mul(f.graph, z, z), NULL);
    gradient_of_output(&f, sum, loss, false, fused);
    gradient_of_output(&f, sum, loss, true, plain);
    CHECK(plain[0] != 0 && memcmp(fused, plain, sizeof plain) == 0);
    fixture_close(&f);
}
