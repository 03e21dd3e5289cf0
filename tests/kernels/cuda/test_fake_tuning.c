/* Tuning on the fake device, whose clock runs with what its libraries do: each shape is measured
 * once, and never to count bytes; a call that fails meanwhile is a status, or what was measured
 * with it is no choice. */
#include "fault_run.h"
#include "quern_test.h"
#include "support/temporary.h"

#include <quern/quern.h>

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tuned {
    quern_device *device;
    quern_graph *graph;
    quern_tensor *logits, *loss;
    quern_trainer_desc desc;
} tuned;

static void tuned_begin_as(tuned *t, bool tune) {
    *t = (tuned){0};
    fake.schedule = FAKE_LATE;
    CHECK_OK(quern_device_create(&t->device,
                                 &(quern_device_desc){.kind = QUERN_DEVICE_CUDA, .tune = tune}));
    CHECK_OK(quern_graph_create(&t->graph, t->device, NULL));
    quern_graph *g = t->graph;
    quern_tensor *x =
        quern_input(g, &(quern_input_desc){.name = "x", .rank = 4, .dim = {QUERN_B, 2, 6, 6}});
    x = quern_relu(g, quern_conv(g, x, &(quern_conv_desc){.channels = 4, .window = {3, 3}}));
    t->logits = quern_dense(g, quern_flatten(g, x), &(quern_dense_desc){.units = 3});
    t->loss = quern_softmax_cross_entropy(g, t->logits, quern_labels(g, "label"), NULL);
    t->desc = (quern_trainer_desc){.graph = g, .loss = t->loss, .batch_size = 8};
}

static void tuned_begin(tuned *t) { tuned_begin_as(t, true); }

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

/* Those behind it are still measured, and the fastest is still found. */
TEST_CASE(FakeTuning, a_launch_that_fails_costs_one_proposal) {
    tuned t;
    quern_trainer *trainer = NULL;
    static float x[8][72];
    static int32_t label[8];
    const quern_batch batch = {
        .sample_count = 8, .field_count = 2, .names = {"x", "label"}, .data = {x, label}};
    tuned_begin(&t);
    const int64_t before = measures();
    fake.fault[FAKE_cudaGraphLaunch] =
        (fake_fault){.at = fake.count[FAKE_cudaGraphLaunch] + 1, .code = cudaErrorInvalidValue};
    CHECK_OK(quern_trainer_create(&trainer, &t.desc));
    CHECK(fake.fired[FAKE_cudaGraphLaunch] == 1 && measures() > before + 9);
    if (trainer != NULL) CHECK_OK(quern_trainer_step(trainer, &batch));
    if (trainer != NULL) CHECK_OK(quern_trainer_wait(trainer, NULL));
    CHECK(fake_cublaslt.last_index == 1);
    quern_trainer_destroy(trainer);
    tuned_end(&t);
    fake.fired[FAKE_cudaGraphLaunch] = 0;
    CHECK_TEXT(fake.misuse, "");
}

