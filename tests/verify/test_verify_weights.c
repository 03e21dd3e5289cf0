/* quern_verify of trained weights: every run begins with them, and goes back to them. */
#include "quern_test.h"
#include "support/temporary.h"
#include "verify_models.h"

#include <math.h>
#include <stdlib.h>

typedef struct subject {
    temporary folder;
    quern_device *device;
    quern_dataset *data;
    quern_graph *graph;
    quern_parameters *parameters;
    quern_safetensors *file;
    double loss; /* of the reference */
    int64_t weights;
} subject;

static quern_status watch(void *self, const quern_verify_tensor *t) {
    subject *s = self;
    if (t->role == QUERN_VERIFY_LOSS) s->loss = t->reference;
    s->weights += t->role == QUERN_VERIFY_WEIGHT && t->ok;
    return QUERN_OK;
}

/* Weights that no initialiser draws: all zero, so that every class is as likely. */
static void subject_begin(subject *s) {
    quern_verify_model model;
    *s = (subject){0};
    REQUIRE(temporary_begin(&s->folder));
    const char *path = temporary_join(&s->folder, "zero.safetensors");
    REQUIRE_OK(
        quern_device_create(&s->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .seed = 3}));
    REQUIRE_OK(open_images(&s->data, s->device));
    REQUIRE_OK(quern_graph_create(&s->graph, s->device, NULL));
    REQUIRE_OK(build_mlp(NULL, s->graph, &model));
    REQUIRE_OK(quern_parameters_create(&s->parameters, s->graph, NULL));
    for (int32_t i = 0; i < quern_graph_parameter_count(s->graph); i++) {
        const quern_tensor *tensor = quern_graph_parameter(s->graph, i);
        const quern_shape shape = quern_tensor_shape(tensor);
        size_t count = 1;
        for (int32_t d = 0; d < shape.rank; d++) count *= (size_t)shape.dim[d];
        float *zeros = calloc(count, sizeof *zeros);
        REQUIRE_OK(quern_parameters_write(s->parameters, tensor, zeros, count * sizeof *zeros));
        free(zeros);
    }
    REQUIRE_OK(quern_safetensors_save(path, s->graph, s->parameters, NULL, 0));
    REQUIRE_OK(quern_safetensors_open(&s->file, s->device, path));
}

static void subject_end(subject *s) {
    quern_safetensors_destroy(s->file);
    quern_parameters_destroy(s->parameters);
    quern_graph_destroy(s->graph);
    quern_dataset_destroy(s->data);
    quern_device_destroy(s->device);
    temporary_end(&s->folder);
}

static quern_status verify(subject *s,
                           quern_status (*build)(void *, quern_graph *, quern_verify_model *),
                           const quern_safetensors *weights) {
    return quern_verify(NULL, &(quern_verify_desc){.build = build,
                                                   .device = s->device,
                                                   .dataset = s->data,
                                                   .weights = weights,
                                                   .batch_size = 8,
                                                   .visit = watch,
                                                   .visit_self = s});
}

TEST_CASE(VerifyWeights, a_step_begins_with_the_weights_of_the_file) {
    subject s;
    subject_begin(&s);
    REQUIRE_OK(verify(&s, build_mlp, s.file));
    CHECK_NEAR(s.loss, 8 * log(10), 1e-9); /* the sum of the batch */
    CHECK(s.weights == 6);                 /* three layers: the F64 rule began with them too */
    REQUIRE_OK(verify(&s, build_mlp, NULL));
    CHECK(fabs(s.loss - 8 * log(10)) > 1e-3);
    subject_end(&s);
}

TEST_CASE(VerifyWeights, weights_of_another_model_are_refused_by_name) {
    subject s;
    subject_begin(&s);
    CHECK_STATUS(verify(&s, build_lenet, s.file), QUERN_INPUT);
    CHECK_ERROR_HAS("the weights hold no tensor conv1.weight");
    subject_end(&s);
}
