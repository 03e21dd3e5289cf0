/* Random graphs: whatever the passes fuse, the memory plan shares and autodiff adds up, gradients
 * are those of central differences in F64, and fused programs have the answer of unfused ones in
 * every precision. QUERN_TEST_GRAPHS asks for another number of graphs. */
#include "graph_fixture.h"

#include "host/graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 4, TENSORS = 60, WEIGHTS = 3, NUMBERS = 4096, GRAPHS = 40 };

typedef struct random_graph {
    fixture f;
    uint64_t state;
    quern_tensor *made[TENSORS], *rows[TENSORS]; /* (B, WIDTH), (WIDTH) */
    quern_tensor *weights[WEIGHTS];              /* (WIDTH, WIDTH) */
    uint32_t made_count, row_count;
} random_graph;

static uint32_t below(random_graph *r, uint32_t limit) {
    r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(r->state >> 33) % limit;
}

static quern_tensor *any(random_graph *r) { return r->made[below(r, r->made_count)]; }
static quern_tensor *any_row(random_graph *r) { return r->rows[below(r, r->row_count)]; }
static quern_tensor *any_weight(random_graph *r) { return r->weights[below(r, WEIGHTS)]; }

static quern_tensor *halves_exchanged(random_graph *r, quern_tensor *x) {
    quern_tensor *parts[2] = {NULL, NULL};
    quern_split(r->f.graph, x, 1, 2, NULL, parts);
    quern_tensor *both[2] = {parts[1], parts[0]};
    if (below(r, 2)) both[0] = quern_tanh(r->f.graph, parts[1]);
    return quern_concat(r->f.graph, both, 2, &(quern_concat_desc){1});
}

/* A column, or a row, that is spread. */
static quern_tensor *spread(random_graph *r, quern_tensor *x) {
    quern_graph *g = r->f.graph;
    quern_tensor *column = quern_slice(g, x, &(quern_slice_desc){1, 1, 2});
    if (below(r, 2)) column = quern_neg(g, column);
    switch (below(r, 6)) {
    case 0: return quern_add(g, column, any(r));
    case 1: return quern_add(g, any_row(r), column);
    case 2: return quern_add(g, x, any_row(r));
    case 3: return quern_add(g, any_row(r), x);
    case 4: return quern_sub(g, any_row(r), x);
    default: return quern_sub(g, x, any_row(r));
    }
}

static quern_tensor *row_added(random_graph *r, quern_tensor *x) {
    quern_tensor *row = below(r, 2) ? quern_neg(r->f.graph, any_row(r))
                                    : quern_add(r->f.graph, any_row(r), any_row(r));
    r->rows[r->row_count++] = row;
    return x;
}

/* h + branch(h) and its norm; others may read the sum, before the norm and behind it. */
static quern_tensor *residual(random_graph *r, quern_tensor *x) {
    quern_graph *g = r->f.graph;
    quern_tensor *branch = below(r, 2) ? any(r) : quern_linear(g, x, any_weight(r), NULL);
    quern_tensor *sum = below(r, 2) ? quern_add(g, x, branch) : quern_add(g, branch, x);
    if (below(r, 2)) r->made[r->made_count++] = sum;
    if (below(r, 4) == 0) r->made[r->made_count++] = quern_sigmoid(g, sum);
    quern_tensor *bias = below(r, 2) ? any_row(r) : NULL;
    /* rows without variance must not make a norm that differences cannot follow */
    quern_tensor *y =
        quern_layer_norm(g, sum, any_row(r), bias, &(quern_layer_norm_desc){.epsilon = 0.1f});
    return below(r, 4) ? y : quern_add(g, sum, y);
}

