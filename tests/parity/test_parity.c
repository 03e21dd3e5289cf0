/* Whole models against PyTorch (DESIGN 9.3): the same starting weights and batches, 50 steps.
 *
 * tests/parity/reference/<model>_<dtype>_<run>.txt was recorded by tools/make_torch_reference.py,
 * which has the same value() formula. F64: every loss, and every parameter after the last step,
 * to 1e-9 relative. F32: plain SGD to 1e-5; the others on the first loss and gradients only,
 * because ReLU signs near zero flip on rounding. */
#include "quern_test.h"

#include <quern/quern.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, STEPS = 50, PIXELS = 28 * 28 };

/* [-1, 1), exact in single precision. */
static double value(int64_t index, int64_t salt) {
    uint32_t x = (uint32_t)((uint64_t)index * 2654435761u + (uint64_t)salt * 40503u + 12345u);
    x = ((x >> 15) ^ x) * 2246822519u;
    return ((double)(x >> 8) - 8388608.0) / 8388608.0;
}

static const struct {
    const char *name;
    quern_optimizer_desc desc;
} runs[] = {
    {"sgd", {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01}},
    {"momentum",
     {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01, .momentum = 0.9, .weight_decay = 0.01}},
    {"nesterov",
     {.kind = QUERN_OPTIMIZER_SGD,
      .learning_rate = 0.01,
      .momentum = 0.9,
      .nesterov = true,
      .weight_decay = 0.01}},
    {"adam", {.kind = QUERN_OPTIMIZER_ADAM, .learning_rate = 1e-3, .weight_decay = 0.01}},
    {"adamw", {.kind = QUERN_OPTIMIZER_ADAMW, .learning_rate = 1e-3, .weight_decay = 0.1}},
    {"rmsprop", {.kind = QUERN_OPTIMIZER_RMSPROP, .learning_rate = 1e-3, .weight_decay = 0.01}},
    {"rmsprop_momentum", {.kind = QUERN_OPTIMIZER_RMSPROP, .learning_rate = 1e-3, .momentum = 0.5}},
    {"adagrad", {.kind = QUERN_OPTIMIZER_ADAGRAD, .learning_rate = 0.01, .weight_decay = 0.01}},
    {"lion", {.kind = QUERN_OPTIMIZER_LION, .learning_rate = 1e-4, .weight_decay = 0.1}},
    {"clipped",
     {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01, .momentum = 0.9, .clip_norm = 0.5}},
};

typedef struct run {
    quern_dtype dtype;
    quern_device *device;
    quern_graph *graph;
    quern_tensor *x, *y, *loss;
    quern_parameters *values;
    quern_program *program;
    quern_optimizer *optimizer;
    FILE *reference;
    double tolerance;
} run;

/* A number of either dtype at index i. */
static double get(const run *r, const void *data, int64_t i) {
    return r->dtype == QUERN_F32 ? ((const float *)data)[i] : ((const double *)data)[i];
}

static void put(const run *r, void *data, int64_t i, double v) {
    if (r->dtype == QUERN_F32)
        ((float *)data)[i] = (float)v;
    else
        ((double *)data)[i] = v;
}

static int64_t count_of(const quern_tensor *t) {
    const quern_shape s = quern_tensor_shape(t);
    int64_t count = 1;
    for (int32_t i = 0; i < s.rank; i++) count *= s.dim[i];
    return count;
}

static void weights_set(run *r) {
    for (int32_t k = 0; k < quern_graph_parameter_count(r->graph); k++) {
        quern_tensor *t = quern_graph_parameter(r->graph, k);
        const quern_shape s = quern_tensor_shape(t);
        const int64_t count = count_of(t);
        const size_t bytes = (size_t)count * quern_dtype_bytes(r->dtype);
        const double scale = pow(s.rank > 1 ? (double)(count / s.dim[0]) : 100.0, -0.5);
        void *data = malloc(bytes);
        REQUIRE(data);
        for (int64_t i = 0; i < count; i++) put(r, data, i, value(i, 1000 + k) * scale);
        CHECK_STATUS(quern_parameters_write(r->values, t, data, bytes), QUERN_OK);
        free(data);
    }
}

