/* The n-th call of every function of the driver's table fails, once and for ever, with each kind
 * of code: always a status and a sentence, nothing leaks, and after an error that only a new
 * process gets rid of, nothing but teardown is called. */
#include "quern_test.h"

#include "fake_core.h"
#include "kernels/cuda/cuda.h"
#include "support/fault_host.h"

#include <stdio.h>
#include <string.h>

static void nothing(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes, (void)arguments;
}
static const fake_kernel kernel = {FAKE_KERNEL_MAGIC, "nothing", 0, {0}, nothing};

static quern_status launch(const quern_kernel_args *args) {
    return CUDA_CALL(
        args->stream, cudaLaunchKernel,
        (&kernel, (dim3){1, 1, 1}, (dim3){32, 1, 1}, NULL, 0, cuda_stream_handle(args->stream)));
}

typedef struct world {
    backend_device *device;
    quern_stream *compute, *copy;
    backend_event *event;
    backend_capture *capture;
    void *memory, *pinned;
} world;

#define TRY(expression)                                                                            \
    do {                                                                                           \
        const quern_status status_ = (expression);                                                 \
        if (status_ != QUERN_OK) return status_;                                                   \
    } while (0)

static quern_status world_begin(world *w, const quern_backend *cuda, const quern_host *host) {
    const backend_open_desc desc = {.host = host};
    *w = (world){0};
    TRY(cuda->open(&w->device, &desc));
    quern_device_info info;
    TRY(cuda->info(w->device, &info));
    TRY(cuda->stream_create(w->device, &w->compute, "compute"));
    TRY(cuda->stream_create(w->device, &w->copy, "copy"));
    TRY(cuda->event_create(w->device, &w->event));
    TRY(cuda->allocate(w->device, &w->memory, 4096));
    return cuda->allocate_pinned(w->device, &w->pinned, 4096);
}

static quern_status issue(world *w, const quern_backend *cuda, quern_stream *s) {
    const quern_kernel_args args = {.stream = s};
    TRY(cuda->call(s, launch, &args));
    TRY(cuda->copy(s, w->memory, w->pinned, 4096));
    return cuda->fill(s, w->memory, 0, 4096);
}

static quern_status world_run(world *w, const quern_backend *cuda) {
    bool done;
    TRY(cuda->capture_begin(w->compute));
    const quern_status issued = issue(w, cuda, w->compute);
    const quern_status ended = cuda->capture_end(w->compute, &w->capture);
    if (ended != QUERN_OK) return ended;
    TRY(issued);
    for (int i = 0; i < 2; i++) {
        TRY(cuda->capture_launch(w->capture, w->compute));
        TRY(issue(w, cuda, w->copy));
        TRY(cuda->event_record(w->event, w->copy));
        TRY(cuda->stream_wait_event(w->compute, w->event));
        TRY(cuda->event_query(w->event, &done));
        TRY(cuda->event_wait(w->event));
        TRY(cuda->stream_wait(w->compute));
    }
    return cuda->stream_wait(w->copy);
}

static void world_end(world *w, const quern_backend *cuda) {
    if (w->device == NULL) return;
    cuda->capture_destroy(w->capture);
    cuda->event_destroy(w->event);
    cuda->stream_destroy(w->compute);
    cuda->stream_destroy(w->copy);
    cuda->release(w->device, w->memory, 4096);
    cuda->release_pinned(w->device, w->pinned, 4096);
    cuda->close(w->device);
}

static quern_status run_all(const quern_backend *cuda, const quern_host *host) {
    world w;
    quern_status status = world_begin(&w, cuda, host);
    if (status == QUERN_OK) status = world_run(&w, cuda);
    char kept[1024];
    snprintf(kept, sizeof kept, "%s", quern_error());
    world_end(&w, cuda);
    CHECK_TEXT(quern_error(), kept); /* teardown says nothing */
    return status;
}

typedef struct fault_code {
    cudaError_t code;
    quern_status status;
    const char *word;
} fault_code;

/* These end in a status of their own, or in none: what they fail at is not needed. */
static bool may_go_unnoticed(fake_call call) {
    return call == FAKE_cudaGetLastError || call == FAKE_cudaDriverGetVersion ||
           call == FAKE_cudaRuntimeGetVersion || call == FAKE_cudaSetDevice;
}

