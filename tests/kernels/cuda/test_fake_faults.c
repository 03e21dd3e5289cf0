/* The n-th call of CUDA, of cuBLASLt and of cuDNN fails while a trainer is made, trains, evaluates,
 * saves and is destroyed: a status, a sentence with everything in it, nothing left behind, and
 * after a lost device no call but teardown. */
#include "fault_run.h"
#include "quern_test.h"
#include "host/base/report.h"
#include "train/world.h"

#include <stdio.h>
#include <string.h>

static const fault_run_desc dense = {0}, images = {.images = true};

/* All up to some, then ever wider apart: some calls are made thousands of times. */
static int64_t next(int64_t n, int64_t all) { return n < all ? n + 1 : n + n / 3; }

/* These end in a status of their own, or in none: what they fail at is not needed. */
static bool may_go_unnoticed(fake_call call) {
    return call == FAKE_cudaGetLastError || call == FAKE_cudaSetDevice;
}

static bool is_destroying(fake_call call) {
    return call == FAKE_cudaFree || call == FAKE_cudaFreeHost || call == FAKE_cudaStreamDestroy ||
           call == FAKE_cudaEventDestroy || call == FAKE_cudaGraphDestroy ||
           call == FAKE_cudaGraphExecDestroy;
}

/* No row is needed where there is no memory for it. */
static bool is_of_recording(const fault_run_desc *d) {
    return d->fault.code == cudaErrorMemoryAllocation &&
           (d->call == FAKE_cudaGraphInstantiate || d->call == FAKE_cudaGraphUpload);
}

static bool was_logged(const fault_run *r, const char *word) {
    for (int i = 0; i < r->warning_count; i++)
        if (strstr(r->warnings[i], word) != NULL) return true;
    return false;
}

static void check_cuda(const fault_run_desc *d, const fault_run *r) {
    const char *name = fake_call_name(d->call);
    if (may_go_unnoticed(d->call)) return;
    /* a library launches too, and says so in its own words */
    const bool told =
        strstr(r->sentence, name) != NULL ||
        (d->call == FAKE_cudaLaunchKernel && strstr(r->sentence, "cublasLtMatmul failed") != NULL);
    const bool logged = was_logged(r, name);
    if (is_destroying(d->call)) /* what is destroyed in between may lose the device as well */
        CHECK_SAY((r->status == QUERN_OK || (r->status == QUERN_DEVICE_LOST && told)) && logged,
                  "%s: not logged: %s", name, r->sentence);
    else if (r->status == QUERN_OK) /* a wait behind which nothing is read, a row done without */
        CHECK_SAY((d->call == FAKE_cudaStreamSynchronize || is_of_recording(d)) && logged,
                  "%s: nobody was told", name);
    else
        CHECK_SAY(told, "%s is not in: %s", name, r->sentence);
}

static void say_where(const fault_run_desc *d) {
    if (quern_test_failed())
        CHECK_SAY(false, "in %s, call %d, code %d, %s, %s", fake_call_name(d->call),
                  (int)d->fault.at, (int)d->fault.code, d->fault.for_ever ? "for ever" : "once",
                  d->no_capture ? "eager" : "captured");
}

/* How many of them came to bear. */
static int64_t fail_each(fault_run_desc d) {
    int64_t fired = 0;
    for (d.fault.at = 1; !quern_test_failed(); d.fault.at = next(d.fault.at, 24)) {
        fault_run r;
        fault_run_do(&r, &d);
        if (!r.fired) {
            CHECK_SAY(r.status == QUERN_OK && r.step == 10, "%s", r.sentence);
            break;
        }
        check_cuda(&d, &r);
        say_where(&d);
        fired++;
    }
    return fired;
}

/* Asked only where there is no device, of the profiler (test_cuda_module), and by what tuning
 * measures, where it fails too (test_fake_tuning). */
