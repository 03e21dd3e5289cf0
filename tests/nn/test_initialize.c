/* test_initialize.c - starting values: golden draws, moments and bounds of every distribution,
 * what they depend on (seed and full name) and what not (order, dtype); reading and writing. */
#include "host/graph/parameters.h"
#include "quern_test.h"

#include <math.h>
#include <quern/nn.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 400, COLUMNS = 500, COUNT = ROWS * COLUMNS };

static quern_device *device;
static quern_graph *graph;
static quern_parameters *parameters;
static float values[COUNT];

static void begin(uint64_t seed, quern_dtype dtype) {
    REQUIRE_OK(quern_device_create(
        &device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = seed}));
    REQUIRE_OK(quern_graph_create(&graph, device, &(quern_graph_desc){.dtype = dtype}));
    parameters = NULL;
}

static void end(void) {
    quern_parameters_destroy(parameters);
    quern_graph_destroy(graph);
    quern_device_destroy(device);
}

static quern_tensor *matrix(const char *name, quern_init init) {
    return quern_parameter(
        graph,
        &(quern_parameter_desc){.name = name, .rank = 2, .dim = {ROWS, COLUMNS}, .init = init});
}

static void draw_all(void) { REQUIRE_OK(quern_parameters_create(&parameters, graph, NULL)); }

static void read_values(const quern_tensor *t) {
    REQUIRE_OK(quern_parameters_read(parameters, t, values, sizeof values));
}

typedef struct moments {
    double mean, deviation, low, high;
} moments;

static moments moments_of(const float *x, int64_t count) {
    moments m = {0, 0, (double)x[0], (double)x[0]};
    for (int64_t i = 0; i < count; i++) {
        m.mean += (double)x[i] / (double)count;
        m.low = fmin(m.low, (double)x[i]);
        m.high = fmax(m.high, (double)x[i]);
    }
    for (int64_t i = 0; i < count; i++)
        m.deviation += ((double)x[i] - m.mean) * ((double)x[i] - m.mean) / (double)count;
    m.deviation = sqrt(m.deviation);
    return m;
}

/* Golden values from a separate Philox 4x32-10 and FNV-1a (Python), seed 1. */
TEST_CASE(Initialize, first_draws_are_the_golden_ones) {
    const float dense[4] = {-0.02739858254790306f, 0.03330015763640404f, 0.006064113229513168f,
                            0.0030670203268527985f};
    const double normal[4] = {-0.6845810289400859, -1.1990143956045043, -0.8813963940818237,
                              -0.45203767633281206};
    begin(1, QUERN_F32);
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 784}});
    quern_dense(graph, x, &(quern_dense_desc){.units = 1, .name = "fc1"});
    quern_tensor *z = quern_parameter(
        graph, &(quern_parameter_desc){
                   .name = "z", .rank = 1, .dim = {4}, .init = {QUERN_INIT_NORMAL, 0, 1, false}});
    draw_all();
    float found[784];
    REQUIRE_OK(quern_parameters_read(parameters, quern_tensor_find(graph, "fc1.weight"), found,
                                     sizeof found));
    for (int i = 0; i < 4; i++) CHECK_NEAR((double)found[i], (double)dense[i], 4e-9);
    REQUIRE_OK(quern_parameters_read(parameters, z, found, 4 * sizeof *found));
    for (int i = 0; i < 4; i++) CHECK_NEAR((double)found[i], normal[i], 1e-7);
    end();
}