static bool is_destroying(fake_call call) {
    return call == FAKE_cudaFree || call == FAKE_cudaFreeHost || call == FAKE_cudaStreamDestroy ||
           call == FAKE_cudaEventDestroy || call == FAKE_cudaGraphDestroy ||
           call == FAKE_cudaGraphExecDestroy;
}

static void check_outcome(fake_call call, const fault_code *c, quern_status status) {
    if (may_go_unnoticed(call) || is_destroying(call)) return;
    if (call == FAKE_cudaGetDeviceCount) {
        CHECK_STATUS(status, QUERN_NO_DEVICE);
    } else if (call == FAKE_cudaHostAlloc && c->status == QUERN_DEVICE_MEMORY) {
        CHECK(status == QUERN_HOST_MEMORY || status == QUERN_DEVICE_MEMORY);
    } else if (status == QUERN_OK) { /* the one synchronisation whose answer nobody is left for */
        CHECK_SAY(call == FAKE_cudaStreamSynchronize, "%s failed and nobody was told",
                  fake_call_name(call));
        return;
    } else {
        CHECK_STATUS(status, c->status);
    }
    if (!quern_test_failed() && call != FAKE_cudaGetDeviceCount && c->status != QUERN_DEVICE_MEMORY)
        CHECK_ERROR_HAS(c->word);
    CHECK_ERROR_HAS(fake_call_name(call));
    CHECK_SAY(strstr(quern_error(), "CUDA device 0") != NULL || call == FAKE_cudaGetDeviceCount,
              "no device in: %s", quern_error());
}

/* Returns whether the plan came to bear. */
static bool run_with_fault(fake_call call, const fault_code *c, int64_t n, bool for_ever,
                           fake_schedule schedule) {
    fault_host faults;
    fake_begin();
    fault_host_begin(&faults, NULL);
    fake.schedule = schedule;
    fake.fault[call] = (fake_fault){n, c->code, for_ever};
    const quern_status status = run_all(fake_core_open(), &faults.host);
    CHECK_SAY(fault_host_live(&faults) == 0 && fake_live() == 0, "%s %d: leaked",
              fake_call_name(call), (int)n);
    CHECK_SAY(fake.misuse[0] == 0, "%s %d, code %d: %s", fake_call_name(call), (int)n, (int)c->code,
              fake.misuse);
    if (!fake_fired()) {
        CHECK_STATUS(status, QUERN_OK);
        return false;
    }
    check_outcome(call, c, status);
    if (quern_test_failed())
        CHECK_SAY(false, "in %s call %d, code %d, %s, schedule %d", fake_call_name(call), (int)n,
                  (int)c->code, for_ever ? "for ever" : "once", (int)schedule);
    return true;
}

static const fault_code codes[] = {
    {cudaErrorMemoryAllocation, QUERN_DEVICE_MEMORY, "2"},
    {cudaErrorIllegalAddress, QUERN_DEVICE_LOST, "700 (cudaErrorIllegalAddress"},
    {cudaErrorInvalidValue, QUERN_INTERNAL, "1 (cudaErrorInvalidValue"},
    {cudaErrorNotSupported, QUERN_UNSUPPORTED, "801 (cudaErrorNotSupported"},
    {cudaErrorUnknown, QUERN_DEVICE_LOST, "999"},
};

TEST_CASE(CudaFaults, every_call_that_fails_is_reported_and_leaks_nothing) {
    int64_t fired = 0;
    for (int call = 0; call < FAKE_CALL_COUNT; call++)
        for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++)
            for (int variant = 0; variant < 4; variant++)
                for (int64_t n = 1; n < 200; n++) {
                    const bool more =
                        run_with_fault((fake_call)call, &codes[c], n, variant % 2 == 1,
                                       variant < 2 ? FAKE_AT_ONCE : FAKE_LATE);
                    if (quern_test_failed()) return;
                    if (!more) break;
                    fired++;
                }
    CHECK_SAY(fired > 1000, "only %d faults came to bear", (int)fired);
    fake_begin();
}