static bool is_not_of_training(int call) {
    return call == FAKE_cudaDriverGetVersion || call == FAKE_cudaRuntimeGetVersion ||
           call == FAKE_cudaProfilerStart || call == FAKE_cudaProfilerStop ||
           call == FAKE_cudaEventElapsedTime;
}

static void fail_every_call(cudaError_t code, bool for_ever) {
    for (int call = 0; call < FAKE_CALL_COUNT; call++) {
        fault_run_desc d = dense;
        d.call = (fake_call)call;
        d.fault = (fake_fault){.code = code, .for_ever = for_ever};
        d.elsewhere = call == FAKE_cudaSetDevice;
        d.no_capture = call == FAKE_cudaMemsetAsync || call == FAKE_cudaLaunchKernel;
        const int64_t fired = fail_each(d);
        if (quern_test_failed()) return;
        CHECK_SAY((fired > 0) != is_not_of_training(call), "%s failed %d times",
                  fake_call_name(d.call), (int)fired);
    }
}

TEST_CASE(FakeFaults, any_call_may_lose_the_device_once) {
    fail_every_call(cudaErrorIllegalAddress, false);
}
TEST_CASE(FakeFaults, any_call_may_be_refused_once) {
    fail_every_call(cudaErrorInvalidValue, false);
}
TEST_CASE(FakeFaults, any_call_may_be_refused_for_ever) {
    fail_every_call(cudaErrorInvalidValue, true);
}

/* The first graph of cuDNN is planned with some 150 calls. */
static void fail_library(fake_library *library, bool no_loss, bool for_ever, bool no_capture) {
    const int64_t all = no_loss || no_capture ? 24 : 160;
    fault_run_desc d = images;
    d.library = library;
    d.no_loss = no_loss;
    d.fault.for_ever = for_ever;
    d.no_capture = no_capture;
    int64_t fired = 0;
    for (d.fault.at = 1; !quern_test_failed(); d.fault.at = next(d.fault.at, all), fired++) {
        fault_run r;
        fault_run_do(&r, &d);
        if (!r.fired) break;
        CHECK_SAY(r.status == QUERN_DEVICE_LOST || (no_loss && r.status != QUERN_OK) ||
                      strstr(r.sentence, "cannot be loaded: planned") != NULL,
                  "call %d of a library: %s", (int)d.fault.at, r.sentence);
        if (r.status == QUERN_DEVICE_LOST)
            CHECK_SAY(strstr(r.sentence, " on CUDA device 0 (Fake H200)") != NULL, "%s",
                      r.sentence);
    }
    /* the first ones each, and some of those behind */
    CHECK_SAY(fired > 26, "only %d calls failed", (int)fired);
}

/* The misuse that fault_run_do finds is any call that follows. */
TEST_CASE(FakeFaults, no_call_follows_a_device_lost_in_a_library) {
    for (int no_capture = 0; no_capture < 2; no_capture++) {
        fail_library(&fake_cublaslt.library, false, false, no_capture != 0);
        fail_library(&fake_cudnn.library, false, false, no_capture != 0);
    }
}

TEST_CASE(FakeFaults, memory_that_a_library_lacks_is_told) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        fail_library(&fake_cublaslt.library, true, for_ever != 0, false);
        fail_library(&fake_cudnn.library, true, for_ever != 0, false);
    }
}

static void fail_teardown(fault_run_desc d, const char *words) {
    fault_run r;
    fault_run_do(&r, &d);
    CHECK_STATUS(r.status, QUERN_OK);
    CHECK_SAY(r.fired && r.warning_count == 1, "call %d: %d warnings", (int)d.fault.at,
              r.warning_count);
    CHECK_SAY(was_logged(&r, words) && was_logged(&r, "on CUDA device 0 (Fake H200)"),
              "call %d: %s", (int)d.fault.at, r.warnings[0]);
}

