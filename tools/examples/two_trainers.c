/* two_trainers.c - two devices, graphs and trainers in one process, each on a thread of its own.
 *
 * Nothing is shared and nothing is global, so that the same seed gives the same bits on both
 * threads and another seed gives others. Three runs: seed 1 and seed 2 side by side, then seed 1
 * alone. */
#include <pthread.h>
#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct run {
    uint64_t seed;
    quern_status status;
    char error[512]; /* quern_error() belongs to the thread that failed */
    double loss, accuracy;
} run;

static quern_status fit(run *r, quern_dataset *train, quern_dataset *valid, quern_graph *g) {
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "image", .rank = 2, .dim = {QUERN_B, 784}});
    quern_tensor *y = quern_labels(g, "label");
    quern_tensor *logits =
        quern_mlp(g, x, &(quern_mlp_desc){.hidden_count = 1, .hidden = {32}, .class_count = 10});
    const quern_metric accuracy = quern_metric_accuracy(g, logits, y);
    const quern_transform pixels = {.field = "image", .scale = 1.0f / 255.0f};
    quern_trainer *trainer = NULL;
    quern_result result = {0};
    quern_status status = quern_trainer_create(
        &trainer, &(quern_trainer_desc){.graph = g,
                                        .loss = quern_softmax_cross_entropy(g, logits, y, NULL),
                                        .metrics = &accuracy,
                                        .metric_count = 1,
                                        .train = train,
                                        .valid = valid,
                                        .transforms = &pixels,
                                        .transform_count = 1});
    if (status == QUERN_OK) status = quern_trainer_fit(trainer, &result);
    quern_trainer_destroy(trainer);
    r->loss = result.valid_loss;
    r->accuracy = result.valid_accuracy;
    return status;
}

static quern_status train_once(run *r) {
    quern_device *device = NULL;
    quern_dataset *train = NULL, *valid = NULL;
    quern_graph *graph = NULL;
    quern_status status = quern_device_create(
        &device,
        &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = r->seed});
    if (status == QUERN_OK)
        status = quern_dataset_synthetic(&train, device, &(quern_synthetic_desc){.length = 2000});
    if (status == QUERN_OK)
        status = quern_dataset_synthetic(
            &valid, device, &(quern_synthetic_desc){.length = 500, .first_index = 2000});
    if (status == QUERN_OK) status = quern_graph_create(&graph, device, NULL);
    if (status == QUERN_OK) status = fit(r, train, valid, graph);
    quern_graph_destroy(graph);
    quern_dataset_destroy(valid);
    quern_dataset_destroy(train);
    quern_device_destroy(device);
    return status;
}

static void *body(void *self) {
    run *r = self;
    r->status = train_once(r);
    if (r->status != QUERN_OK) snprintf(r->error, sizeof r->error, "%s", quern_error());
    return NULL;
}

int main(void) {
    run runs[3] = {{.seed = 1}, {.seed = 2}, {.seed = 1}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, body, &runs[i]) != 0) return EXIT_FAILURE;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    body(&runs[2]);
    for (int i = 0; i < 3; i++) {
        if (runs[i].status != QUERN_OK) {
            fprintf(stderr, "%s: %s\n", quern_status_name(runs[i].status), runs[i].error);
            return quern_status_exit_code(runs[i].status);
        }
        printf("seed %llu: loss %.6f, accuracy %.4f\n", (unsigned long long)runs[i].seed,
               runs[i].loss, runs[i].accuracy);
    }
    const bool repeats = runs[0].loss == runs[2].loss && runs[0].accuracy == runs[2].accuracy;
    return repeats && runs[0].loss != runs[1].loss ? EXIT_SUCCESS : EXIT_FAILURE;
}
