#include "world.h"

#include <math.h>
#include <string.h>

static uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

static void fill(float (*x)[WORLD_FEATURES], int32_t *label, uint32_t salt) {
    for (uint32_t n = 0; n < WORLD_SAMPLES_MAX; n++) {
        label[n] = (int32_t)(mix(n * 7 + salt) % WORLD_CLASSES);
        for (uint32_t f = 0; f < WORLD_FEATURES; f++) {
            const float noise = (float)(mix(n * 64 + f + salt * 977) % 1000) / 1000.0f - 0.5f;
            x[n][f] = noise + (f == (uint32_t)label[n] ? 1.0f : 0.0f);
        }
    }
}

static quern_status dataset_open(world *w, bool valid, int64_t length) {
    return quern_dataset_arrays(
        valid ? &w->valid : &w->train, w->device,
        &(quern_arrays_desc){
            .length = length,
            .field_count = 2,
            .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                       {.name = "label", .dtype = QUERN_I32}},
            .data = {valid ? w->valid_x : w->train_x, valid ? w->valid_label : w->train_label}});
}

static quern_status graph_build(world *w, bool dropout) {
    quern_graph *g = w->graph;
    w->x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    w->label = quern_labels(g, "label");
    quern_tensor *h = quern_relu(
        g, quern_dense(g, w->x, &(quern_dense_desc){.units = WORLD_HIDDEN, .name = "fc1"}));
    if (dropout) h = quern_dropout(g, h, &(quern_dropout_desc){.probability = 0.25f});
    w->logits = quern_dense(g, h, &(quern_dense_desc){.units = WORLD_CLASSES, .name = "fc2"});
    w->loss = quern_softmax_cross_entropy(g, w->logits, w->label, NULL);
    w->metrics[0] = quern_metric_accuracy(g, w->logits, w->label);
    w->metrics[1] = quern_metric_confusion(g, w->logits, w->label);
    return quern_graph_status(g);
}

static quern_status open_all(world *w, const world_desc *d) {
    quern_status s;
    const int32_t threads = d->thread_count ? d->thread_count : 1;
    const quern_device_desc device = {.kind = d->cuda ? QUERN_DEVICE_CUDA : QUERN_DEVICE_CPU,
                                      .thread_count = d->cuda ? 0 : threads,
                                      .seed = 7,
                                      .trace_ops = d->trace_ops,
                                      .tune = d->tune,
                                      .host = d->host};
    if ((s = quern_device_create(&w->device, &device))) return s;
    if ((s = dataset_open(w, false, d->train_length ? d->train_length : 10))) return s;
    if (d->valid_length >= 0 && (s = dataset_open(w, true, d->valid_length ? d->valid_length : 10)))
        return s;
    if ((s = quern_graph_create(&w->graph, w->device, NULL))) return s;
    return graph_build(w, d->dropout);
}

quern_status world_open(world *w, const world_desc *desc) {
    memset(w, 0, sizeof *w);
    fill(w->train_x, w->train_label, 1);
    fill(w->valid_x, w->valid_label, 1001);
    const quern_status status = open_all(w, desc);
    if (status != QUERN_OK) {
        world_close(w);
        return status;
    }
    w->desc = (quern_trainer_desc){.graph = w->graph,
                                   .loss = w->loss,
                                   .metrics = w->metrics,
                                   .metric_count = 2,
                                   .outputs = &w->logits,
                                   .output_count = 1,
                                   .train = w->train,
                                   .valid = w->valid,
                                   .batch_size = desc->batch_size ? desc->batch_size : 4,
                                   .optimizer = {.learning_rate = 0.05f}};
    return QUERN_OK;
}

void world_close(world *w) {
    quern_trainer_destroy(w->trainer);
    quern_graph_destroy(w->graph);
    quern_dataset_destroy(w->valid);
    quern_dataset_destroy(w->train);
    quern_device_destroy(w->device);
    memset(w, 0, sizeof *w);
}

static int64_t weight_read(world *w, const char *name, float *out, int64_t count) {
    const quern_tensor *tensor = quern_tensor_find(w->graph, name);
    if (quern_parameters_read(quern_trainer_parameters(w->trainer), tensor, out,
                              (size_t)count * sizeof *out) != QUERN_OK)
        out[0] = NAN;
    return count;
}

int64_t world_weights(world *w, float *out, int64_t capacity) {
    enum { FC1 = WORLD_HIDDEN * WORLD_FEATURES, FC2 = WORLD_CLASSES * WORLD_HIDDEN };
    if (capacity < FC1 + WORLD_HIDDEN + FC2 + WORLD_CLASSES) return 0;
    int64_t at = weight_read(w, "fc1.weight", out, FC1);
    at += weight_read(w, "fc1.bias", out + at, WORLD_HIDDEN);
    at += weight_read(w, "fc2.weight", out + at, FC2);
    return at + weight_read(w, "fc2.bias", out + at, WORLD_CLASSES);
}

static void forward(const float *weights, const float *x, double *z) {
    const float *w1 = weights, *b1 = w1 + WORLD_HIDDEN * WORLD_FEATURES;
    const float *w2 = b1 + WORLD_HIDDEN, *b2 = w2 + WORLD_CLASSES * WORLD_HIDDEN;
    double h[WORLD_HIDDEN];
    for (int i = 0; i < WORLD_HIDDEN; i++) {
        h[i] = (double)b1[i];
        for (int f = 0; f < WORLD_FEATURES; f++)
            h[i] += (double)w1[i * WORLD_FEATURES + f] * (double)x[f];
        h[i] = fmax(h[i], 0);
    }
    for (int c = 0; c < WORLD_CLASSES; c++) {
        z[c] = (double)b2[c];
        for (int i = 0; i < WORLD_HIDDEN; i++) z[c] += (double)w2[c * WORLD_HIDDEN + i] * h[i];
    }
}

world_score world_brute_force(world *w, bool valid) {
    float weights[256];
    world_score score = {0};
    world_weights(w, weights, 256);
    const int64_t length = quern_dataset_length(valid ? w->valid : w->train);
    for (int64_t n = 0; n < length; n++) {
        double z[WORLD_CLASSES], sum = 0;
        int best = 0;
        const int32_t label = valid ? w->valid_label[n] : w->train_label[n];
        forward(weights, valid ? w->valid_x[n] : w->train_x[n], z);
        for (int c = 0; c < WORLD_CLASSES; c++) {
            sum += exp(z[c]);
            if (z[c] > z[best]) best = c;
        }
        score.loss += (log(sum) - z[label]) / (double)length;
        score.accuracy += (best == label) / (double)length;
        score.confusion[label * WORLD_CLASSES + best] += 1;
    }
    return score;
}

quern_trainer_desc world_with(const world *w, const quern_callback *callbacks, int32_t count) {
    quern_trainer_desc desc = w->desc;
    desc.callbacks = callbacks;
    desc.callback_count = count;
    return desc;
}