/* The first, one in the middle, the last: the handle. */
TEST_CASE(FakeFaults, a_librarys_failing_teardown_is_logged) {
    const struct {
        fake_library *library;
        const char *any, *last;
    } cases[] = {
        {&fake_cublaslt.library, "cublasLtMat", "cublasLtDestroy failed with 14 "},
        {&fake_cudnn.library, "cudnnBackendDestroyDescriptor failed", "cudnnDestroy failed with "}};
    for (size_t i = 0; i < 2; i++) {
        fault_run r;
        fault_run_desc d = images;
        d.library = cases[i].library;
        d.teardown = true;
        fault_run_do(&r, &d); /* nothing is planned: to count them */
        const int64_t count = r.teardowns;
        CHECK_SAY(r.status == QUERN_OK && count > 10, "%d teardowns", (int)count);
        const int64_t at[] = {1, count / 2, count};
        for (int k = 0; k < 3 && !quern_test_failed(); k++) {
            d.fault.at = at[k];
            fail_teardown(d, k == 2 ? cases[i].last : cases[i].any);
        }
    }
}

typedef struct heard {
    int count;
    char sentence[512]; /* the last warning */
} heard;

static void hear(void *self, quern_log_level level, const char *sentence) {
    heard *h = self;
    if (level != QUERN_LOG_WARNING) return;
    h->count++;
    snprintf(h->sentence, sizeof h->sentence, "%s", sentence);
}

static void plan_wait(cudaError_t code) {
    fake.fault[FAKE_cudaStreamSynchronize] =
        (fake_fault){.at = fake.count[FAKE_cudaStreamSynchronize] + 1, .code = code};
}

typedef enum owner { OWNER_PROGRAM, OWNER_PARAMETERS, OWNER_TRAINER, OWNERS } owner;

/* Work is under way when its owner is destroyed, and the wait for it fails. */
static void destroy_failing(owner who, cudaError_t code, heard *h) {
    world w;
    quern_parameters *values = NULL;
    quern_program *program = NULL;
    quern_host host = quern_host_default();
    host.log = (quern_log_sink){hear, h};
    fake_begin();
    fake.schedule = FAKE_LATE;
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .host = host, .valid_length = -1}));
    w.desc.train = NULL;
    CHECK_OK(quern_parameters_create(&values, w.graph, NULL));
    CHECK_OK(quern_program_create(
        &program, &(quern_program_desc){.graph = w.graph, .parameters = values, .batch_size = 4}));
    CHECK_OK(quern_trainer_create(&w.trainer, &w.desc));
    CHECK_OK(quern_program_forward(program, 0));
    (void)quern_fail(QUERN_INVALID, "of before");
    h->count = 0;
    plan_wait(code);
    if (who == OWNER_TRAINER) {
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
    }
    if (who == OWNER_PARAMETERS) {
        quern_parameters_destroy(values);
        values = NULL;
    }
    quern_program_destroy(program);
    CHECK_SAY(h->count == 1, "%d warnings, the last: %s", h->count, h->sentence);
    CHECK_TEXT(quern_error(), "of before");
    quern_parameters_destroy(values);
    world_close(&w);
    CHECK_SAY(h->count == 1, "%d warnings at the end: %s", h->count, h->sentence);
    fake_begin();
}

TEST_CASE(FakeFaults, a_failure_that_a_destroy_meets_is_logged_once) {
    static const cudaError_t codes[] = {cudaErrorInvalidValue, cudaErrorIllegalAddress};
    for (int who = 0; who < OWNERS; who++)
        for (int i = 0; i < 2; i++) {
            heard h = {0};
            destroy_failing((owner)who, codes[i], &h);
            CHECK_HAS(h.sentence, "cudaStreamSynchronize failed with");
            CHECK_HAS(h.sentence, "on CUDA device 0 (Fake H200)");
        }
}

static quern_status step_of(world *w) {
    return quern_trainer_step(w->trainer, &(quern_batch){.sample_count = 4,
                                                         .field_count = 2,
                                                         .names = {"x", "label"},
                                                         .data = {w->train_x[0], w->train_label}});
}

