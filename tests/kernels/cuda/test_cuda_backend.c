/* The CUDA backend through its table, on the fake device: what it says of itself, the order of
 * what is issued, captures, and what is refused. */
#include "quern_test.h"

#include "fake_core.h"
#include "kernels/cuda/cuda.h"
#include "support/fault_host.h"

#include <string.h>

typedef struct fixture {
    const quern_backend *cuda;
    fault_host faults;
    backend_device *device;
    quern_stream *a, *b;
} fixture;

static bool fixture_begin(fixture *f, fake_schedule schedule) {
    *f = (fixture){.cuda = fake_core_open()};
    fake_begin();
    fake.schedule = schedule;
    fake.seed = 7;
    fault_host_begin(&f->faults, NULL);
    const backend_open_desc desc = {.host = &f->faults.host};
    return f->cuda->open(&f->device, &desc) == QUERN_OK &&
           f->cuda->stream_create(f->device, &f->a, "compute") == QUERN_OK &&
           f->cuda->stream_create(f->device, &f->b, "copy") == QUERN_OK;
}

static void fixture_end(fixture *f) {
    f->cuda->stream_destroy(f->a);
    f->cuda->stream_destroy(f->b);
    f->cuda->close(f->device);
    CHECK(fault_host_live(&f->faults) == 0);
    CHECK(fake_live() == 0);
    CHECK_TEXT(fake.misuse, "");
}

/* A test on every schedule: what holds only when work runs at once is not ordered. */
#define EACH_SCHEDULE(f)                                                                           \
    for (int schedule = 0; schedule <= FAKE_MIXED && fixture_begin(&(f), (fake_schedule)schedule); \
         schedule++, fixture_end(&(f)))

TEST_CASE(CudaBackend, a_device_describes_itself) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    quern_device_info info;
    REQUIRE_OK(f.cuda->info(f.device, &info));
    CHECK(info.kind == QUERN_DEVICE_CUDA && info.index == 0 && info.capability == 90);
    CHECK(info.thread_count == 132);
    CHECK_TEXT(info.name, "Fake H200");
    CHECK_TEXT(info.uuid, "GPU-00112233-4455-6677-8899-aabbccddeeff");
    CHECK_TEXT(info.pci, "00000000:3b:00.0");
    CHECK(info.memory_bytes == 1 << 30 && info.memory_free_bytes == info.memory_bytes);
    void *p;
    REQUIRE_OK(f.cuda->allocate(f.device, &p, 4096));
    CHECK((uintptr_t)p % 64 == 0);
    REQUIRE_OK(f.cuda->info(f.device, &info));
    CHECK(info.memory_free_bytes == info.memory_bytes - 4096);
    f.cuda->release(f.device, p, 4096);
    fixture_end(&f);
}

static void check_refused(quern_status status, const char *words, int index) {
    const quern_backend *cuda = fake_core_open();
    const quern_host host = quern_host_default();
    backend_device *device = (backend_device *)(uintptr_t)&host;
    const backend_open_desc desc = {.index = index, .host = &host};
    CHECK_STATUS(cuda->open(&device, &desc), status);
    CHECK_ERROR_HAS(words);
    CHECK(device == NULL);
    CHECK(fake_live() == 0);
}

TEST_CASE(CudaBackend, what_cannot_be_used_is_refused_with_its_reason) {
    char reason[300] = "";
    fake_begin();
    fake.driver_version = 0;
    check_refused(QUERN_NO_DEVICE, "no NVIDIA driver was found", 0);
    CHECK(fake_core_open()->count(reason, sizeof reason) == 0);
    CHECK_HAS(reason, "libcuda.so.1");
    fake.driver_version = 12040;
    check_refused(QUERN_NO_DEVICE, "supports CUDA 12.4", 0);
    CHECK_ERROR_HAS("this module needs 13.0 (release 580 or newer)");
    fake_begin();
    fake.device_count = 0;
    check_refused(QUERN_NO_DEVICE, "shows no GPU", 0);
    fake_begin();
    fake.device_count = 2;
    CHECK(fake_core_open()->count(NULL, 0) == 2);
    check_refused(QUERN_NO_DEVICE, "CUDA device 2 was asked for; there are 2, from index 0", 2);
    fake.capability = 75;
    check_refused(QUERN_UNSUPPORTED, "(Fake H200) has compute capability 7.5", 1);
    CHECK_ERROR_HAS("CUDA device 1");
    fake_begin();
    fake.fault[FAKE_cudaGetDeviceCount] = (fake_fault){1, cudaErrorSystemDriverMismatch, false};
    check_refused(QUERN_NO_DEVICE, "cudaGetDeviceCount failed with 803", 0);
}