/* A sticky error: the device is lost, and says for ever by what. */
TEST_CASE(CudaFaults, a_lost_device_stays_lost_and_keeps_its_sentence) {
    const quern_backend *cuda = fake_core_open();
    const quern_host host = quern_host_default();
    world w;
    fake_begin();
    REQUIRE_OK(world_begin(&w, cuda, &host));
    REQUIRE_OK(world_run(&w, cuda));
    fake.fault[FAKE_cudaStreamSynchronize] =
        (fake_fault){fake.count[FAKE_cudaStreamSynchronize] + 1, cudaErrorIllegalAddress, false};
    REQUIRE_OK(issue(&w, cuda, w.compute));
    CHECK_STATUS(cuda->stream_wait(w.compute), QUERN_DEVICE_LOST);
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", quern_error());
    CHECK_HAS(sentence, "cudaStreamSynchronize failed with 700 (cudaErrorIllegalAddress");
    CHECK_HAS(sentence, "an op of the application");
    CHECK_HAS(sentence, "CUDA device 0 (Fake H200)");
    int64_t calls = 0;
    for (int i = 0; i < FAKE_CALL_COUNT; i++) calls += fake.count[i];
    const quern_kernel_args args = {.stream = w.copy};
    void *p;
    quern_device_info info;
    const quern_status later[] = {
        cuda->call(w.copy, launch, &args),
        cuda->copy(w.copy, w.memory, w.pinned, 10),
        cuda->fill(w.copy, w.memory, 0, 10),
        cuda->stream_wait(w.copy),
        cuda->stream_status(w.copy),
        cuda->event_record(w.event, w.copy),
        cuda->event_wait(w.event),
        cuda->stream_wait_event(w.copy, w.event),
        cuda->capture_launch(w.capture, w.copy),
        cuda->capture_begin(w.copy),
        cuda->allocate(w.device, &p, 10),
        cuda->allocate_pinned(w.device, &p, 10),
        cuda->info(w.device, &info),
    };
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        CHECK_SAY(later[i] == QUERN_DEVICE_LOST, "call %d after the loss: status %d", (int)i,
                  (int)later[i]);
    CHECK_TEXT(quern_error(), sentence);
    int64_t calls_after = 0;
    for (int i = 0; i < FAKE_CALL_COUNT; i++) calls_after += fake.count[i];
    CHECK(calls_after == calls); /* CUDA was not asked again */
    world_end(&w, cuda);
    CHECK(fake_live() == 0);
    CHECK_TEXT(fake.misuse, "");
}

TEST_CASE(CudaFaults, every_failing_host_allocation_is_reported_and_leaks_nothing) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        for (int64_t n = 1;; n++) {
            fault_host faults;
            fake_begin();
            fault_host_begin(&faults, NULL);
            faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever};
            const quern_status status = run_all(fake_core_open(), &faults.host);
            REQUIRE(fault_host_live(&faults) == 0 && fake_live() == 0);
            CHECK_TEXT(fake.misuse, "");
            if (!fault_host_fired(&faults, FAULT_ALLOCATE)) {
                CHECK_STATUS(status, QUERN_OK);
                CHECK(n == 6); /* device, two streams, event, capture */
                break;
            }
            CHECK_STATUS(status, QUERN_HOST_MEMORY);
        }
    }
}

TEST_CASE(CudaFaults, nothing_is_allocated_once_everything_is_created) {
    const quern_backend *cuda = fake_core_open();
    fault_host faults;
    world w;
    fake_begin();
    fault_host_begin(&faults, NULL);
    REQUIRE_OK(world_begin(&w, cuda, &faults.host));
    REQUIRE_OK(world_run(&w, cuda));
    const int64_t host = atomic_load(&faults.count[FAULT_ALLOCATE]);
    const int64_t device = fake.count[FAKE_cudaMalloc], pinned = fake.count[FAKE_cudaHostAlloc];
    for (int i = 0; i < 50; i++) {
        REQUIRE_OK(cuda->capture_launch(w.capture, w.compute));
        REQUIRE_OK(issue(&w, cuda, w.copy));
        REQUIRE_OK(cuda->event_record(w.event, w.copy));
        REQUIRE_OK(cuda->stream_wait_event(w.compute, w.event));
        REQUIRE_OK(cuda->event_wait(w.event));
    }
    CHECK(atomic_load(&faults.count[FAULT_ALLOCATE]) == host);
    CHECK(fake.count[FAKE_cudaMalloc] == device && fake.count[FAKE_cudaHostAlloc] == pinned);
    world_end(&w, cuda);
    CHECK(fault_host_live(&faults) == 0);
}
