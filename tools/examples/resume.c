/* resume.c - a training that may be killed at any moment and goes on when it is started again.
 * Argument: the folder of its checkpoints. Ctrl-C ends it with a save; so does SIGTERM.
 *
 * Started again after its end it trains nothing. However often it was stopped, the last line is
 * the same: a checkpoint holds all that the run depends on. */
#include <quern/quern.h>
#include <stdio.h>

typedef struct session {
    quern_device *device;
    quern_dataset *train, *valid;
    quern_graph *graph;
    quern_trainer *trainer;
} session;

static quern_status session_open(session *s) {
    quern_status status =
        quern_device_create(&s->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .seed = 1});
    if (status != QUERN_OK) return status;
    status = quern_dataset_synthetic(&s->train, s->device,
                                     &(quern_synthetic_desc){.length = 4000, .seed = 1});
    if (status != QUERN_OK) return status;
    status = quern_dataset_synthetic(
        &s->valid, s->device,
        &(quern_synthetic_desc){.length = 500, .first_index = 4000, .seed = 1});
    if (status != QUERN_OK) return status;
    return quern_graph_create(&s->graph, s->device, NULL);
}

static quern_status session_resume(session *s, const char *folder) {
    quern_graph *g = s->graph;
    quern_tensor *image =
        quern_input(g, &(quern_input_desc){.name = "image", .rank = 2, .dim = {QUERN_B, 28 * 28}});
    quern_tensor *label = quern_labels(g, "label");
    quern_tensor *logits = quern_mlp(g, image, &(quern_mlp_desc){.hidden = {64}});
    const quern_metric accuracy = quern_metric_accuracy(g, logits, label);
    const quern_transform pixels = {.field = "image", .scale = 1.0f / 255.0f};
    return quern_trainer_create(&s->trainer,
                                &(quern_trainer_desc){
                                    .graph = g,
                                    .loss = quern_softmax_cross_entropy(g, logits, label, NULL),
                                    .metrics = &accuracy,
                                    .metric_count = 1,
                                    .train = s->train,
                                    .valid = s->valid,
                                    .transforms = &pixels,
                                    .transform_count = 1,
                                    .epoch_count = 5,
                                    .handle_signals = true,
                                    .save = {.directory = folder, .every = 20, .resume = true},
                                });
}

static quern_status session_train(session *s) {
    const char *from = quern_trainer_resumed(s->trainer);
    quern_result result;
    char digest[33];
    printf("%s %s\n", from ? "goes on from" : "begins anew", from ? from : "");
    quern_status status = quern_trainer_fit(s->trainer, &result);
    if (status != QUERN_OK) return status;
    status = quern_trainer_digest(s->trainer, digest);
    if (status != QUERN_OK) return status;
    printf("ended by %s, saved in %s\n", quern_stop_reason_name(result.reason), result.checkpoint);
    printf("step %lld accuracy %.4f digest %s\n", (long long)result.step, result.valid_accuracy,
           digest);
    return QUERN_OK;
}

static void session_close(session *s) {
    quern_trainer_destroy(s->trainer);
    quern_graph_destroy(s->graph);
    quern_dataset_destroy(s->valid);
    quern_dataset_destroy(s->train);
    quern_device_destroy(s->device);
}

int main(int argc, char **argv) {
    session s = {0};
    quern_status status = session_open(&s);
    if (status == QUERN_OK) status = session_resume(&s, argc > 1 ? argv[1] : "checkpoints");
    if (status == QUERN_OK) status = session_train(&s);
    if (status != QUERN_OK) fprintf(stderr, "%s: %s\n", quern_status_name(status), quern_error());
    session_close(&s);
    return quern_status_exit_code(status);
}