static void graph_build(run *r, const char *model) {
    const bool mlp = strcmp(model, "mlp") == 0;
    REQUIRE_OK(quern_device_create(&r->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    REQUIRE_OK(quern_graph_create(&r->graph, r->device, &(quern_graph_desc){.dtype = r->dtype}));
    r->x = quern_input(
        r->graph, &(quern_input_desc){.name = "image", .rank = 4, .dim = {QUERN_B, 1, 28, 28}});
    r->y = quern_labels(r->graph, "label");
    quern_tensor *z =
        mlp ? quern_mlp(r->graph, r->x, &(quern_mlp_desc){.hidden_count = 1, .hidden = {64}})
            : quern_lenet(r->graph, r->x, NULL);
    r->loss = quern_softmax_cross_entropy(r->graph, z, r->y, NULL);
    REQUIRE_OK(quern_graph_status(r->graph));
}

static void run_open(run *r, const char *model, const char *name,
                     const quern_optimizer_desc *optimizer) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/parity/reference/%s_%s_%s.txt", QUERN_SOURCE_DIR, model,
             r->dtype == QUERN_F32 ? "f32" : "f64", name);
    r->reference = fopen(path, "r");
    REQUIRE_SAY(r->reference != NULL, "%s cannot be opened", path);
    graph_build(r, model);
    REQUIRE_OK(
        quern_parameters_create(&r->values, r->graph, &(quern_parameters_desc){.gradients = true}));
    weights_set(r);
    REQUIRE_OK(quern_optimizer_create(&r->optimizer, r->values, optimizer));
    REQUIRE_OK(quern_program_create(&r->program, &(quern_program_desc){.graph = r->graph,
                                                                       .parameters = r->values,
                                                                       .batch_size = BATCH,
                                                                       .training = true,
                                                                       .loss = r->loss}));
}

static void run_close(run *r) {
    if (r->reference) fclose(r->reference);
    quern_optimizer_destroy(r->optimizer);
    quern_program_destroy(r->program);
    quern_parameters_destroy(r->values);
    quern_graph_destroy(r->graph);
    quern_device_destroy(r->device);
}

static void batch_write(run *r, int step) {
    double x[BATCH * PIXELS]; /* holds either dtype */
    int32_t y[BATCH];
    for (int i = 0; i < BATCH * PIXELS; i++) put(r, x, i, value(i, 5000 + step % 5));
    for (int i = 0; i < BATCH; i++) y[i] = (int32_t)((value(i, 7000 + step % 5) + 1) * 5);
    REQUIRE_OK(
        quern_program_write(r->program, r->x, x, BATCH * PIXELS * quern_dtype_bytes(r->dtype)));
    REQUIRE_OK(quern_program_write(r->program, r->y, y, sizeof y));
}

static void near(const run *r, double found, double expected, double scale, const char *what) {
    const double error = fabs(found - expected), limit = r->tolerance * scale;
    CHECK_SAY(error <= limit, "%s: found %.17g, PyTorch has %.17g (%.2g of %.2g)", what, found,
              expected, error, limit);
}

static void loss_check(run *r, int step) {
    unsigned char raw[sizeof(double)];
    double expected = NAN;
    int at = -1;
    REQUIRE(fscanf(r->reference, " loss %d %lf", &at, &expected) == 2 && at == step);
    REQUIRE_OK(quern_program_read(r->program, r->loss, raw, quern_dtype_bytes(r->dtype)));
    near(r, get(r, raw, 0) / BATCH, expected, fabs(expected), "loss");
}