TEST_CASE(CudaBackend, another_core_is_refused_and_both_versions_named) {
    CHECK(quern_cuda_open(MODULE_ABI + 1, module_op_table_hash(), fake_core_services()) == NULL);
    CHECK_ERROR_HAS("the library has abi");
    CHECK(quern_cuda_open(MODULE_ABI, 77, fake_core_services()) == NULL);
    CHECK_ERROR_HAS("op table 000000000000004d");
}

TEST_CASE(CudaBackend, the_applications_own_device_stays_current) {
    const quern_backend *cuda = fake_core_open();
    const quern_host host = quern_host_default();
    int current = -1;
    fake_begin();
    fake.device_count = 2;
    CHECK(cuda_driver.cudaSetDevice(1) == cudaSuccess);
    backend_device *device;
    REQUIRE_OK(cuda->open(&device, &(backend_open_desc){.index = 0, .host = &host}));
    quern_stream *s;
    void *p;
    REQUIRE_OK(cuda->stream_create(device, &s, "compute"));
    REQUIRE_OK(cuda->allocate(device, &p, 100));
    REQUIRE_OK(cuda->fill(s, p, 0, 100));
    REQUIRE_OK(cuda->stream_wait(s));
    CHECK(cuda_driver.cudaGetDevice(&current) == cudaSuccess && current == 1);
    cuda->release(device, p, 100);
    cuda->stream_destroy(s);
    cuda->close(device);
    CHECK(cuda_driver.cudaSetDevice(0) == cudaSuccess);
    CHECK(fake_live() == 0);
}

TEST_CASE(CudaBackend, memory_that_is_not_there_is_a_sentence_with_the_bytes) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    void *p = f.device;
    CHECK_STATUS(f.cuda->allocate(f.device, &p, (size_t)2 << 30), QUERN_DEVICE_MEMORY);
    CHECK_ERROR_HAS("2147483648 bytes were asked for (cudaMalloc), 1073741824 of 1073741824");
    CHECK(p == NULL);
    CHECK_OK(f.cuda->allocate(f.device, &p, 0));
    fake.fault[FAKE_cudaHostAlloc] =
        (fake_fault){fake.count[FAKE_cudaHostAlloc] + 1, cudaErrorMemoryAllocation, false};
    CHECK_STATUS(f.cuda->allocate_pinned(f.device, &p, 100), QUERN_HOST_MEMORY);
    CHECK_ERROR_HAS("cudaHostAlloc of 100 bytes");
    CHECK_OK(f.cuda->allocate(f.device, &p, 4096)); /* nothing is lost */
    f.cuda->release(f.device, p, 4096);
    fixture_end(&f);
}

TEST_CASE(CudaBackend, copies_and_fills_follow_what_was_issued_before_them) {
    fixture f;
    EACH_SCHEDULE(f) {
        float *device, *pinned;
        REQUIRE_OK(f.cuda->allocate(f.device, (void **)&device, 4000));
        REQUIRE_OK(f.cuda->allocate_pinned(f.device, (void **)&pinned, 4000));
        for (int i = 0; i < 1000; i++) pinned[i] = (float)i;
        CHECK_OK(f.cuda->copy(f.a, device, pinned, 4000));
        CHECK_OK(f.cuda->fill(f.a, device + 500, 0, 2000));
        CHECK_OK(f.cuda->copy(f.a, pinned, device, 4000));
        CHECK_OK(f.cuda->copy(f.a, NULL, NULL, 0));
        CHECK_OK(f.cuda->stream_wait(f.a));
        for (int i = 0; i < 1000; i++) CHECK(pinned[i] == (i < 500 ? (float)i : 0.0f));
        CHECK(fake.pageable_waits == 0);
        f.cuda->release(f.device, device, 4000);
        f.cuda->release_pinned(f.device, pinned, 4000);
    }
}