/* Attempts are in flight when the trainer is destroyed, and the wait for them fails. */
TEST_CASE(FakeFaults, a_failure_of_attempts_in_flight_is_logged_once_by_a_destroy) {
    static const cudaError_t codes[] = {cudaErrorInvalidValue, cudaErrorIllegalAddress};
    for (int i = 0; i < 2; i++) {
        world w;
        heard h = {0};
        quern_host host = quern_host_default();
        host.log = (quern_log_sink){hear, &h};
        fake_begin();
        fake.schedule = FAKE_LATE;
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .host = host, .valid_length = -1}));
        w.desc.train = NULL;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        for (int step = 0; step < 3; step++) CHECK_OK(step_of(&w));
        (void)quern_fail(QUERN_INVALID, "of before");
        h.count = 0;
        fake.fault[FAKE_cudaEventSynchronize] =
            (fake_fault){.at = fake.count[FAKE_cudaEventSynchronize] + 1, .code = codes[i]};
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        CHECK_SAY(h.count == 1, "%d warnings, the last: %s", h.count, h.sentence);
        CHECK_HAS(h.sentence, "cudaEventSynchronize failed with");
        CHECK_TEXT(quern_error(), "of before");
        world_close(&w);
        CHECK_SAY(h.count == 1, "%d warnings at the end: %s", h.count, h.sentence);
        fake_begin();
    }
}

/* Call, code, op, step, device: one kind of call a row. */
static const struct {
    fault_run_desc run; /* from where the fit begins */
    quern_status status;
    const char *words[4];
} sentences[] = {
    {{.call = FAKE_cudaGraphLaunch, .fault = {.at = 1, .code = cudaErrorIllegalAddress}},
     QUERN_DEVICE_LOST,
     {"attempt 0, behind step 0: cudaGraphLaunch failed with 700 (cudaErrorIllegalAddress",
      "in a recorded step, stream quern,"}},
    {{.call = FAKE_cudaGraphLaunch, .fault = {.at = 4, .code = cudaErrorInvalidValue}},
     QUERN_INTERNAL,
     {"cudaGraphLaunch failed with 1 (cudaErrorInvalidValue", "in a recorded step, stream quern,"}},
    {{.call = FAKE_cudaGraphLaunch, .fault = {.at = 1, .code = cudaErrorMemoryAllocation}},
     QUERN_DEVICE_MEMORY,
     {"attempt 0, behind step 0: the trainer holds ", " bytes with a batch of 4 (parameters ",
      "are free: cudaGraphLaunch failed with 2 (cudaErrorMemoryAllocation"}},
    {{.library = &fake_cublaslt.library,
      .images = true,
      .no_capture = true,
      .no_loss = true,
      .fault = {.at = 1}},
     QUERN_DEVICE_MEMORY,
     {"attempt 0, behind step 0: the trainer holds ", "(parameters ", "cublasLtMatmul",
      "failed with 3 ("}},
    {{.call = FAKE_cudaMemcpyAsync, .fault = {.at = 2, .code = cudaErrorInvalidValue}},
     QUERN_INTERNAL,
     {"attempt 0, behind step 0: input label: cudaMemcpyAsync failed with 1 (cuda",
      "in a copy of 16 bytes, stream quern-copy,"}},
    {{.call = FAKE_cudaEventRecord, .fault = {.at = 1, .code = cudaErrorIllegalAddress}},
     QUERN_DEVICE_LOST,
     {"attempt ", "cudaEventRecord failed with 700 (", "in recording an event, stream quern"}},
    {{.call = FAKE_cudaStreamWaitEvent, .fault = {.at = 1, .code = cudaErrorNotSupported}},
     QUERN_UNSUPPORTED,
     {"attempt ", "cudaStreamWaitEvent failed with 801 (cudaErrorNotSupported",
      "in waiting for an event, stream quern"}},
    {{.call = FAKE_cudaEventSynchronize, .fault = {.at = 1, .code = cudaErrorIllegalAddress}},
     QUERN_DEVICE_LOST,
     {"attempt ", "cudaEventSynchronize failed with 700 (", "in or before a recorded step",
      "stream quern,"}},
    {{.call = FAKE_cudaStreamSynchronize, .fault = {.at = 3, .code = cudaErrorIllegalAddress}},
     QUERN_DEVICE_LOST,
     {"saving step 2: ", "cudaStreamSynchronize failed with 700 (", "in or before a recorded step",
      "stream quern,"}},
    {{.call = FAKE_cudaLaunchKernel,
      .fault = {.at = 1, .code = cudaErrorInvalidValue},
      .no_capture = true},
     QUERN_INTERNAL,
     {"attempt 0, behind step 0: cudaLaunchKernel failed with 1 (", "in the task open"}},
    {{.call = FAKE_cudaMemsetAsync,
      .fault = {.at = 3, .code = cudaErrorIllegalAddress},
      .no_capture = true},
     QUERN_DEVICE_LOST,
     {"log of step ", "cudaMemsetAsync failed with 700 (", "in a fill of "}},
    {{.library = &fake_cublaslt.library, .images = true, .no_capture = true, .fault = {.at = 1}},
     QUERN_DEVICE_LOST,
     {"attempt 0, behind step 0: dense1.linear (linear): cublasLtMatmul", "failed with 13 (",
      "in linear: product F32"}},
    {{.library = &fake_cudnn.library, .images = true, .no_capture = true, .fault = {.at = 5}},
     QUERN_DEVICE_LOST,
     {"attempt 0, behind step 0: conv1.conv2d (conv2d): cudnn",
      "failed with 5000 (CUDNN_STATUS_EXECUTION_FAILED: the double's words)", "in conv2d"}},
};