/* One line of the reference: the sum of squares and some elements of a parameter or a gradient. */
static void tensor_check(run *r, const char *kind) {
    char name[64], found_kind[16], line[1024];
    double squares = NAN;
    int used = 0, more = 0;
    REQUIRE(fgets(line, sizeof line, r->reference));
    if (line[0] == '\n') REQUIRE(fgets(line, sizeof line, r->reference));
    REQUIRE(sscanf(line, "%15s %63s %lf%n", found_kind, name, &squares, &used) == 3);
    REQUIRE_SAY(strcmp(kind, found_kind) == 0, "%s", line);
    quern_tensor *t = quern_tensor_find(r->graph, name);
    REQUIRE_SAY(t != NULL, "no parameter %s", name);
    const int64_t count = count_of(t);
    const size_t bytes = (size_t)count * quern_dtype_bytes(r->dtype);
    void *data = malloc(bytes);
    REQUIRE(data);
    const bool gradient = kind[0] == 'g';
    CHECK_STATUS(gradient ? quern_parameters_read_gradient(r->values, t, data, bytes)
                          : quern_parameters_read(r->values, t, data, bytes),
                 QUERN_OK);
    double sum = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += get(r, data, i) * get(r, data, i);
        largest = fmax(largest, fabs(get(r, data, i)));
    }
    near(r, sum, squares, squares, name);
    long long index = 0;
    double expected = NAN;
    int checked = 0;
    for (; sscanf(line + used, "%lld %lf%n", &index, &expected, &more) == 2; used += more) {
        REQUIRE(index >= 0 && index < count);
        near(r, get(r, data, index), expected, largest, name);
        checked++;
    }
    CHECK(checked >= 1);
    free(data);
}

static void run_compare(const char *model, const char *name, quern_dtype dtype, double tolerance,
                        int steps, const quern_optimizer_desc *optimizer) {
    run r = {.dtype = dtype, .tolerance = tolerance};
    run_open(&r, model, name, optimizer);
    const int32_t parameters = r.program ? quern_graph_parameter_count(r.graph) : 0;
    for (int step = 0; r.program && step < steps && !quern_test_failed(); step++) {
        batch_write(&r, step);
        CHECK_STATUS(quern_program_forward(r.program, step), QUERN_OK);
        CHECK_STATUS(quern_program_backward(r.program, false), QUERN_OK);
        loss_check(&r, step);
        for (int32_t k = 0; step == 0 && k < parameters; k++) tensor_check(&r, "gradient");
        CHECK_STATUS(quern_optimizer_update(r.optimizer), QUERN_OK);
    }
    for (int32_t k = 0; steps == STEPS && k < parameters && !quern_test_failed(); k++)
        tensor_check(&r, "parameter");
    run_close(&r);
}

static void compare_f64(const char *model, const char *name) {
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        if (strcmp(runs[i].name, name) == 0)
            run_compare(model, name, QUERN_F64, 1e-9, STEPS, &runs[i].desc);
}

#define PARITY(run)                                                                                \
    TEST_CASE(Parity, mlp_f64_##run) { compare_f64("mlp", #run); }                                 \
    TEST_CASE(Parity, lenet_f64_##run) { compare_f64("lenet", #run); }
PARITY(sgd)
PARITY(momentum)
PARITY(nesterov)
PARITY(adam)
PARITY(adamw)
PARITY(rmsprop)
PARITY(rmsprop_momentum)
PARITY(adagrad)
PARITY(lion)
PARITY(clipped)

TEST_CASE(Parity, mlp_f32_sgd) { run_compare("mlp", "sgd", QUERN_F32, 1e-5, STEPS, &runs[0].desc); }
TEST_CASE(Parity, lenet_f32_sgd) {
    run_compare("lenet", "sgd", QUERN_F32, 1e-5, STEPS, &runs[0].desc);
}
TEST_CASE(Parity, mlp_f32_first_step) {
    run_compare("mlp", "adamw", QUERN_F32, 1e-5, 1, &runs[4].desc);
}
TEST_CASE(Parity, lenet_f32_first_step) {
    run_compare("lenet", "adamw", QUERN_F32, 1e-5, 1, &runs[4].desc);
}
