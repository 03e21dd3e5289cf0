/* custom_dataset_and_callback.c - the application's own samples and its own say in the run.
 *
 * The dataset computes each sample when it is asked for one: two interleaved spirals. The callback
 * stops the run once the validation accuracy is good enough. Neither touches the library. */
#include <math.h>
#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct spirals {
    int64_t first, length; /* the samples first … first + length - 1 of an endless supply */
} spirals;

static int64_t spirals_length(void *self) { return ((spirals *)self)->length; }

static int32_t spirals_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {
        {.name = "point", .dtype = QUERN_F32, .rank = 1, .dim = {2}},
        {.name = "label", .dtype = QUERN_I32, .class_count = 2},
    };
    (void)self;
    *out = fields;
    return 2;
}

static quern_status spirals_read(void *self, int64_t index, void *const *field_data) {
    const int64_t n = ((spirals *)self)->first + index;
    const int32_t label = (int32_t)(n % 2);
    const double radius = 0.1 + 0.9 * fmod((double)n * 0.6180339887, 1.0);
    const double angle = 9.0 * radius + (label ? 3.14159265 : 0.0);
    float *point = field_data[0];
    point[0] = (float)(radius * cos(angle));
    point[1] = (float)(radius * sin(angle));
    *(int32_t *)field_data[1] = label;
    return QUERN_OK;
}

static const quern_dataset_type spirals_type = {
    .name = "spirals", .length = spirals_length, .fields = spirals_fields, .read = spirals_read};

typedef struct good_enough {
    double wanted, best;
    int64_t evaluations;
} good_enough;

static quern_action check_accuracy(void *self, const quern_event *event) {
    good_enough *g = self;
    const double accuracy = quern_event_scalar(event, "val/accuracy");
    g->evaluations++;
    if (accuracy > g->best) g->best = accuracy;
    return g->best >= g->wanted ? QUERN_STOP : QUERN_CONTINUE;
}

typedef struct objects {
    spirals train_source, valid_source;
    quern_device *device;
    quern_dataset *train, *valid;
    quern_graph *graph;
    quern_trainer *trainer;
} objects;

static quern_status open_data(objects *o) {
    o->train_source = (spirals){.first = 0, .length = 2000};
    o->valid_source = (spirals){.first = 2000, .length = 500};
    quern_status status =
        quern_dataset_custom(&o->train, o->device, &spirals_type, &o->train_source);
    if (status == QUERN_OK)
        status = quern_dataset_custom(&o->valid, o->device, &spirals_type, &o->valid_source);
    return status;
}

static quern_status create_trainer(objects *o, good_enough *judge) {
    quern_status status = quern_graph_create(&o->graph, o->device, NULL);
    if (status != QUERN_OK) return status;
    quern_graph *g = o->graph;
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "point", .rank = 2, .dim = {QUERN_B, 2}});
    quern_tensor *y = quern_labels(g, "label");
    quern_tensor *logits =
        quern_mlp(g, x, &(quern_mlp_desc){.hidden_count = 2, .hidden = {32, 32}, .class_count = 2});
    const quern_metric accuracy = quern_metric_accuracy(g, logits, y);
    const quern_callback stop = {.name = "good enough",
                                 .band = QUERN_BAND_MONITOR,
                                 .self = judge,
                                 .eval_end = check_accuracy};
    return quern_trainer_create(
        &o->trainer, &(quern_trainer_desc){.graph = g,
                                           .loss = quern_softmax_cross_entropy(g, logits, y, NULL),
                                           .metrics = &accuracy,
                                           .metric_count = 1,
                                           .train = o->train,
                                           .valid = o->valid,
                                           .epoch_count = 100,
                                           .optimizer = {.learning_rate = 1e-2},
                                           .callbacks = &stop,
                                           .callback_count = 1});
}

static void destroy(objects *o) {
    quern_trainer_destroy(o->trainer);
    quern_graph_destroy(o->graph);
    quern_dataset_destroy(o->valid);
    quern_dataset_destroy(o->train);
    quern_device_destroy(o->device);
}

int main(void) {
    objects o = {0};
    good_enough judge = {.wanted = 0.97};
    quern_result result;
    quern_status status = quern_device_create(
        &o.device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = 3});
    if (status == QUERN_OK) status = open_data(&o);
    if (status == QUERN_OK) status = create_trainer(&o, &judge);
    if (status == QUERN_OK) status = quern_trainer_fit(o.trainer, &result);
    destroy(&o);
    if (status != QUERN_OK) {
        fprintf(stderr, "%s: %s\n", quern_status_name(status), quern_error());
        return quern_status_exit_code(status);
    }
    printf("accuracy %.4f after %lld epochs, ended by %s\n", judge.best,
           (long long)judge.evaluations, quern_stop_reason_name(result.reason));
    return result.reason == QUERN_STOPPED_CALLBACK ? EXIT_SUCCESS : EXIT_FAILURE;
}
