#include "window_world.h"

#include <math.h>
#include <string.h>

static void network_build(world *w, const network_desc *d) {
    quern_graph *g = w->graph;
    w->x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    w->label = quern_labels(g, "label");
    quern_tensor *h =
        quern_dense(g, w->x, &(quern_dense_desc){.units = WORLD_HIDDEN, .name = "fc1"});
    if (d->batch_norm)
        h = quern_batch_normalize(g, h, &(quern_batch_normalize_desc){.name = "norm"});
    h = quern_tanh(g, h);
    if (d->dropout) h = quern_dropout(g, h, &(quern_dropout_desc){.probability = 0.25f});
    w->logits = quern_dense(g, h, &(quern_dense_desc){.units = WORLD_CLASSES, .name = "fc2"});
    const quern_softmax_cross_entropy_desc ignoring = {.ignore = true,
                                                       .ignore_index = IGNORED_LABEL};
    if (d->plain)
        w->loss = quern_sum(g, quern_mul(g, w->logits, w->logits), NULL);
    else
        w->loss = quern_softmax_cross_entropy(g, w->logits, w->label, d->ignore ? &ignoring : NULL);
    w->metrics[0] = quern_metric_accuracy(g, w->logits, w->label);
}

quern_status world_network(world *w, const network_desc *desc) {
    quern_graph_destroy(w->graph);
    w->graph = NULL;
    quern_status s =
        quern_graph_create(&w->graph, w->device, &(quern_graph_desc){.dtype = desc->dtype});
    if (s != QUERN_OK) return s;
    network_build(w, desc);
    w->desc.graph = w->graph;
    w->desc.loss = w->loss;
    w->desc.metric_count = 1;
    w->desc.outputs = NULL;
    w->desc.output_count = 0;
    return quern_graph_status(w->graph);
}

static int64_t tensor_append(world *w, const quern_tensor *tensor, double *out) {
    float values[WINDOW_STATE_MAX];
    const quern_shape of = quern_tensor_shape(tensor);
    int64_t count = 1;
    for (int32_t i = 0; i < of.rank; i++) count *= of.dim[i];
    const bool single = of.dtype == QUERN_F32;
    void *to = single ? (void *)values : (void *)out;
    const size_t bytes = (size_t)count * (single ? sizeof(float) : sizeof(double));
    if (quern_parameters_read(quern_trainer_parameters(w->trainer), tensor, to, bytes) != QUERN_OK)
        out[0] = (double)NAN;
    for (int64_t i = 0; single && i < count; i++) out[i] = (double)values[i];
    return count;
}

int64_t window_state(world *w, double *out) {
    static const char *const names[] = {"fc1.weight",        "fc1.bias",        "fc2.weight",
                                        "fc2.bias",          "norm.weight",     "norm.bias",
                                        "norm.running_mean", "norm.running_var"};
    int64_t count = 0;
    for (int i = 0; i < 8; i++) {
        const quern_tensor *tensor = quern_tensor_find(w->graph, names[i]);
        if (tensor) count += tensor_append(w, tensor, out + count);
    }
    return count;
}

double window_state_difference(const double *a, const double *b, int64_t count) {
    double largest = 0, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= difference)) difference = fabs(a[i] - b[i]);
        if (fabs(a[i]) > largest) largest = fabs(a[i]);
    }
    return difference / largest;
}

typedef struct sample_range {
    int32_t first, count;
} sample_range;

static void window_append(window_list *out, const sample_range *batches, int32_t count) {
    int32_t *samples = out->samples[out->count], filled = 0;
    for (int32_t i = 0; i < count; i++)
        for (int32_t n = 0; n < batches[i].count; n++) samples[filled++] = batches[i].first + n;
    out->sample_count[out->count++] = filled;
}

void window_list_make(window_list *out, const window_run_desc *desc) {
    sample_range open[64];
    int32_t count = 0;
    memset(out, 0, sizeof *out);
    for (int64_t epoch = 0; epoch < desc->epochs; epoch++) {
        for (int64_t first = 0; first < desc->length; first += desc->batch_size) {
            const int64_t rest = desc->length - first;
            open[count++] = (sample_range){
                (int32_t)first, (int32_t)(rest < desc->batch_size ? rest : desc->batch_size)};
            if (count < desc->accumulate) continue;
            window_append(out, open, count);
            count = 0;
        }
        if (count > 0 && desc->tail == QUERN_TAIL_FLUSH) {
            window_append(out, open, count);
            count = 0;
        }
        if (desc->tail == QUERN_TAIL_DROP) {
            out->left_over += count;
            count = 0;
        }
    }
    out->left_over += count;
}

quern_status window_list_train(world *w, quern_trainer_desc desc, const window_list *list) {
    static float x[WINDOW_SAMPLES_MAX][WORLD_FEATURES];
    static int32_t label[WINDOW_SAMPLES_MAX];
    desc.train = desc.valid = NULL;
    desc.no_shuffle = false;
    desc.accumulate = desc.epoch_count = 0;
    desc.tail = QUERN_TAIL_FLUSH;
    desc.batch_size = WINDOW_SAMPLES_MAX;
    quern_status s = quern_trainer_create(&w->trainer, &desc);
    for (int32_t i = 0; s == QUERN_OK && i < list->count; i++) {
        const int32_t count = list->sample_count[i];
        for (int32_t n = 0; n < count; n++) {
            memcpy(x[n], w->train_x[list->samples[i][n]], sizeof x[n]);
            label[n] = w->train_label[list->samples[i][n]];
        }
        s = quern_trainer_step(w->trainer, &(quern_batch){.sample_count = count,
                                                          .field_count = 2,
                                                          .names = {"x", "label"},
                                                          .data = {x, label}});
    }
    return s == QUERN_OK ? quern_trainer_wait(w->trainer, NULL) : s;
}