static quern_tensor *next(random_graph *r) {
    quern_graph *g = r->f.graph;
    quern_tensor *x = below(r, 3) ? r->made[r->made_count - 1] : any(r);
    switch (below(r, 18)) {
    case 0: return quern_add(g, x, any(r));
    case 1: return quern_sub(g, x, any(r));
    case 2: return quern_scale(g, quern_mul(g, x, any(r)), &(quern_scale_desc){.factor = 0.5f});
    case 3: return quern_tanh(g, x);
    case 4: return quern_neg(g, x);
    case 5: return quern_sigmoid(g, x);
    case 6: return quern_gelu(g, x, &(quern_gelu_desc){.tanh = below(r, 2) != 0});
    case 7: return quern_silu(g, x);
    case 8:
    case 9: return quern_linear(g, x, any_weight(r), below(r, 2) ? any_row(r) : NULL);
    case 10: return halves_exchanged(r, x);
    case 11: return quern_reshape(g, x, &(quern_reshape_desc){2, {QUERN_B, WIDTH}});
    case 12: return row_added(r, x);
    case 13: return quern_softmax(g, x, &(quern_softmax_desc){.first = 1});
    case 14:
    case 15:
    case 16: return residual(r, x);
    default: return spread(r, x);
    }
}

/* The loss; what it does not reach is in no program. */
static quern_tensor *graph_make(random_graph *r, uint64_t seed, quern_dtype dtype) {
    *r = (random_graph){.f = fixture_open(dtype), .state = 7919 * seed + 17};
    quern_graph *g = r->f.graph;
    char name[16];
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WIDTH}});
    for (int i = 0; i < WEIGHTS; i++) {
        snprintf(name, sizeof name, "w%d", i);
        r->weights[i] = fixture_parameter(&r->f, name, WIDTH, WIDTH, 0, 0);
        snprintf(name, sizeof name, "v%d", i);
        r->rows[r->row_count++] = fixture_parameter(&r->f, name, WIDTH, 0, 0, 0);
    }
    r->made[r->made_count++] = quern_linear(g, x, r->weights[0], NULL);
    r->made[r->made_count++] = x;
    for (uint32_t left = 3 + below(r, 12); left > 0; left--) {
        quern_tensor *y = next(r); /* may have made more itself */
        r->made[r->made_count++] = y;
    }
    quern_tensor *last = r->made[r->made_count - 1];
    quern_tensor *loss = quern_sum(g, quern_mul(g, last, quern_sigmoid(g, any(r))), NULL);
    loss = quern_add(g, loss, quern_sum(g, quern_tanh(g, r->made[0]), NULL));
    if (below(r, 4) == 0) quern_group(g, "w1", &(quern_group_desc){.frozen = true});
    return loss;
}

static uint64_t graph_count(void) {
    const char *asked = getenv("QUERN_TEST_GRAPHS");
    const long count = asked ? atol(asked) : 0;
    return count > 0 ? (uint64_t)count : GRAPHS;
}

TEST_CASE(Random, graphs_have_the_gradients_of_central_differences) {
    static random_graph r;
    for (uint64_t seed = 0; seed < graph_count(); seed++) {
        quern_tensor *loss = graph_make(&r, seed, QUERN_F64);
        fixture_check_gradients(&r.f, loss, 1 + (int64_t)below(&r, 4));
        fixture_close(&r.f);
    }
}

/* The loss, every parameter's gradient, an output and, where there is one, its gradient. */
typedef struct answer {
    float number[NUMBERS];
    int64_t count;
} answer;

typedef struct question {
    quern_tensor *loss, *output;
    int64_t batch;
    quern_precision precision;
} question;

static void input_write(quern_program *p, const random_graph *r, int64_t batch) {
    float *x = quern_program_input(p, quern_tensor_find(r->f.graph, "x"));
    for (int64_t i = 0; x && i < batch * WIDTH; i++) x[i] = sinf(1.7f * (float)i + 0.3f);
}

