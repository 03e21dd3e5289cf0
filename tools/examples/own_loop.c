/* own_loop.c - the application's own loop over its own buffers: no dataset, no fit.
 *
 * A simulator makes (position, velocity) -> force samples; the network learns the force of a
 * damped spring. Each quern_trainer_step takes rows straight from the simulator's arrays. */
#include <math.h>
#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64, STEPS = 1500 };

typedef struct network {
    quern_device *device;
    quern_graph *graph;
    quern_trainer *trainer;
    quern_tensor *loss;
} network;

static void simulate(int64_t step, float state[BATCH][2], float force[BATCH][1]) {
    for (int i = 0; i < BATCH; i++) {
        const double t = (double)(step * BATCH + i);
        const float position = (float)sin(t * 12.9898), velocity = (float)cos(t * 78.233);
        state[i][0] = position;
        state[i][1] = velocity;
        force[i][0] = -2.0f * position - 0.3f * velocity;
    }
}

static quern_status network_create(network *n) {
    quern_status status = quern_device_create(
        &n->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = 7});
    if (status != QUERN_OK) return status;
    status = quern_graph_create(&n->graph, n->device, NULL);
    if (status != QUERN_OK) return status;
    quern_graph *g = n->graph;
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "state", .rank = 2, .dim = {QUERN_B, 2}});
    quern_tensor *y =
        quern_input(g, &(quern_input_desc){.name = "force", .rank = 2, .dim = {QUERN_B, 1}});
    quern_tensor *h = quern_tanh(g, quern_dense(g, x, &(quern_dense_desc){.units = 32}));
    n->loss = quern_mse(g, quern_dense(g, h, &(quern_dense_desc){.units = 1}), y);
    return quern_trainer_create(&n->trainer,
                                &(quern_trainer_desc){.graph = g,
                                                      .loss = n->loss,
                                                      .outputs = &n->loss,
                                                      .output_count = 1,
                                                      .batch_size = BATCH,
                                                      .optimizer = {.learning_rate = 3e-3}});
}

static void network_destroy(network *n) {
    quern_trainer_destroy(n->trainer);
    quern_graph_destroy(n->graph);
    quern_device_destroy(n->device);
}

/* The mean squared error of the last step. */
static quern_status read_loss(network *n, double *out) {
    float sum = 0;
    const quern_status status = quern_trainer_read(n->trainer, n->loss, &sum, sizeof sum);
    *out = (double)sum / BATCH;
    return status;
}

static quern_status train(network *n, double *first, double *last) {
    float state[BATCH][2], force[BATCH][1];
    quern_status status = QUERN_OK;
    for (int64_t step = 0; step < STEPS && status == QUERN_OK; step++) {
        simulate(step, state, force);
        status = quern_trainer_step(n->trainer, &(quern_batch){.sample_count = BATCH,
                                                               .field_count = 2,
                                                               .names = {"state", "force"},
                                                               .data = {state, force}});
        if (status == QUERN_OK && step == 0) status = read_loss(n, first);
    }
    quern_result result;
    if (status == QUERN_OK) status = quern_trainer_wait(n->trainer, &result);
    return status == QUERN_OK ? read_loss(n, last) : status;
}

int main(void) {
    network n = {0};
    double first = NAN, last = NAN;
    quern_status status = network_create(&n);
    if (status == QUERN_OK) status = train(&n, &first, &last);
    network_destroy(&n);
    if (status != QUERN_OK) {
        fprintf(stderr, "%s: %s\n", quern_status_name(status), quern_error());
        return quern_status_exit_code(status);
    }
    printf("mean squared error %.6f -> %.6f\n", first, last);
    return last < 0.01 * first ? EXIT_SUCCESS : EXIT_FAILURE;
}
