/* An MLP, trained and validated on Fashion-MNIST. Argument: the folder of its four files. */
/* clang-format off */
#include <quern/quern.h>
#include <stdio.h>
int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist";
    quern_device *device = NULL;
    quern_dataset *train = NULL, *valid = NULL;
    quern_graph *g = NULL;
    quern_trainer *trainer = NULL;
    quern_transform pixels = {.field = "image", .scale = 1.0f / 255.0f};
    quern_result result;
    quern_status s;
    if ((s = quern_device_create(&device, &(quern_device_desc){.seed = 1}))) goto done;
    if ((s = quern_dataset_mnist(&train, device, folder, false))) goto done;
    if ((s = quern_dataset_mnist(&valid, device, folder, true))) goto done;
    if ((s = quern_transform_measure(&pixels, train))) goto done;
    if ((s = quern_graph_create(&g, device, NULL))) goto done;
    quern_tensor *x = quern_input(g, &(quern_input_desc){
        .name = "image", .rank = 2, .dim = {QUERN_B, 28 * 28}});
    quern_tensor *y = quern_labels(g, "label");
    quern_tensor *h = quern_relu(g, quern_dense(g, x, &(quern_dense_desc){.units = 128}));
    quern_tensor *logits = quern_dense(g, h, &(quern_dense_desc){.units = 10});
    quern_metric accuracy = quern_metric_accuracy(g, logits, y);
    if ((s = quern_trainer_create(&trainer, &(quern_trainer_desc){
            .graph = g, .loss = quern_softmax_cross_entropy(g, logits, y, NULL),
            .metrics = &accuracy, .metric_count = 1, .train = train, .valid = valid,
            .transforms = &pixels, .transform_count = 1, .batch_size = 128, .epoch_count = 3,
            .optimizer = {.learning_rate = 1e-3}}))) goto done;
    if ((s = quern_trainer_fit(trainer, &result))) goto done;
    printf("accuracy %.4f after %lld updates\n", result.valid_accuracy, (long long)result.step);
done:
    if (s) fprintf(stderr, "%s: %s\n", quern_status_name(s), quern_error());
    quern_trainer_destroy(trainer);
    quern_graph_destroy(g);
    quern_dataset_destroy(valid);
    quern_dataset_destroy(train);
    quern_device_destroy(device);
    return quern_status_exit_code(s);
}
