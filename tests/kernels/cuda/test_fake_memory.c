/* A device with little memory: what does not fit is refused before it is taken, with the plan and
 * the largest batch that fits, and that batch fits. A device that is lost says where. */
#include "quern_test.h"

#include "fake_device.h"
#include "fake_parts.h"
#include "train/world.h"

#include <stdio.h>
#include <string.h>

enum { FULL = 48 };

static quern_status create(int64_t batch_size, quern_memory *plan) {
    world w;
    CHECK_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 58, .valid_length = -1}));
    w.desc.batch_size = batch_size;
    w.desc.resident = QUERN_RESIDENT_OFF; /* else it gives way */
    if (plan != NULL) CHECK_OK(quern_trainer_memory(plan, &w.desc));
    const quern_status status = quern_trainer_create(&w.trainer, &w.desc);
    if (status == QUERN_OK) CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", quern_error());
    world_close(&w);
    return status == QUERN_OK ? status : quern_fail(status, "%s", sentence);
}

TEST_CASE(FakeMemory, what_does_not_fit_is_refused_before_it_is_taken) {
    quern_memory plan;
    REQUIRE_OK(create(FULL, &plan));
    const size_t whole = fake.memory_bytes;
    fake.memory_bytes = fake_memory_used() + plan.peak_bytes - 1;
    CHECK_STATUS(create(FULL, NULL), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("the trainer needs");
    CHECK_ERROR_HAS("bytes more are needed");
    CHECK_ERROR_HAS("are free on Fake H200");
    const char *advice = strstr(quern_error(), "; a batch of ");
    int fits = 0;
    REQUIRE(advice != NULL && sscanf(advice, "; a batch of %d would fit", &fits) == 1);
    CHECK(fits > 1 && fits < FULL);
    CHECK_OK(create(fits, NULL));
    CHECK_STATUS(create(fits + 1, NULL), QUERN_DEVICE_MEMORY);
    fake.memory_bytes = fake_memory_used() + plan.parameter_bytes / 2;
    CHECK_STATUS(create(FULL, NULL), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("no batch size fits");
    fake.memory_bytes = whole;
    CHECK_OK(create(FULL, NULL));
}

/* Each kind of run, with just the planned bytes free, and with one less. */
static quern_status create_like(const quern_trainer_desc *change, quern_memory *plan) {
    world w;
    CHECK_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 58}));
    w.desc.batch_size = FULL;
    w.desc.resident = change->resident;
    w.desc.accumulate = change->accumulate;
    w.desc.precision = change->precision;
    w.desc.average_decay = change->average_decay;
    CHECK_OK(quern_trainer_memory(plan, &w.desc));
    const quern_status status = quern_trainer_create(&w.trainer, &w.desc);
    if (status == QUERN_OK) CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", quern_error());
    world_close(&w);
    return status == QUERN_OK ? status : quern_fail(status, "%s", sentence);
}

TEST_CASE(FakeMemory, the_plan_is_what_a_run_takes_to_the_byte) {
    static const quern_trainer_desc runs[] = {
        {.resident = QUERN_RESIDENT_OFF},
        {.resident = QUERN_RESIDENT_ON},
        {.resident = QUERN_RESIDENT_OFF, .accumulate = 2},
        {.resident = QUERN_RESIDENT_OFF, .average_decay = 0.9},
        {.resident = QUERN_RESIDENT_OFF, .precision = QUERN_PRECISION_BF16},
        {.resident = QUERN_RESIDENT_ON, .precision = QUERN_PRECISION_F16, .average_decay = 0.9},
    };
    const size_t whole = fake.memory_bytes;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        quern_memory plan, again;
        REQUIRE_OK(create_like(&runs[i], &plan));
        CHECK(plan.workspace_bytes > 0 && plan.workspace_bytes <= plan.activation_bytes);
        fake.memory_bytes = fake_memory_used() + plan.peak_bytes;
        CHECK_SAY(create_like(&runs[i], &again) == QUERN_OK, "run %d: %s", (int)i, quern_error());
        fake.memory_bytes--;
        CHECK_STATUS(create_like(&runs[i], &again), QUERN_DEVICE_MEMORY);
        CHECK_ERROR_HAS("bytes more are needed"); /* said beforehand, not by the device */
        CHECK_ERROR_HAS("workspace of up to");
        fake.memory_bytes = whole;
    }
}

/* AUTO leaves what is not allocated yet, the average's copies too: half of the rest is room. */
TEST_CASE(FakeMemory, a_set_gives_way_to_an_average_and_its_copies) {
    static const quern_trainer_desc on = {
        .resident = QUERN_RESIDENT_ON, .precision = QUERN_PRECISION_BF16, .average_decay = 0.9};
    const size_t whole = fake.memory_bytes;
    quern_memory all, found;
    world w;
    REQUIRE_OK(create_like(&on, &all));
    const size_t rest = all.peak_bytes - all.data_bytes;
    for (int enough = 0; enough < 2; enough++) {
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 58}));
        w.desc.batch_size = FULL;
        w.desc.precision = on.precision;
        w.desc.average_decay = on.average_decay;
        fake.memory_bytes = fake_memory_used() + rest + 2 * all.data_bytes - (size_t)!enough;
        CHECK_OK(quern_trainer_memory(&found, &w.desc));
        CHECK((found.data_bytes == all.data_bytes) == (enough != 0));
        CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
        world_close(&w);
        fake.memory_bytes = whole;
    }
}

static void find_recorded(void *self, quern_log_level level, const char *sentence) {
    const char *at = strstr(sentence, "the recorded steps take ");
    if (level == QUERN_LOG_INFO && at != NULL)
        (void)sscanf(at, "the recorded steps take %lld", (long long *)self);
}

