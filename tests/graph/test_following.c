/* The microbatches behind a window's first: running statistics go on from the pending value, and
 * only an update commits them. And training behaviour without a backward pass. */
#include "graph_fixture.h"

#include "host/device/device.h"
#include "host/graph/program.h"
#include "kernels/task.h"

#include <string.h>

enum { BATCH = 4, CHANNELS = 2 };

typedef struct norm_world {
    fixture f;
    quern_tensor *x, *y, *loss, *mean;
    quern_parameters *values;
    quern_program *program;
} norm_world;

static norm_world norm_open(void) {
    norm_world w = {.f = fixture_open(QUERN_F64)};
    quern_graph *g = w.f.graph;
    w.x = quern_input(g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, CHANNELS}});
    w.y = quern_batch_normalize(g, w.x, &(quern_batch_normalize_desc){.name = "norm"});
    w.loss = quern_mse(g, w.y, w.x);
    w.mean = quern_tensor_find(g, "norm.running_mean");
    CHECK_OK(quern_parameters_create(&w.values, g, &(quern_parameters_desc){.gradients = true}));
    CHECK_OK(quern_program_create(&w.program, &(quern_program_desc){.graph = g,
                                                                    .parameters = w.values,
                                                                    .batch_size = BATCH,
                                                                    .training = true,
                                                                    .loss = w.loss}));
    return w;
}

static void norm_close(norm_world *w) {
    quern_program_destroy(w->program);
    quern_parameters_destroy(w->values);
    fixture_close(&w->f);
}

/* Mean `mean` in channel 0, 10 mean in channel 1. */
static void forward_of(norm_world *w, program_part part, double mean) {
    double x[BATCH][CHANNELS];
    for (int i = 0; i < BATCH; i++) {
        x[i][0] = mean + (i % 2 ? 1 : -1);
        x[i][1] = 10 * x[i][0];
    }
    REQUIRE_OK(quern_program_write(w->program, w->x, x, sizeof x));
    REQUIRE_OK(program_issue(w->program, part, w->f.device->stream));
    REQUIRE_OK(w->f.device->backend->stream_wait(w->f.device->stream));
}

TEST_CASE(Following, running_statistics_go_on_from_the_pending_value) {
    static const double means[] = {3, -1, 7};
    norm_world w = norm_open();
    double expected = 0, committed[CHANNELS] = {5, 5};
    REQUIRE_OK(quern_parameters_read(w.values, w.mean, committed, sizeof committed));
    CHECK(committed[0] == 0 && committed[1] == 0);
    for (int i = 0; i < 3; i++) {
        forward_of(&w, i == 0 ? PROGRAM_FORWARD : PROGRAM_FORWARD_FOLLOWING, means[i]);
        expected = 0.9 * expected + 0.1 * means[i];
        const double *pending = parameters_pending_view(w.values, w.mean).data;
        CHECK_NEAR(pending[0], expected, 1e-7);
        CHECK_NEAR(pending[1], 10 * expected, 1e-6);
    }
    REQUIRE_OK(quern_parameters_read(w.values, w.mean, committed, sizeof committed));
    CHECK(committed[0] == 0 && committed[1] == 0);
    /* the first microbatch of the next window begins at what is committed */
    forward_of(&w, PROGRAM_FORWARD, 2);
    CHECK_NEAR(((double *)parameters_pending_view(w.values, w.mean).data)[0], 0.2, 1e-7);
    norm_close(&w);
}

TEST_CASE(Following, training_without_backward_needs_no_loss_and_draws_as_training_does) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 8}});
    quern_tensor *y = quern_dropout(f.graph, x, &(quern_dropout_desc){.probability = 0.5f});
    quern_tensor *w = fixture_parameter(&f, "w", 1, 8, 0, 0);
    quern_tensor *loss = quern_sum(f.graph, quern_linear(f.graph, y, w, NULL), NULL);
    quern_parameters *values = NULL;
    float ones[16], drawn[2][16] = {{0}};
    for (int i = 0; i < 16; i++) ones[i] = 1;
    REQUIRE_OK(
        quern_parameters_create(&values, f.graph, &(quern_parameters_desc){.gradients = true}));
    for (int i = 0; i < 2; i++) {
        quern_program *p = NULL;
        quern_program_desc desc = {.graph = f.graph,
                                   .parameters = values,
                                   .batch_size = 2,
                                   .training = true,
                                   .no_backward = i == 1,
                                   .loss = i == 1 ? NULL : loss,
                                   .outputs = &y,
                                   .output_count = 1};
        REQUIRE_OK(quern_program_create(&p, &desc));
        REQUIRE_OK(quern_program_write(p, x, ones, sizeof ones));
        REQUIRE_OK(quern_program_forward(p, 5));
        REQUIRE_OK(quern_program_read(p, y, drawn[i], sizeof drawn[i]));
        if (i == 1) {
            CHECK_STATUS(quern_program_backward(p, false), QUERN_INVALID);
            CHECK_ERROR_HAS("no_backward");
        } else {
            CHECK_OK(quern_program_backward(p, false));
        }
        quern_program_destroy(p);
    }
    CHECK(memcmp(drawn[0], drawn[1], sizeof drawn[0]) == 0);
    CHECK(memcmp(drawn[0], ones, sizeof ones) != 0);
    quern_parameters_destroy(values);
    fixture_close(&f);
}

TEST_CASE(Following, no_backward_saves_the_memory_of_backward_and_is_of_training_only) {
    fixture f = fixture_open(QUERN_F32);
    quern_tensor *x =
        quern_input(f.graph, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, 8}});
    quern_tensor *h = quern_relu(f.graph, quern_dense(f.graph, x, &(quern_dense_desc){.units = 8}));
    quern_tensor *loss = quern_sum(f.graph, h, NULL);
    quern_memory with, without;
    quern_program_desc desc = {.graph = f.graph, .batch_size = 64, .training = true, .loss = loss};
    REQUIRE_OK(quern_program_memory(&with, &desc));
    desc.no_backward = true;
    REQUIRE_OK(quern_program_memory(&without, &desc));
    CHECK(without.gradient_bytes == 0 && with.gradient_bytes > 0);
    CHECK(without.activation_bytes < with.activation_bytes);
    desc.training = false;
    CHECK_STATUS(quern_program_memory(&without, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("no_backward");
    fixture_close(&f);
}
