/* The layout pass on the fake device: programs whose images lie channels last give the CPU's
 * answers, whatever reads them; and what stands between two convolutions copies nothing. TF32 of
 * the doubles is F32, so that a wrong element shows. */
#include "quern_test.h"

#include "kernels/tolerances.h"

#include <math.h>
#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, IMAGE = 3 * 9 * 8, OUTPUTS = 5, ROOM = 8192 };

typedef struct net {
    quern_device *device;
    quern_graph *graph;
    quern_tensor *x, *loss, *outputs[OUTPUTS];
    quern_parameters *values;
    quern_program *program;
} net;

static quern_tensor *conv(quern_graph *g, quern_tensor *x, int64_t channels, int32_t rows,
                          int32_t columns, int32_t padding) {
    return quern_conv(g, x,
                      &(quern_conv_desc){.channels = channels,
                                         .window = {rows, columns},
                                         .conv = {.padding = {padding, padding}}});
}

static quern_tensor *pooled(quern_graph *g, quern_tensor *x) {
    return quern_max_pool2d(
        g, x, &(quern_pool2d_desc){.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
}

/* (B, 1) */
static quern_tensor *mean_of(quern_graph *g, quern_tensor *x) {
    return quern_mean(g, quern_flatten(g, x),
                      &(quern_mean_desc){.axis_count = 1, .axes = {1}, .keep = true});
}

/* r, each channel times its own mean: a product that broadcasts. */
static quern_tensor *gated(quern_graph *g, quern_tensor *r) {
    const quern_reshape_desc one_each = {.rank = 4, .dim = {QUERN_B, 8, 1, 1}};
    return quern_mul(g, r, quern_reshape(g, quern_global_avg_pool2d(g, r), &one_each));
}

/* A convolution, a batch norm, a ReLU, a pool, a residual sum; and consumers of all kinds in the
 * middle of it: aliases, ops without a layout, a broadcast, a product with a row-major value, a
 * value of one channel, one of one pixel. */
static void build_odd(net *n) {
    quern_graph *g = n->graph;
    quern_tensor *a = conv(g, n->x, 8, 3, 3, 1); /* (B, 8, 9, 8) */
    a = quern_relu(g, quern_batch_normalize(g, a, NULL));
    quern_tensor *p = pooled(g, a); /* (B, 8, 5, 4) */
    quern_tensor *r = quern_leaky_relu(g, quern_add(g, conv(g, p, 8, 1, 1, 0), p), NULL);
    quern_tensor *part = quern_slice(g, a, &(quern_slice_desc){.axis = 1, .start = 2, .stop = 5});
    quern_tensor *turned = quern_permute(g, r, &(quern_permute_desc){.order = {0, 2, 3, 1}});
    quern_tensor *mixed = quern_mul(g, conv(g, quern_mul(g, part, n->x), 3, 3, 3, 1), n->x);
    quern_tensor *one = conv(g, r, 1, 3, 3, 1);                  /* one channel */
    quern_tensor *pixel = conv(g, quern_silu(g, r), 6, 5, 4, 0); /* one pixel */
    mixed = quern_dropout(g, mixed, &(quern_dropout_desc){.probability = 0.25f});
    mixed = quern_avg_pool2d(g, mixed, &(quern_pool2d_desc){.window = {2, 2}});
    quern_tensor *rows[] = {
        mean_of(g, quern_contiguous(g, turned)),
        mean_of(g, one),
        quern_flatten(g, pixel),
        mean_of(g, gated(g, r)),
        mean_of(g, mixed),
        quern_flatten(g, quern_softmax(g, r, &(quern_softmax_desc){.axis = 1}))};
    quern_tensor *all = quern_concat(g, rows, 6, &(quern_concat_desc){.axis = 1});
    quern_tensor *z = quern_dense(g, all, &(quern_dense_desc){.units = 4, .name = "z"});
    n->loss = quern_softmax_cross_entropy(g, z, quern_labels(g, "label"), NULL);
    quern_tensor *outputs[OUTPUTS] = {a, p, pixel, one, z};
    memcpy(n->outputs, outputs, sizeof outputs);
}

/* Two bottlenecks of a residual network. */
static void build_chain(net *n) {
    quern_graph *g = n->graph;
    quern_tensor *h = quern_relu(g, quern_batch_normalize(g, conv(g, n->x, 8, 3, 3, 1), NULL));
    h = pooled(g, h);
    for (int i = 0; i < 2; i++) {
        quern_tensor *b = quern_relu(g, quern_batch_normalize(g, conv(g, h, 4, 1, 1, 0), NULL));
        b = quern_batch_normalize(g, conv(g, b, 8, 3, 3, 1), NULL);
        h = quern_relu(g, quern_add(g, b, h));
    }
    quern_tensor *z =
        quern_dense(g, quern_global_avg_pool2d(g, h), &(quern_dense_desc){.units = 4});
    n->loss = quern_softmax_cross_entropy(g, z, quern_labels(g, "label"), NULL);
    for (int i = 0; i < OUTPUTS; i++) n->outputs[i] = z;
}

typedef struct net_desc {
    void (*build)(net *n);
    quern_device_kind kind;
    quern_precision precision;
    bool output_gradients;
} net_desc;

static void net_open(net *n, const net_desc *d) {
    *n = (net){0};
    REQUIRE_OK(quern_device_create(&n->device, &(quern_device_desc){.kind = d->kind, .seed = 5}));
    REQUIRE_OK(quern_graph_create(&n->graph, n->device, NULL));
    n->x = quern_input(
        n->graph, &(quern_input_desc){
                      .name = "image", .rank = 4, .dim = {QUERN_B, 3, 9, 8}, .gradient = true});
    d->build(n);
    REQUIRE_OK(quern_graph_status(n->graph));
    REQUIRE_OK(quern_parameters_create(
        &n->values, n->graph,
        &(quern_parameters_desc){.gradients = true, .precision = d->precision}));
    REQUIRE_OK(quern_program_create(&n->program,
                                    &(quern_program_desc){.graph = n->graph,
                                                          .parameters = n->values,
                                                          .batch_size = BATCH,
                                                          .training = true,
                                                          .loss = n->loss,
                                                          .outputs = n->outputs,
                                                          .output_count = OUTPUTS,
                                                          .output_gradients = d->output_gradients,
                                                          .precision = d->precision}));
}

static void net_close(net *n) {
    quern_program_destroy(n->program);
    quern_parameters_destroy(n->values);
    quern_graph_destroy(n->graph);
    quern_device_destroy(n->device);
}

/* Everything that an application can read, one after another. */
typedef struct answer {
    float values[ROOM];
    char names[64][48]; /* the graph's own end with it */
    int64_t ends[64];
    int32_t count;
} answer;

static float *answer_next(answer *out, const quern_tensor *t, int64_t *count) {
    const quern_shape shape = quern_tensor_shape(t);
    const int64_t begin = out->count > 0 ? out->ends[out->count - 1] : 0;
    *count = 1;
    for (int32_t i = 0; i < shape.rank; i++)
        *count *= shape.dim[i] < 0 ? shape.dim[i] / QUERN_B * BATCH : shape.dim[i];
    if (out->count == 64 || begin + *count > ROOM) abort();
    snprintf(out->names[out->count], sizeof out->names[0], "%s", quern_tensor_name(t));
    out->ends[out->count++] = begin + *count;
    return out->values + begin;
}

static void run(net *n, float phase, bool accumulate) {
    float x[BATCH * IMAGE];
    const int32_t labels[BATCH] = {2, 0, 3};
    for (int i = 0; i < BATCH * IMAGE; i++)
        x[i] = sinf(0.37f * (float)i + phase) + 0.3f * cosf(1.9f * (float)i);
    REQUIRE_OK(quern_program_write(n->program, n->x, x, sizeof x));
    REQUIRE_OK(quern_program_write(n->program, quern_tensor_find(n->graph, "label"), labels,
                                   sizeof labels));
    REQUIRE_OK(quern_program_forward(n->program, 0));
    REQUIRE_OK(quern_program_backward(n->program, accumulate));
}

/* After two microbatches. */
static void answer_compute(answer *out, const net_desc *d) {
    net n;
    int64_t count;
    *out = (answer){0};
    net_open(&n, d);
    run(&n, 0, false);
    run(&n, 1, true);
    float *to = answer_next(out, n.loss, &count);
    CHECK_OK(quern_program_read(n.program, n.loss, to, (size_t)count * sizeof *to));
    to = answer_next(out, n.x, &count);
    CHECK_OK(quern_program_read_gradient(n.program, n.x, to, (size_t)count * sizeof *to));
    for (int i = 0; i < OUTPUTS; i++) {
        to = answer_next(out, n.outputs[i], &count);
        CHECK_OK(quern_program_read(n.program, n.outputs[i], to, (size_t)count * sizeof *to));
        if (!d->output_gradients) continue;
        to = answer_next(out, n.outputs[i], &count);
        CHECK_OK(
            quern_program_read_gradient(n.program, n.outputs[i], to, (size_t)count * sizeof *to));
    }
    for (int32_t i = 0; i < quern_graph_parameter_count(n.graph); i++) {
        quern_tensor *t = quern_graph_parameter(n.graph, i);
        if (strstr(quern_tensor_name(t), "running")) continue;
        to = answer_next(out, t, &count);
        CHECK_OK(quern_parameters_read_gradient(n.values, t, to, (size_t)count * sizeof *to));
    }
    net_close(&n);
}

/* |a - b| <= tolerance * max(1, max |b|) over a tensor */
static void compare(const answer *a, const answer *b, double tolerance) {
    REQUIRE(a->count == b->count && a->count > 0);
    for (int32_t i = 0, at = 0; i < a->count; i++) {
        double most = 1, worst = 0;
        for (; at < a->ends[i]; at++) {
            const double error = fabs((double)a->values[at] - (double)b->values[at]);
            most = fmax(most, fabs((double)b->values[at]));
            if (!(error <= worst)) worst = error;
        }
        CHECK_SAY(worst <= tolerance * most, "number %d, %s, is off by %g of %g", i, a->names[i],
                  worst, most);
    }
}

static void check(void (*build)(net *n), quern_precision precision, bool output_gradients,
                  double tolerance) {
    answer *both = calloc(2, sizeof *both);
    REQUIRE(both);
    net_desc d = {build, QUERN_DEVICE_CUDA, precision, output_gradients};
    answer_compute(&both[0], &d);
    d.kind = QUERN_DEVICE_CPU;
    d.precision = QUERN_PRECISION_F32;
    answer_compute(&both[1], &d);
    compare(&both[0], &both[1], tolerance);
    free(both);
}

TEST_CASE(FakeLayout, whatever_reads_an_image_has_the_cpus_answer) {
    check(build_chain, QUERN_PRECISION_TF32, false, TOL_NORM_F32);
    check(build_odd, QUERN_PRECISION_TF32, false, TOL_NORM_F32);
}

TEST_CASE(FakeLayout, and_the_gradients_of_outputs_inside) {
    check(build_chain, QUERN_PRECISION_TF32, true, TOL_NORM_F32);
    check(build_odd, QUERN_PRECISION_TF32, true, TOL_NORM_F32);
}

TEST_CASE(FakeLayout, in_16_bits_too) {
    check(build_chain, QUERN_PRECISION_BF16, false, TOL_NETWORK_BF16);
    check(build_odd, QUERN_PRECISION_BF16, false, TOL_NETWORK_BF16);
    check(build_odd, QUERN_PRECISION_F16, true, TOL_NETWORK_F16);
}

typedef struct dumped {
    int forward_copies, backward_copies,
        turned; /* copies; steps that make an image channels last */
} dumped;

static void count_copies(void *self, const char *line) {
    dumped *d = self;
    const bool copy = strstr(line, "= contiguous(") != NULL;
    const char *name = strstr(line, ":NHWC ="), *bracket = strchr(line, '(');
    d->forward_copies += copy && strstr(line, " forward ") != NULL;
    d->backward_copies += copy && strstr(line, " backward ") != NULL;
    d->turned += name != NULL && bracket != NULL && name < bracket && strstr(line, " forward ");
}

static dumped dump(void (*build)(net *n), quern_precision precision) {
    net n;
    dumped out = {0};
    net_open(&n, &(net_desc){build, QUERN_DEVICE_CUDA, precision, false});
    quern_program_dump(n.program, count_copies, &out);
    net_close(&n);
    return out;
}

/* 5 convolutions, 5 batch norms, 5 ReLUs, a pool and 2 sums; and the copy of the input. */
TEST_CASE(FakeLayout, a_chain_is_turned_once_at_its_beginning) {
    const quern_precision last[] = {QUERN_PRECISION_TF32, QUERN_PRECISION_BF16,
                                    QUERN_PRECISION_F16};
    for (int i = 0; i < 3; i++) {
        const dumped d = dump(build_chain, last[i]);
        CHECK_SAY(d.forward_copies == 1 && d.backward_copies == 1 && d.turned == 19,
                  "%s: %d and %d copies, %d images channels last", quern_precision_name(last[i]),
                  d.forward_copies, d.backward_copies, d.turned);
    }
    const dumped plain = dump(build_chain, QUERN_PRECISION_F32);
    CHECK(plain.forward_copies == 0 && plain.turned == 0);
}