TEST_CASE(FakeFaults, each_kind_of_call_says_call_code_op_step_and_device) {
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        fault_run r;
        fault_run_desc d = sentences[i].run;
        d.from_fit = true;
        fault_run_do(&r, &d);
        CHECK_STATUS(r.status, sentences[i].status);
        for (int k = 0; k < 4 && sentences[i].words[k] != NULL; k++)
            CHECK_HAS(r.sentence, sentences[i].words[k]);
        CHECK_HAS(r.sentence, "step ");
        CHECK_HAS(r.sentence, "on CUDA device 0 (Fake H200)");
    }
}

/* Whatever is launched in a fit: in a window, behind it, in an evaluation. */
TEST_CASE(FakeFaults, memory_that_a_launch_lacks_is_told_with_the_plan) {
    int64_t in_evaluation = 0;
    for (int eager = 0; eager < 2; eager++) {
        fault_run_desc d = dense;
        d.from_fit = true;
        d.no_capture = eager != 0;
        d.call = eager ? FAKE_cudaLaunchKernel : FAKE_cudaGraphLaunch;
        d.fault.code = cudaErrorMemoryAllocation;
        for (d.fault.at = 1; !quern_test_failed(); d.fault.at = next(d.fault.at, 12)) {
            fault_run r;
            fault_run_do(&r, &d);
            if (!r.fired) break;
            if (strstr(r.sentence, "cublasLtMatmul failed") != NULL)
                continue; /* in its own words */
            CHECK_STATUS(r.status, QUERN_DEVICE_MEMORY);
            CHECK_HAS(r.sentence, "the trainer holds ");
            CHECK_HAS(r.sentence, " bytes with a batch of 4 (parameters ");
            CHECK_HAS(r.sentence, " on CUDA device 0 (Fake H200)");
            in_evaluation += strncmp(r.sentence, "evaluation behind step ", 23) == 0;
            say_where(&d);
        }
    }
    CHECK_SAY(in_evaluation > 2, "%d in an evaluation", (int)in_evaluation);
}