TEST_CASE(CudaBackend, one_stream_waits_for_another) {
    fixture f;
    EACH_SCHEDULE(f) {
        backend_event *e;
        int *value, *seen;
        bool done = false;
        REQUIRE_OK(f.cuda->event_create(f.device, &e));
        REQUIRE_OK(f.cuda->allocate(f.device, (void **)&value, sizeof *value));
        REQUIRE_OK(f.cuda->allocate_pinned(f.device, (void **)&seen, sizeof *seen));
        CHECK_OK(f.cuda->event_wait(e)); /* never recorded: nothing to wait for */
        CHECK_OK(f.cuda->stream_wait_event(f.a, e));
        CHECK_OK(f.cuda->event_query(e, &done));
        CHECK(done);
        for (int round = 1; round <= 3; round++) {
            CHECK_OK(f.cuda->fill(f.a, value, round, sizeof *value));
            CHECK_OK(f.cuda->event_record(e, f.a));
            CHECK_OK(f.cuda->event_query(e, &done));
            if (schedule != FAKE_MIXED) CHECK(done == (schedule == FAKE_AT_ONCE));
            CHECK_OK(f.cuda->stream_wait_event(f.b, e));
            CHECK_OK(f.cuda->copy(f.b, seen, value, sizeof *seen));
            CHECK_OK(f.cuda->stream_wait(f.b));
            CHECK(*seen == round * 0x01010101);
            CHECK_OK(f.cuda->event_wait(e));
            CHECK_OK(f.cuda->event_query(e, &done));
            CHECK(done);
        }
        f.cuda->event_destroy(e);
        f.cuda->release(f.device, value, sizeof *value);
        f.cuda->release_pinned(f.device, seen, sizeof *seen);
    }
}

/* Kernels of the tests' own: x = 3 x + 1 on the device, so that order and number of runs show. */
static void triple_run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    uint64_t *x = *(uint64_t **)arguments[0];
    *x = *x * 3 + 1;
}
static const fake_kernel triple_kernel = {
    FAKE_KERNEL_MAGIC, "triple", 1, {sizeof(void *)}, triple_run};

static quern_status triple(const quern_kernel_args *args) {
    void *x = (void *)(uintptr_t)args->attributes;
    void *arguments[] = {&x};
    return CUDA_CALL(args->stream, cudaLaunchKernel,
                     (&triple_kernel, (dim3){1, 1, 1}, (dim3){32, 1, 1}, arguments, 0,
                      cuda_stream_handle(args->stream)));
}

static quern_status fail_on_purpose(const quern_kernel_args *args) {
    (void)args;
    return quern_fail(QUERN_UNSUPPORTED, "no kernel for this shape");
}

static void issue_step(fixture *f, quern_stream *s, uint64_t *x, uint64_t *pinned) {
    const quern_kernel_args args = {.attributes = x, .stream = s};
    CHECK_OK(f->cuda->call(s, triple, &args));
    CHECK_OK(f->cuda->copy(s, pinned, x, sizeof *x));
    CHECK_OK(f->cuda->call(s, triple, &args));
    CHECK_OK(f->cuda->fill(s, (unsigned char *)x + 7, 0x11, 1));
}

TEST_CASE(CudaBackend, a_replayed_capture_does_what_eager_execution_does) {
    fixture f;
    EACH_SCHEDULE(f) {
        uint64_t *x, *pinned;
        REQUIRE_OK(f.cuda->allocate(f.device, (void **)&x, 2 * sizeof *x));
        REQUIRE_OK(f.cuda->allocate_pinned(f.device, (void **)&pinned, 4 * sizeof *x));
        CHECK_OK(f.cuda->fill(f.a, x, 0, 2 * sizeof *x));
        CHECK_OK(f.cuda->stream_wait(f.a));
        backend_capture *c;
        const int64_t before = fake.operations;
        REQUIRE_OK(f.cuda->capture_begin(f.b));
        issue_step(&f, f.b, &x[1], &pinned[1]);
        REQUIRE_OK(f.cuda->capture_end(f.b, &c));
        CHECK(fake.operations == before); /* recorded, not run */
        CHECK(fake.count[FAKE_cudaGraphUpload] == 1);
        for (int i = 0; i < 200; i++) {
            issue_step(&f, f.a, &x[0], &pinned[0]);
            CHECK_OK(f.cuda->capture_launch(c, f.b));
        }
        CHECK_OK(f.cuda->stream_wait(f.a));
        CHECK_OK(f.cuda->stream_wait(f.b));
        CHECK_OK(f.cuda->copy(f.a, pinned + 2, x, 2 * sizeof *x));
        CHECK_OK(f.cuda->stream_wait(f.a));
        CHECK(pinned[0] == pinned[1] && pinned[2] == pinned[3] && pinned[2] > 1);
        f.cuda->capture_destroy(c);
        f.cuda->release(f.device, x, 2 * sizeof *x);
        f.cuda->release_pinned(f.device, pinned, 4 * sizeof *x);
    }
}