TEST_CASE(FakeMemory, what_recorded_steps_take_is_told) {
    for (int taking = 0; taking < 2; taking++) {
        world w;
        long long told = 0;
        quern_host host = quern_host_default();
        host.log = (quern_log_sink){find_recorded, &told};
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .host = host}));
        const int64_t before = fake.count[FAKE_cudaGraphInstantiate];
        fake.graph_bytes = taking ? 1000 : 0;
        CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
        const int64_t recorded = fake.count[FAKE_cudaGraphInstantiate] - before;
        CHECK(recorded > 0 && told == (taking ? 1000 * recorded : 0));
        fake.graph_bytes = 0;
        world_close(&w);
    }
}

/* A set that is longer than any batch so far, evaluated by the caller. */
TEST_CASE(FakeMemory, a_batch_size_that_comes_later_and_does_not_fit_is_refused_with_its_plan) {
    world w;
    quern_scalar scalars[4];
    int32_t count;
    int fits = 0;
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 4, .valid_length = 58}));
    w.desc.batch_size = 58; /* which the training set, of one batch of 4, does not come to */
    w.desc.valid = NULL;
    w.desc.resident = QUERN_RESIDENT_OFF;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    const size_t whole = fake.memory_bytes;
    fake.memory_bytes = fake_memory_used() + 64;
    CHECK_STATUS(quern_trainer_evaluate(w.trainer, w.valid, scalars, 4, &count),
                 QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("a program for a batch of 58 needs ");
    CHECK_ERROR_HAS(" (parameters ");
    CHECK_ERROR_HAS("(cudaMalloc)");
    const char *advice = strstr(quern_error(), "; a batch of ");
    CHECK_SAY(advice != NULL && sscanf(advice, "; a batch of %d would fit", &fits) == 1 &&
                  fits >= 4 && fits < 58,
              "%s", quern_error());
    fake.memory_bytes = whole;
    CHECK_OK(quern_trainer_evaluate(w.trainer, w.valid, scalars, 4, &count));
    world_close(&w);
}

/* Every further call but teardown is a misuse that ends the executable with a failure. */
TEST_CASE(FakeMemory, a_lost_device_is_said_with_call_code_op_step_and_device) {
    static const struct {
        fake_call call;
        int64_t at; /* from where the fit begins */
        const char *what;
    } faults[] = {{FAKE_cudaGraphLaunch, 3, "cudaGraphLaunch failed with 700"},
                  {FAKE_cudaEventSynchronize, 2, "cudaEventSynchronize failed with 700"}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        world w;
        quern_result r;
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 40}));
        w.desc.epoch_count = 2;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        fake.fault[faults[i].call] = (fake_fault){.at = fake.count[faults[i].call] + faults[i].at,
                                                  .code = cudaErrorIllegalAddress};
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_DEVICE_LOST);
        CHECK_ERROR_HAS(faults[i].what);
        CHECK_ERROR_HAS("cudaErrorIllegalAddress");
        CHECK_ERROR_HAS("attempt ");
        CHECK_ERROR_HAS("behind step ");
        CHECK_ERROR_HAS("on CUDA device 0 (Fake H200)");
        CHECK(quern_status_exit_code(QUERN_DEVICE_LOST) == 7);
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_DEVICE_LOST);
        world_close(&w);
        CHECK_TEXT(fake.misuse, "");
        CHECK(fake_live() == 0);
        fake_begin();
        fake.schedule = FAKE_LATE;
    }
}

typedef struct rows_run {
    float weights[256];
    int32_t steps;
    int64_t recorded, warnings;
} rows_run;

static void count_warning(void *self, quern_log_level level, const char *sentence) {
    rows_run *r = self;
    r->warnings +=
        level == QUERN_LOG_WARNING && strstr(sentence, "launched at once, not 8") != NULL;
}

/* The n-th recording finds no memory, nor does any after it; 0: all do. */
static void rows_train(int64_t n, rows_run *out) {
    world w;
    quern_host host = quern_host_default();
    *out = (rows_run){0};
    host.log = (quern_log_sink){count_warning, out};
    REQUIRE_OK(world_open(
        &w, &(world_desc){.cuda = true, .train_length = 58, .valid_length = -1, .host = host}));
    w.desc.epoch_count = 2;
    w.desc.accumulate = 2;
    w.desc.resident = QUERN_RESIDENT_ON;
    w.desc.steps_per_launch = 8;
    const int64_t before = fake.count[FAKE_cudaGraphInstantiate];
    fake.fault[FAKE_cudaGraphInstantiate] = (fake_fault){
        .at = n > 0 ? before + n : 0, .code = cudaErrorMemoryAllocation, .for_ever = true};
    CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
    fake.fault[FAKE_cudaGraphInstantiate] = (fake_fault){0};
    out->recorded = fake.count[FAKE_cudaGraphInstantiate] - before;
    out->steps = quern_trainer_resolved(w.trainer)->steps_per_launch;
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(world_weights(&w, out->weights, 256) > 50);
    world_close(&w);
}

/* Rows of 1, 2, 4 and 8 windows are the last that are recorded, and nothing needs them. */
TEST_CASE(FakeMemory, without_memory_for_rows_a_run_has_shorter_ones_or_none) {
    static const int32_t steps[] = {1, 1, 2, 4};
    rows_run all, some;
    rows_train(0, &all);
    CHECK(all.steps == 8 && all.warnings == 0);
    for (int i = 0; i < 4; i++) {
        rows_train(all.recorded - 3 + i, &some);
        CHECK_SAY(some.steps == steps[i] && some.warnings == 1, "%d steps", (int)some.steps);
        CHECK(memcmp(some.weights, all.weights, sizeof all.weights) == 0);
    }
}