/* Five standard errors of mean and deviation over 200,000 draws. */
TEST_CASE(Initialize, every_distribution_has_its_mean_deviation_and_bounds) {
    const double fans = ROWS + COLUMNS, cut = 0.87962566103423978; /* deviation of N cut at 2 */
    const struct {
        quern_init init;
        double mean, deviation, low, high;
    } cases[] = {
        {{QUERN_INIT_ZERO, 0, 0, false}, 0, 0, 0, 0},
        {{QUERN_INIT_CONSTANT, 0.75f, 0, false}, 0.75, 0, 0.75, 0.75},
        {{QUERN_INIT_UNIFORM, -1, 3, false}, 1, 4 / sqrt(12), -1, 3},
        {{QUERN_INIT_NORMAL, 2, 0.5f, false}, 2, 0.5, -1, 5},
        {{QUERN_INIT_TRUNCATED_NORMAL, 1, 2, false}, 1, 2 * cut, -3, 5},
        {{QUERN_INIT_XAVIER_UNIFORM, 0, 0, false},
         0,
         sqrt(2 / fans),
         -sqrt(6 / fans),
         sqrt(6 / fans)},
        {{QUERN_INIT_XAVIER_UNIFORM, 3, 0, false},
         0,
         3 * sqrt(2 / fans),
         -3 * sqrt(6 / fans),
         3 * sqrt(6 / fans)},
        {{QUERN_INIT_XAVIER_NORMAL, 0, 0, false}, 0, sqrt(2 / fans), -1, 1},
        {{QUERN_INIT_KAIMING_UNIFORM, 0, 0, false},
         0,
         sqrt(2.0 / COLUMNS),
         -sqrt(6.0 / COLUMNS),
         sqrt(6.0 / COLUMNS)},
        {{QUERN_INIT_KAIMING_NORMAL, 1, 0, false}, 0, sqrt(1.0 / COLUMNS), -1, 1},
        {{QUERN_INIT_KAIMING_NORMAL, 0, 0, true}, 0, sqrt(2.0 / ROWS), -1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(11, QUERN_F32);
        quern_tensor *t = matrix("m", cases[i].init);
        draw_all();
        read_values(t);
        const moments m = moments_of(values, COUNT);
        const double error = 5 * cases[i].deviation / sqrt(COUNT) + 1e-12;
        CHECK_NEAR(m.mean, cases[i].mean, error);
        CHECK_NEAR(m.deviation, cases[i].deviation, 2 * error);
        CHECK_SAY(m.low >= cases[i].low - 1e-7 && m.high <= cases[i].high + 1e-7,
                  "case %d: values in [%g, %g]", (int)i, m.low, m.high);
        if (cases[i].init.kind == QUERN_INIT_TRUNCATED_NORMAL) /* reaches its bounds, no pile-up */
            CHECK(m.low > -3 && m.low < -2.99 && m.high < 5 && m.high > 4.99);
        end();
    }
}

TEST_CASE(Initialize, fans_of_a_convolution_count_its_window) {
    begin(5, QUERN_F32);
    const quern_parameter_desc desc = {.name = "conv",
                                       .rank = 4,
                                       .dim = {64, 32, 5, 5},
                                       .init = {.kind = QUERN_INIT_XAVIER_UNIFORM}};
    quern_tensor *t = quern_parameter(graph, &desc);
    draw_all();
    REQUIRE_OK(quern_parameters_read(parameters, t, values, 64 * 32 * 25 * sizeof(float)));
    const moments m = moments_of(values, 64 * 32 * 25);
    const double bound = sqrt(6.0 / (32 * 25 + 64 * 25));
    CHECK(m.high <= bound && m.high > 0.999 * bound && m.low >= -bound && m.low < -0.999 * bound);
    end();
}

TEST_CASE(Initialize, values_depend_on_seed_and_name_not_on_order) {
    static float before[COUNT];
    const quern_init init = {.kind = QUERN_INIT_KAIMING_NORMAL};
    begin(3, QUERN_F32);
    quern_tensor *a = matrix("a", init);
    matrix("b", init);
    draw_all();
    read_values(a);
    memcpy(before, values, sizeof before);
    read_values(quern_tensor_find(graph, "b"));
    CHECK(memcmp(before, values, sizeof values) != 0);
    end();

    begin(3, QUERN_F32);
    matrix("c", init);
    matrix("b", init);
    a = matrix("a", init);
    draw_all();
    read_values(a);
    CHECK(memcmp(before, values, sizeof values) == 0);
    end();

    begin(4, QUERN_F32);
    a = matrix("a", init);
    draw_all();
    read_values(a);
    CHECK(memcmp(before, values, sizeof values) != 0);
    end();
}

TEST_CASE(Initialize, f64_graphs_start_from_the_same_floats) {
    static double wide[COUNT];
    const quern_init init = {.kind = QUERN_INIT_TRUNCATED_NORMAL, .b = 1};
    begin(3, QUERN_F32);
    draw_all(); /* no parameters at all is fine too */
    end();
    begin(3, QUERN_F32);
    quern_tensor *t = matrix("a", init);
    draw_all();
    read_values(t);
    end();
    begin(3, QUERN_F64);
    t = matrix("a", init);
    draw_all();
    REQUIRE_OK(quern_parameters_read(parameters, t, wide, sizeof wide));
    int64_t differ = 0;
    for (int64_t i = 0; i < COUNT; i++) differ += !(wide[i] == (double)values[i]);
    CHECK(differ == 0);
    end();
}

TEST_CASE(Initialize, padding_is_zero_and_pending_statistics_start_like_the_current) {
    begin(3, QUERN_F32);
    quern_tensor *odd = quern_parameter(
        graph,
        &(quern_parameter_desc){
            .name = "odd", .rank = 1, .dim = {3}, .init = {QUERN_INIT_CONSTANT, 1, 0, false}});
    quern_tensor *buffer = quern_buffer(
        graph,
        &(quern_parameter_desc){
            .name = "var", .rank = 1, .dim = {5}, .init = {QUERN_INIT_CONSTANT, 1, 0, false}});
    draw_all();
    const float *block = parameters->values;
    CHECK(block[odd->offset + 2] == 1);
    for (int64_t i = 3; i < parameters->value_count; i++) CHECK(block[odd->offset + i] == 0);
    const float *pending = parameters_pending_view(parameters, buffer).data;
    CHECK(pending[0] == 1 && pending[4] == 1 && pending[5] == 0);
    end();
}

TEST_CASE(Parameters, read_back_what_was_written) {
    begin(3, QUERN_F64);
    quern_tensor *t =
        quern_buffer(graph, &(quern_parameter_desc){.name = "state", .rank = 1, .dim = {3}});
    draw_all();
    const double written[3] = {1, -2, NAN};
    double found[3] = {0};
    CHECK_OK(quern_parameters_write(parameters, t, written, sizeof written));
    CHECK_OK(quern_parameters_read(parameters, t, found, sizeof found));
    CHECK(memcmp(written, found, sizeof found) == 0);
    CHECK(memcmp(parameters_pending_view(parameters, t).data, found, sizeof found) == 0);
    end();
}

TEST_CASE(Parameters, refuse_other_sizes_and_tensors) {
    float f[4] = {0};
    begin(3, QUERN_F32);
    quern_tensor *x =
        quern_input(graph, &(quern_input_desc){.name = "x", .rank = 1, .dim = {QUERN_B}});
    quern_tensor *t =
        quern_parameter(graph, &(quern_parameter_desc){.name = "w", .rank = 1, .dim = {3}});
    draw_all();
    CHECK_STATUS(quern_parameters_read(parameters, t, f, 16), QUERN_SHAPE);
    CHECK_ERROR_HAS("parameters read: w F32 (3) has 12 bytes, not 16");
    CHECK_STATUS(quern_parameters_write(parameters, t, f, 8), QUERN_SHAPE);
    CHECK_STATUS(quern_parameters_read(parameters, x, f, 4), QUERN_INVALID);
    CHECK_ERROR_HAS("x is not a parameter or buffer of this graph");
    CHECK_STATUS(quern_parameters_read(parameters, NULL, f, 4), QUERN_INVALID);
    CHECK_STATUS(quern_parameters_read(NULL, t, f, 4), QUERN_INVALID);
    CHECK_STATUS(quern_parameters_read_gradient(parameters, t, f, 12), QUERN_INVALID);
    CHECK_ERROR_HAS("w has no gradient here");
    end();
}

TEST_CASE(Parameters, of_a_failed_graph_are_refused_with_its_sentence) {
    begin(3, QUERN_F32);
    quern_dense(graph, NULL, &(quern_dense_desc){.units = 3});
    CHECK_STATUS(quern_parameters_create(&parameters, graph, NULL), QUERN_INVALID);
    CHECK_ERROR_HAS("dense: x is NULL");
    CHECK(parameters == NULL);
    CHECK_STATUS(quern_parameters_create(&parameters, NULL, NULL), QUERN_INVALID);
    quern_parameters_destroy(NULL);
    end();
}
