/* Tuning on the fake device, whose clock runs with what its libraries do: each shape is measured
 * once, and never to count bytes. */
#include "fake_device.h"
#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include "quern_test.h"
#include "support/temporary.h"

#include <quern/quern.h>
#include <stdlib.h>

typedef struct tuned {
    quern_device *device;
    quern_graph *graph;
    quern_tensor *logits, *loss;
    quern_trainer_desc desc;
} tuned;

static void tuned_begin(tuned *t) {
    *t = (tuned){0};
    fake.schedule = FAKE_LATE;
    CHECK_OK(quern_device_create(&t->device,
                                 &(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .tune = true}));
    CHECK_OK(quern_graph_create(&t->graph, t->device, NULL));
    quern_graph *g = t->graph;
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 2, 6, 6}});
    x = quern_relu(g, quern_conv(g, x, &(quern_conv_desc){.channels = 4, .window = {3, 3}}));
    t->logits = quern_dense(g, quern_flatten(g, x), &(quern_dense_desc){.units = 3});
    t->loss = quern_softmax_cross_entropy(g, t->logits, quern_labels(g, "label"), NULL);
    t->desc = (quern_trainer_desc){.graph = g, .loss = t->loss, .batch_size = 8};
}

static void tuned_end(tuned *t) {
    quern_graph_destroy(t->graph);
    quern_device_destroy(t->device);
}

static int64_t measures(void) { return fake.count[FAKE_cudaEventElapsedTime]; }

TEST_CASE(FakeTuning, measures_each_shape_once_and_never_to_count_bytes) {
    tuned t;
    temporary folder;
    int64_t found = 0;
    quern_memory memory;
    REQUIRE(temporary_begin(&folder)); /* cuDNN's plans are remembered on disk only */
    setenv("QUERN_CACHE", folder.path, 1);
    tuned_begin(&t);
    fake_cudnn.knobs = 3;
    const int64_t before = measures();
    CHECK_OK(quern_trainer_memory(&memory, &t.desc));
    CHECK_OK(quern_find_batch_size(&found, NULL, &t.desc,
                                   &(quern_find_batch_size_desc){.largest = 40, .any = true}));
    CHECK(found == 40 && measures() == before);
    int64_t counts[2], misses[2];
    for (int i = 0; i < 2; i++) {
        quern_trainer *trainer = NULL;
        CHECK_OK(quern_trainer_create(&trainer, &t.desc));
        counts[i] = measures();
        misses[i] = fake_cublaslt.heuristics;
        quern_trainer_destroy(trainer);
    }
    CHECK(counts[0] > before && counts[1] == counts[0]);
    CHECK(misses[1] == misses[0]);
    fake_cudnn.knobs = 0;
    tuned_end(&t);
    setenv("QUERN_CACHE", "", 1);
    temporary_end(&folder);
}

TEST_CASE(FakeTuning, trains_with_what_it_found) {
    tuned t;
    quern_trainer *trainer = NULL;
    static float x[8][72];
    static int32_t label[8];
    for (int i = 0; i < 8 * 72; i++) x[i / 72][i % 72] = (float)(i % 13) / 13 - 0.5f;
    for (int i = 0; i < 8; i++) label[i] = i % 3;
    tuned_begin(&t);
    fake_cudnn.knobs = 3;
    CHECK_OK(quern_trainer_create(&trainer, &t.desc));
    const quern_batch batch = {
        .sample_count = 8, .field_count = 2, .names = {"x", "label"}, .data = {x, label}};
    for (int i = 0; i < 3 && trainer != NULL; i++) CHECK_OK(quern_trainer_step(trainer, &batch));
    if (trainer != NULL) CHECK_OK(quern_trainer_wait(trainer, NULL));
    CHECK(fake_cublaslt.last_index == 1 && fake_cudnn.last_knob == 2);
    quern_trainer_destroy(trainer);
    fake_cudnn.knobs = 0;
    tuned_end(&t);
    CHECK_TEXT(fake.misuse, "");
}
