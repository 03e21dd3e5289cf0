#include "image_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct world {
    quern_device *device;
    quern_graph *graph;
    quern_dataset *data;
    quern_trainer *trainer;
} world;

static quern_status values_read(world *w, image_run *out) {
    const int32_t count = quern_graph_parameter_count(w->graph);
    int64_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && (out->values = calloc((size_t)total + 1, sizeof(float))) == NULL) abort();
        for (int32_t i = 0; i < count; i++) {
            quern_tensor *p = quern_graph_parameter(w->graph, i);
            const quern_shape shape = quern_tensor_shape(p);
            int64_t elements = 1;
            for (int32_t k = 0; k < shape.rank; k++) elements *= shape.dim[k];
            if (pass == 0) total += elements;
            if (pass == 0) continue;
            const quern_status s = quern_parameters_read(quern_trainer_parameters(w->trainer), p,
                                                         out->values + out->value_count,
                                                         (size_t)elements * sizeof(float));
            if (s != QUERN_OK) return s;
            out->value_count += elements;
        }
    }
    return QUERN_OK;
}

static quern_status world_fit(world *w, const image_run_desc *d, image_run *out) {
    quern_verify_model model = {0};
    quern_status s = quern_device_create(
        &w->device,
        &(quern_device_desc){.kind = d->kind, .seed = 3, .tune = d->tune, .host = d->host});
    if (s == QUERN_OK) s = open_images(&w->data, w->device);
    if (s == QUERN_OK) s = quern_graph_create(&w->graph, w->device, NULL);
    if (s == QUERN_OK) s = d->build(NULL, w->graph, &model);
    if (s != QUERN_OK) return s;
    const quern_trainer_desc desc = {
        .graph = w->graph,
        .loss = model.loss,
        .loss_weight = model.loss_weight,
        .train = w->data,
        .batch_size = 8,
        .epoch_count = 1,
        .step_limit = d->step_limit > 0 ? d->step_limit : 3,
        .accumulate = d->accumulate,
        .no_capture = d->no_capture,
        .precision = d->precision,
        .optimizer = {.kind = QUERN_OPTIMIZER_SGD, .learning_rate = 0.01f},
        .save = {.directory = d->save, .resume = d->resume},
    };
    s = quern_trainer_create(&w->trainer, &desc);
    if (s == QUERN_OK) s = quern_trainer_fit(w->trainer, &out->result);
    if (s == QUERN_OK) s = quern_trainer_digest(w->trainer, out->digest);
    return s == QUERN_OK ? values_read(w, out) : s;
}

quern_status image_run_fit(image_run *out, const image_run_desc *desc) {
    world w = {0};
    *out = (image_run){0};
    const quern_status s = world_fit(&w, desc, out);
    quern_trainer_destroy(w.trainer);
    quern_graph_destroy(w.graph);
    quern_dataset_destroy(w.data);
    quern_device_destroy(w.device);
    if (s != QUERN_OK) image_run_release(out);
    return s;
}

void image_run_release(image_run *r) {
    free(r->values);
    *r = (image_run){0};
}

double image_run_distance(const image_run *a, const image_run *b) {
    double largest = 0;
    if (a->value_count != b->value_count || a->value_count == 0) return (double)NAN;
    for (int64_t i = 0; i < a->value_count; i++) {
        const double d =
            fabs((double)a->values[i] - (double)b->values[i]) / fmax(1, fabs((double)b->values[i]));
        if (!(d <= largest)) largest = d;
    }
    return largest;
}