TEST_CASE(CudaBackend, what_cannot_be_captured_is_refused_by_name) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    backend_event *e;
    backend_capture *c, *none;
    REQUIRE_OK(f.cuda->event_create(f.device, &e));
    CHECK_STATUS(f.cuda->capture_end(f.a, &none), QUERN_INVALID);
    REQUIRE_OK(f.cuda->capture_begin(f.a));
    REQUIRE_OK(f.cuda->capture_end(f.a, &c));
    REQUIRE_OK(f.cuda->capture_begin(f.a));
    CHECK_STATUS(f.cuda->capture_begin(f.a), QUERN_INVALID);
    CHECK_STATUS(f.cuda->stream_wait(f.a), QUERN_INVALID);
    CHECK_ERROR_HAS("waiting on a stream that captures");
    CHECK_STATUS(f.cuda->event_record(e, f.a), QUERN_INVALID);
    CHECK_STATUS(f.cuda->stream_wait_event(f.a, e), QUERN_INVALID);
    CHECK_STATUS(f.cuda->capture_launch(c, f.a), QUERN_INVALID);
    f.cuda->capture_destroy(c);
    f.cuda->event_destroy(e);
    fixture_end(&f); /* a stream may be destroyed while it captures */
}

TEST_CASE(CudaBackend, a_call_that_fails_while_it_is_recorded_is_the_captures_failure) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    const quern_kernel_args args = {.stream = f.a};
    backend_capture *c;
    REQUIRE_OK(f.cuda->capture_begin(f.a));
    CHECK_STATUS(f.cuda->call(f.a, fail_on_purpose, &args), QUERN_UNSUPPORTED);
    (void)quern_fail(QUERN_INVALID, "something else");
    CHECK_STATUS(f.cuda->capture_end(f.a, &c), QUERN_UNSUPPORTED);
    CHECK_TEXT(quern_error(), "no kernel for this shape");
    CHECK(c == NULL);
    CHECK_OK(f.cuda->stream_wait(f.a)); /* said once */
    fixture_end(&f);
}

TEST_CASE(CudaBackend, a_failure_drops_what_follows_until_a_wait_has_returned_it) {
    fixture f;
    EACH_SCHEDULE(f) {
        uint64_t *x, *pinned;
        backend_event *e;
        REQUIRE_OK(f.cuda->event_create(f.device, &e));
        REQUIRE_OK(f.cuda->allocate(f.device, (void **)&x, sizeof *x));
        REQUIRE_OK(f.cuda->allocate_pinned(f.device, (void **)&pinned, sizeof *x));
        const quern_kernel_args args = {.attributes = x, .stream = f.a};
        CHECK_OK(f.cuda->fill(f.a, x, 0, sizeof *x));
        CHECK_OK(f.cuda->call(f.a, triple, &args));
        CHECK_STATUS(f.cuda->call(f.a, fail_on_purpose, &args), QUERN_UNSUPPORTED);
        CHECK_OK(f.cuda->call(f.a, triple, &args)); /* dropped */
        CHECK_OK(f.cuda->event_record(e, f.a));
        CHECK_OK(f.cuda->stream_wait_event(f.b, e));
        CHECK_STATUS(f.cuda->stream_wait(f.b), QUERN_UNSUPPORTED);
        CHECK_STATUS(f.cuda->event_wait(e), QUERN_UNSUPPORTED);
        CHECK_STATUS(f.cuda->stream_status(f.a), QUERN_UNSUPPORTED);
        CHECK_STATUS(f.cuda->stream_wait(f.a), QUERN_UNSUPPORTED);
        CHECK_TEXT(quern_error(), "no kernel for this shape");
        CHECK_OK(f.cuda->stream_wait(f.a));
        CHECK_OK(f.cuda->copy(f.a, pinned, x, sizeof *x));
        CHECK_OK(f.cuda->stream_wait(f.a));
        CHECK(*pinned == 1);
        f.cuda->event_destroy(e);
        f.cuda->release(f.device, x, sizeof *x);
        f.cuda->release_pinned(f.device, pinned, sizeof *x);
    }
}