static void answer_read(answer *a, const random_graph *r, const question *q, quern_program *p,
                        quern_parameters *values) {
    const size_t bytes = (size_t)(q->batch * WIDTH) * sizeof(float);
    *a = (answer){.count = 1};
    CHECK_OK(quern_program_read(p, q->loss, a->number, sizeof(float)));
    for (int32_t i = 0; i < quern_graph_parameter_count(r->f.graph); i++) {
        const quern_tensor *t = quern_graph_parameter(r->f.graph, i);
        const int64_t count = t->shape.rank == 2 ? WIDTH * WIDTH : WIDTH;
        if (!t->wants_gradient) continue;
        CHECK_OK(quern_parameters_read_gradient(values, t, a->number + a->count,
                                                (size_t)count * sizeof(float)));
        a->count += count;
    }
    CHECK_OK(quern_program_read(p, q->output, a->number + a->count, bytes));
    a->count += q->batch * WIDTH;
    if (quern_program_read_gradient(p, q->output, a->number + a->count, bytes) == QUERN_OK)
        a->count += q->batch * WIDTH;
}

static void answer_make(answer *a, random_graph *r, question *q, bool no_fusion) {
    quern_parameters *values = NULL;
    quern_program *p = NULL;
    REQUIRE_OK(quern_parameters_create(
        &values, r->f.graph,
        &(quern_parameters_desc){.gradients = true, .precision = q->precision}));
    REQUIRE_OK(quern_program_create(&p, &(quern_program_desc){.graph = r->f.graph,
                                                              .parameters = values,
                                                              .batch_size = q->batch,
                                                              .training = true,
                                                              .loss = q->loss,
                                                              .outputs = &q->output,
                                                              .output_count = 1,
                                                              .output_gradients = true,
                                                              .no_fusion = no_fusion,
                                                              .precision = q->precision}));
    input_write(p, r, q->batch);
    for (int following = 0; following < 2; following++) {
        CHECK_OK(quern_program_forward(p, 0));
        CHECK_OK(quern_program_backward(p, following != 0));
    }
    answer_read(a, r, q, p, values);
    quern_program_destroy(p);
    quern_parameters_destroy(values);
}

/* Up to what the order of sums does to gradients that more than two nodes add to: some roundings to
 * the type's bits. A gradient that is missing, or another's, is far beyond. */
static void answers_compare(const answer *a, const answer *b, quern_precision precision,
                            uint64_t seed) {
    static const double tolerance[] = {
        [QUERN_PRECISION_F32] = 1e-5, [QUERN_PRECISION_BF16] = 0.03, [QUERN_PRECISION_F16] = 0.004};
    double worst = 0, scale = 1;
    CHECK_SAY(a->count == b->count, "graph %d: a gradient that only one has", (int)seed);
    for (int64_t i = 0; i < a->count; i++) {
        const double difference = fabs((double)a->number[i] - (double)b->number[i]);
        worst = difference <= worst ? worst : difference; /* NaN sticks */
        scale = fmax(scale, fabs((double)b->number[i]));
    }
    CHECK_SAY(worst <= tolerance[precision] * scale, "graph %d, %s: %g apart (scale %g)", (int)seed,
              quern_precision_name(precision), worst, scale);
}

TEST_CASE(Random, graphs_have_one_answer_fused_and_unfused_in_every_precision) {
    static const quern_precision precisions[] = {QUERN_PRECISION_F32, QUERN_PRECISION_BF16,
                                                 QUERN_PRECISION_F16};
    static random_graph r;
    static answer fused, plain;
    for (uint64_t seed = 0; seed < 5 * graph_count(); seed++) {
        question q = {.loss = graph_make(&r, seed, QUERN_F32), .batch = 1 + (int64_t)(seed % 4)};
        do {
            q.output = any(&r);
        } while (!q.output->contiguous || q.output->role != ROLE_VALUE);
        for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
            q.precision = precisions[i];
            answer_make(&fused, &r, &q, false);
            answer_make(&plain, &r, &q, true);
            answers_compare(&fused, &plain, q.precision, seed);
        }
        fixture_close(&r.f);
    }
}
