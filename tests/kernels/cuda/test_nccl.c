/* A world on the CUDA backend: NCCL's double on the fake device. */
#include "quern_test.h"

#include "fake_core.h"
#include "fake_nccl.h"
#include "host/base/report.h"
#include "host/dist/world.h"
#include "kernels/cuda/device/device.h"
#include "support/fault_host.h"

#include <stdio.h>
#include <string.h>

enum { COUNT = 6, BYTES = COUNT * (int)sizeof(float) };

typedef struct place {
    fault_host faults;
    const quern_backend *cuda;
    backend_device *device;
    quern_stream *stream;
    backend_event *event;
    world *world;
    float *in, *out; /* device memory */
    float *host;     /* pinned */
    double timeout_s;
} place;

#define TRY(expression)                                                                            \
    do {                                                                                           \
        const quern_status status_ = (expression);                                                 \
        if (status_ != QUERN_OK) return status_;                                                   \
    } while (0)

static void start(place *p) {
    memset(p, 0, sizeof *p);
    fake_begin();
    fake.schedule = FAKE_LATE;
    fake_nccl_begin();
    fault_host_begin(&p->faults, NULL);
    p->timeout_s = 0.1;
}

static quern_status open_place(place *p) {
    p->cuda = fake_core_open();
    const backend_open_desc open = {.host = &p->faults.host};
    TRY(p->cuda->open(&p->device, &open));
    TRY(p->cuda->stream_create(p->device, &p->stream, "test"));
    TRY(p->cuda->event_create(p->device, &p->event));
    TRY(p->cuda->allocate(p->device, (void **)&p->in, BYTES));
    TRY(p->cuda->allocate(p->device, (void **)&p->out, BYTES));
    TRY(p->cuda->allocate_pinned(p->device, (void **)&p->host, BYTES));
    const world_desc desc = {.host = &p->faults.host,
                             .backend = p->cuda,
                             .device = p->device,
                             .timeout_s = p->timeout_s};
    return world_create(&p->world, &desc);
}

/* Everything is gone, and teardown has said nothing. */
static void end(place *p) {
    char kept[1024];
    snprintf(kept, sizeof kept, "%s", quern_error());
    world_destroy(p->world);
    if (p->device != NULL) {
        p->cuda->event_destroy(p->event);
        p->cuda->stream_destroy(p->stream);
        p->cuda->release(p->device, p->in, BYTES);
        p->cuda->release(p->device, p->out, BYTES);
        p->cuda->release_pinned(p->device, p->host, BYTES);
        p->cuda->close(p->device);
    }
    CHECK_TEXT(quern_error(), kept);
    CHECK(fault_host_live(&p->faults) == 0);
    CHECK(fake_live() == 0);
    CHECK_TEXT(fake.misuse, "");
    CHECK_TEXT(fake_nccl.library.misuse, "");
    CHECK(fake_nccl.library.live == 0 && fake_nccl.depth == 0);
}

static quern_view view_of(void *data, int64_t count) {
    return (quern_view){.data = data, .dim = {count}, .stride = {1}, .count = count, .rank = 1};
}

static quern_status collect(place *p, collective what, collective_call how) {
    const quern_view in = view_of(p->in, COUNT), out = view_of(p->out, COUNT);
    how.group = world_group(p->world);
    const quern_kernel_args args = {.attributes = &how,
                                    .in = &in,
                                    .out = &out,
                                    .input_count = 1,
                                    .output_count = 1,
                                    .stream = p->stream};
    for (int i = 0; i < COUNT; i++) p->host[i] = (float)(i + 1);
    TRY(p->cuda->copy(p->stream, p->in, p->host, BYTES));
    TRY(p->cuda->fill(p->stream, p->out, 0, BYTES));
    TRY(world_issue(p->world, p->stream, what, &args));
    TRY(p->cuda->copy(p->stream, p->host, p->out, BYTES));
    TRY(p->cuda->event_record(p->event, p->stream));
    TRY(world_watch(p->world, p->event));
    return p->cuda->event_wait(p->event);
}