TEST_CASE(CudaBackend, an_event_of_the_application_that_is_none_fails_only_its_wait) {
    fixture f;
    EACH_SCHEDULE(f) {
        uint64_t *x, *pinned, other = 0;
        REQUIRE_OK(f.cuda->allocate(f.device, (void **)&x, sizeof *x));
        REQUIRE_OK(f.cuda->allocate_pinned(f.device, (void **)&pinned, sizeof *x));
        CHECK_STATUS(f.cuda->stream_wait_native(f.a, &other), QUERN_INVALID);
        CHECK_ERROR_HAS("the application's event is not one to wait for");
        CHECK_TEXT(fake.misuse, "a handle that is not alive");
        fake.misuse[0] = 0;
        CHECK_OK(f.cuda->stream_status(f.a));
        CHECK_OK(f.cuda->fill(f.a, x, 1, sizeof *x)); /* not dropped */
        CHECK_OK(f.cuda->copy(f.a, pinned, x, sizeof *x));
        CHECK_OK(f.cuda->stream_wait(f.a));
        CHECK(*pinned == UINT64_C(0x0101010101010101));
        f.cuda->release(f.device, x, sizeof *x);
        f.cuda->release_pinned(f.device, pinned, sizeof *x);
    }
}

/* What a kernel does that finds index 12 at position 3 of a table of 10 rows. */
static void fault_run(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    cuda_fault *found = *(cuda_fault **)arguments[0];
    if (found->code != 0) return;
    *found =
        (cuda_fault){.code = 1 + QUERN_OP_ID_embedding, .position = 3, .value = 12, .limit = 10};
}
static const fake_kernel fault_kernel = {
    FAKE_KERNEL_MAGIC, "fault", 1, {sizeof(void *)}, fault_run};

static quern_status find_fault(const quern_kernel_args *args) {
    void *found = cuda_stream_fault(args->stream);
    void *arguments[] = {&found};
    return CUDA_CALL(args->stream, cudaLaunchKernel,
                     (&fault_kernel, (dim3){1, 1, 1}, (dim3){1, 1, 1}, arguments, 0,
                      cuda_stream_handle(args->stream)));
}

TEST_CASE(CudaBackend, what_a_kernel_finds_in_its_data_is_said_by_the_next_wait) {
    fixture f;
    EACH_SCHEDULE(f) {
        backend_event *e;
        REQUIRE_OK(f.cuda->event_create(f.device, &e));
        const quern_kernel_args args = {.stream = f.a};
        CHECK_OK(f.cuda->call(f.a, find_fault, &args));
        CHECK_OK(f.cuda->event_record(e, f.a));
        CHECK_STATUS(f.cuda->event_wait(e), QUERN_INPUT);
        CHECK_TEXT(quern_error(), "embedding: index 12 at position 3 is outside [0, 10)");
        CHECK_STATUS(f.cuda->stream_wait(f.a), QUERN_INPUT);
        CHECK_ERROR_HAS("index 12 at position 3");
        CHECK_OK(f.cuda->stream_wait(f.a));
        f.cuda->event_destroy(e);
    }
}

/* As a kernel leaves it whose claim came between a look at the code and the clearing. */
TEST_CASE(CudaBackend, a_record_that_was_claimed_and_never_filled_is_free_after_a_wait) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    cuda_fault *found = cuda_stream_fault(f.a);
    found->claimed = 1;
    CHECK_OK(f.cuda->stream_wait(f.a));
    CHECK(found->claimed == 0);
    const quern_kernel_args args = {.stream = f.a};
    CHECK_OK(f.cuda->call(f.a, find_fault, &args));
    found->claimed = 1;
    CHECK_STATUS(f.cuda->stream_wait(f.a), QUERN_INPUT);
    CHECK(found->claimed == 0 && found->code == 0);
    fixture_end(&f);
}

TEST_CASE(CudaBackend, a_missing_task_is_unsupported_and_not_a_crash) {
    fixture f;
    REQUIRE(fixture_begin(&f, FAKE_AT_ONCE));
    const quern_kernel_args args = {.stream = f.a};
    CHECK_STATUS(f.cuda->call(f.a, NULL, &args), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("no CUDA kernel");
    CHECK_STATUS(f.cuda->stream_wait(f.a), QUERN_UNSUPPORTED);
    fixture_end(&f);
}