static int files_in(const char *folder) {
    char pattern[600];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    const int count = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

TEST_CASE(FakeTuning, counting_bytes_writes_nothing_and_plans_each_size_once) {
    tuned t;
    temporary folder;
    quern_memory memory[2];
    int64_t found;
    REQUIRE(temporary_begin(&folder));
    setenv("QUERN_CACHE", folder.path, 1);
    tuned_begin(&t);
    const int64_t before = fake_cudnn.planned;
    CHECK_OK(quern_trainer_memory(&memory[0], &t.desc));
    const int64_t planned = fake_cudnn.planned;
    CHECK(planned > before);
    CHECK_OK(quern_trainer_memory(&memory[1], &t.desc));
    CHECK(fake_cudnn.planned == planned);
    CHECK(memory[1].peak_bytes == memory[0].peak_bytes);
    const quern_find_batch_size_desc desc = {.largest = 40, .any = true};
    CHECK_OK(quern_find_batch_size(&found, NULL, &t.desc, &desc));
    const int64_t searched = fake_cudnn.planned;
    CHECK_OK(quern_find_batch_size(&found, NULL, &t.desc, &desc));
    CHECK(fake_cudnn.planned == searched);
    CHECK(files_in(folder.path) == 0);
    tuned_end(&t);
    setenv("QUERN_CACHE", "", 1);
    temporary_end(&folder);
}

static size_t workspace_of(const tuned *t) {
    quern_memory memory = {0};
    CHECK_OK(quern_trainer_memory(&memory, &t->desc));
    return memory.workspace_bytes;
}

/* Of the engine that is fit: three times what the first setting takes, then twice that. Also where
 * a run that was not tuned has left the first one's plan on disk. */
TEST_CASE(FakeTuning, what_is_counted_holds_any_engine_that_may_turn_out_the_fastest) {
    for (int left = 0; left < 2; left++) {
        temporary folder;
        REQUIRE(temporary_begin(&folder));
        if (left) setenv("QUERN_CACHE", folder.path, 1);
        for (int tune = !left; tune < 2; tune++) {
            tuned t;
            quern_trainer *trainer = NULL;
            tuned_begin_as(&t, tune != 0);
            fake_cudnn.knobs = 3;
            const size_t before = workspace_of(&t);
            CHECK_OK(quern_trainer_create(&trainer, &t.desc));
            const size_t after = workspace_of(&t);
            CHECK_SAY(tune ? before == 3 * 2048 && after == 2 * 2048
                           : before == after && after < 2 * 2048,
                      "tuned %d, left %d: %d, then %d", tune, left, (int)before, (int)after);
            quern_trainer_destroy(trainer);
            fake_cudnn.knobs = 0;
            tuned_end(&t);
        }
        setenv("QUERN_CACHE", "", 1);
        temporary_end(&folder);
    }
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

/* Made by measuring alone, while a trainer is made. */
static bool is_only_measuring(fake_call call) {
    return call == FAKE_cudaEventElapsedTime || call == FAKE_cudaGraphLaunch;
}

static fault_run_desc failing(fake_call call, cudaError_t code, bool for_ever) {
    return (fault_run_desc){.images = call == FAKE_cudaEventElapsedTime && !for_ever, /* cuDNN's */
                            .tune = true,
                            .call = call,
                            .fault = {.code = code, .for_ever = for_ever}};
}

/* It trains as if nothing had failed, or says what did and is as if it had not been tried. */
static void check_outcome(const fault_run_desc *d, const fault_run *r, double loss) {
    const char *name = fake_call_name(d->call);
    const bool lost = d->fault.code == cudaErrorIllegalAddress;
    if (is_only_measuring(d->call) && !lost) CHECK_STATUS(r->status, QUERN_OK);
    if (r->status == QUERN_OK)
        CHECK_SAY(r->step == 10 && fabs(r->train_loss - loss) <= 1e-4, "%s: step %d, loss %g", name,
                  (int)r->step, r->train_loss);
    else
        CHECK_SAY(strstr(r->sentence, " on CUDA device 0 (Fake H200)") != NULL &&
                      (r->status == QUERN_DEVICE_LOST) == lost && (lost || r->again == QUERN_OK),
                  "%s: %d, then %d: %s", name, (int)r->status, (int)r->again, r->sentence);
    if (quern_test_failed())
        CHECK_SAY(false, "in %s, call %d, code %d, %s", name, (int)d->fault.at, (int)d->fault.code,
                  d->fault.for_ever ? "for ever" : "once");
}

/* Ever wider apart. Returns how many came to bear. */
static int64_t fail_each(fault_run_desc d, double loss) {
    int64_t fired = 0;
    for (d.fault.at = 1; !quern_test_failed(); d.fault.at *= 2, fired++) {
        fault_run r;
        fault_run_do(&r, &d);
        if (!r.fired) break;
        check_outcome(&d, &r, loss);
    }
    return fired;
}

/* What measuring calls; the rest fails in test_fake_faults too. */
static const fake_call measuring[] = {
    FAKE_cudaMalloc,
    FAKE_cudaEventCreateWithFlags,
    FAKE_cudaEventRecord,
    FAKE_cudaEventSynchronize,
    FAKE_cudaEventElapsedTime,
    FAKE_cudaStreamSynchronize,
    FAKE_cudaMemsetAsync,
    FAKE_cudaLaunchKernel,
    FAKE_cudaStreamBeginCapture,
    FAKE_cudaStreamEndCapture,
    FAKE_cudaGraphInstantiate,
    FAKE_cudaGraphUpload,
    FAKE_cudaGraphLaunch,
    FAKE_cudaGetDevice,
};

enum { MEASURING = sizeof measuring / sizeof *measuring };

static void fail_calls(cudaError_t code, bool for_ever, int begin, int end) {
    for (int i = begin; i < end && !quern_test_failed(); i++) {
        fault_run whole;
        const fault_run_desc d = failing(measuring[i], code, for_ever);
        fault_run_do(&whole, &d); /* nothing is planned yet */
        CHECK_SAY(whole.status == QUERN_OK && whole.step == 10, "%s", whole.sentence);
        const int64_t fired = fail_each(d, whole.train_loss);
        CHECK_SAY(fired > 1, "%s failed %d times", fake_call_name(d.call), (int)fired);
    }
}

/* In two parts: each is some hundred trainers. */
TEST_CASE(FakeTuning, any_call_may_be_refused_once) {
    fail_calls(cudaErrorInvalidValue, false, 0, MEASURING / 2);
}
TEST_CASE(FakeTuning, any_other_call_may_be_refused_once) {
    fail_calls(cudaErrorInvalidValue, false, MEASURING / 2, MEASURING);
}
TEST_CASE(FakeTuning, any_call_may_be_refused_for_ever) {
    fail_calls(cudaErrorInvalidValue, true, 0, MEASURING);
}
TEST_CASE(FakeTuning, any_call_may_lack_memory) {
    fail_calls(cudaErrorMemoryAllocation, true, 0, MEASURING);
}
TEST_CASE(FakeTuning, any_call_may_lose_the_device) {
    fail_calls(cudaErrorIllegalAddress, false, 0, MEASURING);
}