static void check_numbers(const place *p, float factor) {
    for (int i = 0; i < COUNT; i++) CHECK(p->host[i] == factor * (float)(i + 1));
}

TEST_CASE(Nccl, a_world_of_one_collects_on_the_devices_stream) {
    static place p;
    start(&p);
    REQUIRE_OK(open_place(&p));
    CHECK_TEXT(world_library(p.world), "NCCL");
    CHECK(fake_nccl.blocking == 0 && fake_nccl.last_id[5] == 6);
    static const struct {
        collective what;
        collective_call how;
        const char *call;
        int reduction, root;
    } cases[] = {
        {COLLECTIVE_all_reduce, {.reduction = COLLECTIVE_SUM}, "ncclAllReduce", ncclSum, -1},
        {COLLECTIVE_all_reduce, {.reduction = COLLECTIVE_MEAN}, "ncclAllReduce", ncclAvg, -1},
        {COLLECTIVE_all_reduce, {.reduction = COLLECTIVE_MAX}, "ncclAllReduce", ncclMax, -1},
        {COLLECTIVE_reduce_scatter, {0}, "ncclReduceScatter", ncclSum, -1},
        {COLLECTIVE_all_gather, {0}, "ncclAllGather", -1, -1},
        {COLLECTIVE_broadcast, {0}, "ncclBroadcast", -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_OK(collect(&p, cases[i].what, cases[i].how));
        check_numbers(&p, 1);
        CHECK_TEXT(fake_nccl.last_call, cases[i].call);
        CHECK(fake_nccl.last_type == ncclFloat32 && fake_nccl.last_count == COUNT);
        CHECK(fake_nccl.last_reduction == cases[i].reduction);
        CHECK(fake_nccl.last_root == cases[i].root);
    }
    const collective_call how = {.group = world_group(p.world)};
    const quern_kernel_args none = {.attributes = &how, .stream = p.stream};
    CHECK_OK(world_issue(p.world, p.stream, COLLECTIVE_barrier, &none));
    CHECK_OK(p.cuda->stream_wait(p.stream));
    CHECK(fake_nccl.last_type == ncclInt32 && fake_nccl.last_count == 1);
    end(&p);
    CHECK(fake_nccl.finalizes == 1 && fake_nccl.destroys == 1 && fake_nccl.aborts == 0);
}

TEST_CASE(Nccl, every_dtype_has_its_own_of_nccl) {
    static const int types[QUERN_DTYPE_COUNT] = {
        [QUERN_F32] = ncclFloat32, [QUERN_F64] = ncclFloat64, [QUERN_BF16] = ncclBfloat16,
        [QUERN_F16] = ncclFloat16, [QUERN_I32] = ncclInt32,   [QUERN_I64] = ncclInt64,
        [QUERN_U8] = ncclUint8};
    static place p;
    start(&p);
    REQUIRE_OK(open_place(&p));
    for (int d = 0; d < QUERN_DTYPE_COUNT; d++) {
        quern_view v = view_of(p.in, 2);
        v.dtype = (quern_dtype)d;
        const collective_call how = {.group = world_group(p.world)};
        const quern_kernel_args args = {.attributes = &how,
                                        .in = &v,
                                        .out = &v,
                                        .input_count = 1,
                                        .output_count = 1,
                                        .stream = p.stream};
        CHECK_OK(world_issue(p.world, p.stream, COLLECTIVE_all_reduce, &args));
        CHECK(fake_nccl.last_type == types[d]);
    }
    CHECK_OK(p.cuda->stream_wait(p.stream));
    end(&p);
}

/* Several tensors are one group, recorded once, launched twice. */
TEST_CASE(Nccl, a_capture_records_a_group) {
    static place p;
    start(&p);
    REQUIRE_OK(open_place(&p));
    backend_capture *capture;
    quern_view in[2] = {view_of(p.in, 3), view_of(p.in + 3, 3)};
    quern_view out[2] = {view_of(p.out + 3, 3), view_of(p.out, 3)};
    const collective_call how = {.group = world_group(p.world)};
    const quern_kernel_args args = {.attributes = &how,
                                    .in = in,
                                    .out = out,
                                    .input_count = 2,
                                    .output_count = 2,
                                    .stream = p.stream};
    for (int i = 0; i < COUNT; i++) p.host[i] = (float)i;
    REQUIRE_OK(p.cuda->copy(p.stream, p.in, p.host, BYTES));
    REQUIRE_OK(p.cuda->stream_wait(p.stream));
    REQUIRE_OK(p.cuda->capture_begin(p.stream));
    CHECK_OK(world_issue(p.world, p.stream, COLLECTIVE_all_reduce, &args));
    REQUIRE_OK(p.cuda->capture_end(p.stream, &capture));
    CHECK(fake_nccl.collectives == 2);
    for (int k = 0; k < 2; k++) {
        CHECK_OK(p.cuda->fill(p.stream, p.out, 0, BYTES));
        CHECK_OK(p.cuda->capture_launch(capture, p.stream));
        CHECK_OK(p.cuda->copy(p.stream, p.host, p.out, BYTES));
        CHECK_OK(p.cuda->stream_wait(p.stream));
        for (int i = 0; i < COUNT; i++) CHECK(p.host[i] == (float)((i + 3) % 6));
        memset(p.host, 0, BYTES);
    }
    p.cuda->capture_destroy(capture);
    end(&p);
}

TEST_CASE(Nccl, a_call_that_takes_its_time_is_waited_for) {
    static place p;
    start(&p);
    p.timeout_s = 60; /* a machine that is busy is no peer that is lost */
    fake_nccl.looks = 5;
    REQUIRE_OK(open_place(&p));
    CHECK_OK(collect(&p, COLLECTIVE_all_reduce, (collective_call){0}));
    check_numbers(&p, 1);
    end(&p);
    CHECK(fake_nccl.aborts == 0 && fake_nccl.destroys == 1);
}

TEST_CASE(Nccl, a_call_that_is_never_done_is_a_lost_peer_after_the_limit) {
    static place p;
    start(&p);
    fake_nccl.looks = -1;
    CHECK_STATUS(open_place(&p), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 0 of 1, joining: ncclCommInitRankConfig is not done after 0.1 s on CUDA "
                    "device 0 (Fake H200)");
    end(&p);
    CHECK(fake_nccl.aborts == 1);
    start(&p);
    REQUIRE_OK(open_place(&p));
    fake_nccl.looks = -1;
    CHECK_STATUS(collect(&p, COLLECTIVE_broadcast, (collective_call){0}), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 0 of 1, broadcast 1 (6 F32): ncclBroadcast is not done");
    (void)p.cuda->stream_wait(p.stream);
    end(&p);
    CHECK(fake_nccl.aborts == 1 && fake_nccl.finalizes == 0);
}

TEST_CASE(Nccl, an_error_that_comes_up_by_itself_loses_the_peer) {
    static place p;
    start(&p);
    REQUIRE_OK(open_place(&p));
    CHECK_OK(collect(&p, COLLECTIVE_all_reduce, (collective_call){0}));
    CHECK_OK(world_status(p.world));
    fake_nccl.found = ncclRemoteError;
    CHECK_STATUS(world_status(p.world), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("a collective failed with 6 (remote process exited or there was a network "
                    "error: socketProgress: connection closed by remote peer) in rank 0 of 1 on "
                    "CUDA device 0 (Fake H200)");
    char first[1024];
    snprintf(first, sizeof first, "%s", quern_error());
    CHECK(fake_nccl.aborts == 1);
    CHECK_STATUS(collect(&p, COLLECTIVE_all_reduce, (collective_call){0}), QUERN_PEER_LOST);
    CHECK_TEXT(quern_error(), first);
    CHECK(fake_nccl.collectives == 1);
    CHECK_STATUS(p.cuda->stream_wait(p.stream), QUERN_PEER_LOST);
    end(&p);
    CHECK(fake_nccl.aborts == 1 && fake_nccl.finalizes == 0);
}

TEST_CASE(Nccl, an_abort_is_said_and_is_once) {
    static place p;
    start(&p);
    REQUIRE_OK(open_place(&p));
    world_abort(p.world);
    world_abort(p.world);
    CHECK_STATUS(collect(&p, COLLECTIVE_all_reduce, (collective_call){0}), QUERN_PEER_LOST);
    CHECK_ERROR_HAS("rank 0 of 1 was aborted");
    CHECK_STATUS(p.cuda->stream_wait(p.stream), QUERN_PEER_LOST);
    end(&p);
    CHECK(fake_nccl.aborts == 1);
}

TEST_CASE(Nccl, that_is_not_there_is_unsupported) {
    static place p;
    start(&p);
    fake_nccl.missing = true;
    CHECK_STATUS(open_place(&p), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("libnccl.so.2");
    end(&p);
}

static const struct {
    ncclResult_t code;
    quern_status status;
} codes[] = {
    {ncclSystemError, QUERN_PEER_LOST},    {ncclRemoteError, QUERN_PEER_LOST},
    {ncclInternalError, QUERN_PEER_LOST},  {ncclInvalidUsage, QUERN_INVALID},
    {ncclInvalidArgument, QUERN_INTERNAL}, {ncclUnhandledCudaError, QUERN_DEVICE_LOST},
};

static quern_status collect_all(place *p) {
    TRY(open_place(p));
    for (int what = 0; what < COLLECTIVE_barrier; what++)
        TRY(collect(p, (collective)what, (collective_call){0}));
    const collective_call how = {.group = world_group(p->world)};
    const quern_kernel_args none = {.attributes = &how, .stream = p->stream};
    TRY(world_issue(p->world, p->stream, COLLECTIVE_barrier, &none));
    return p->cuda->stream_wait(p->stream);
}

/* What follows but teardown is a misuse. */
static void lose_device(void) {
    fake.sticky = cudaErrorIllegalAddress;
    fake_nccl.library.forbidden = true;
}

static bool fail_call(int64_t n, bool for_ever, int k) {
    static place p;
    start(&p);
    fake_nccl.library.fail_at = n;
    fake_nccl.library.for_ever = for_ever;
    fake_nccl.library.when_lost = lose_device;
    fake_nccl.code = codes[k].code;
    const quern_status status = collect_all(&p);
    const bool fired = fake_nccl.library.fired > 0;
    CHECK_STATUS(status, fired ? codes[k].status : QUERN_OK);
    if (fired) {
        CHECK_SAY(strncmp(quern_error(), "nccl", 4) == 0 ||
                      strncmp(quern_error(), "a collective failed", 19) == 0,
                  "%s", quern_error());
        CHECK_ERROR_HAS(" on CUDA device 0 (Fake H200)");
    }
    if (p.stream != NULL) (void)p.cuda->stream_wait(p.stream);
    if (fired && p.world != NULL) CHECK(world_status(p.world) != QUERN_OK);
    end(&p);
    return fired || fake_nccl.library.fired > 0; /* also while it was left */
}

TEST_CASE(Nccl, any_call_may_fail) {
    for (int k = 0; k < (int)(sizeof codes / sizeof codes[0]); k++)
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            int64_t n = 1;
            while (fail_call(n, for_ever != 0, k) && !quern_test_failed()) n++;
            CHECK_SAY(n > 20, "only %d calls", (int)n);
        }
}

static bool fail_allocation(int64_t n) {
    static place p;
    start(&p);
    p.faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = true};
    const quern_status status = collect_all(&p);
    const bool fired = fault_host_fired(&p.faults, FAULT_ALLOCATE);
    CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
    end(&p);
    return fired;
}

TEST_CASE(Nccl, any_allocation_may_fail) {
    int64_t n = 1;
    while (fail_allocation(n) && !quern_test_failed()) n++;
    CHECK(n > 5);
}

TEST_CASE(Nccl, a_devices_memory_may_be_full) {
    static place p;
    start(&p);
    fake.fault[FAKE_cudaMalloc] = (fake_fault){.at = 3, .code = cudaErrorMemoryAllocation};
    CHECK_STATUS(collect_all(&p), QUERN_DEVICE_MEMORY);
    end(&p);
}

/* What NCCL cannot have or launch on a device that is well: it is not lost for it. */
TEST_CASE(Nccl, what_cuda_refuses_to_it_loses_no_device_that_still_answers) {
    static const struct {
        const char *words;
        quern_status status;
    } cases[] = {
        {"Failed to CUDA calloc async 4194304 bytes", QUERN_DEVICE_MEMORY},
        {"Failed to CUDA malloc 512 bytes", QUERN_DEVICE_MEMORY},
        {"Cuda failure 2 'out of memory'", QUERN_DEVICE_MEMORY},
        {"Failed to CUDA host alloc 4096 bytes", QUERN_HOST_MEMORY},
        {"Failed to CUDA register 4096 bytes", QUERN_INTERNAL},
        {"Cuda failure 98 'invalid device function'", QUERN_INTERNAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int64_t n = 2; n < 6; n++) { /* joining and after it; 1 is the id's */
            static place p;
            start(&p);
            fake_nccl.library.fail_at = n;
            fake_nccl.code = ncclUnhandledCudaError;
            fake_nccl.words = cases[i].words;
            CHECK_STATUS(collect_all(&p), cases[i].status);
            CHECK_ERROR_HAS(cases[i].words);
            void *more = NULL;
            CHECK_OK(p.cuda->allocate(p.device, &more, BYTES));
            p.cuda->release(p.device, more, BYTES);
            end(&p);
        }
}

/* Whether it answers is asked of the group's device, whichever is current. */
TEST_CASE(Nccl, what_fails_while_another_device_is_current_is_asked_of_its_own) {
    static place p;
    collective_id id;
    int current = -1;
    start(&p);
    fake.device_count = 2;
    REQUIRE_OK(open_place(&p));
    CHECK(cuda_driver.cudaSetDevice(1) == cudaSuccess);
    fake.memory_asked = 1;
    fake_nccl.library.fail_at = fake_nccl.library.calls + 1;
    fake_nccl.code = ncclUnhandledCudaError;
    CHECK_STATUS(p.cuda->collectives->identify(p.device, &id), QUERN_INTERNAL);
    CHECK(fake.memory_asked == 0);
    fake.memory_asked = 1;
    fake_nccl.abort_fails = true;
    world_abort(p.world);
    CHECK(fake.memory_asked == 0 && fake_nccl.aborts == 1);
    CHECK(cuda_driver.cudaGetDevice(&current) == cudaSuccess && current == 1);
    CHECK(cuda_driver.cudaSetDevice(0) == cudaSuccess);
    end(&p);
}

/* What a capture refuses, somewhere in the process, is an answer; what a device says that does not
 * answer is not left for the next check of a launch. */
TEST_CASE(Nccl, a_capture_loses_no_device_and_an_error_is_not_left_behind) {
    static const struct {
        cudaError_t code;
        quern_status status;
    } cases[] = {
        {cudaErrorStreamCaptureUnsupported, QUERN_INTERNAL},
        {cudaErrorStreamCaptureImplicit, QUERN_INTERNAL},
        {cudaErrorCapturedEvent, QUERN_INTERNAL},
        {cudaErrorUnknown, QUERN_DEVICE_LOST},
        {cudaErrorInvalidResourceHandle, QUERN_DEVICE_LOST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static place p;
        collective_id id;
        start(&p);
        REQUIRE_OK(open_place(&p));
        fake.fault[FAKE_cudaMemGetInfo] =
            (fake_fault){.at = fake.count[FAKE_cudaMemGetInfo] + 1, .code = cases[i].code};
        fake_nccl.library.fail_at = fake_nccl.library.calls + 1;
        fake_nccl.code = ncclUnhandledCudaError;
        const int64_t cleared = fake.count[FAKE_cudaGetLastError];
        CHECK_STATUS(p.cuda->collectives->identify(p.device, &id), cases[i].status);
        CHECK(fake.count[FAKE_cudaGetLastError] == cleared + 1);
        end(&p);
    }
}
