/* fake_driver.c - the table: each function of cuda_driver in terms of the fake's parts. */
#include "fake_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The calls that only answer. */
#define ENTER(call)                                                                                \
    cudaError_t code;                                                                              \
    if (!fake_enter(FAKE_##call, &code)) return fake_leave(code)

static _Thread_local int current_device;
int fake_current_device(void) { return current_device; }

static cudaError_t driver_get_version(int *version) {
    ENTER(cudaDriverGetVersion);
    *version = fake.driver_version;
    return fake_leave(cudaSuccess);
}

static cudaError_t runtime_get_version(int *version) {
    ENTER(cudaRuntimeGetVersion);
    *version = CUDART_VERSION;
    return fake_leave(cudaSuccess);
}

static cudaError_t get_device_count(int *count) {
    ENTER(cudaGetDeviceCount);
    if (fake.driver_version < CUDART_VERSION) return fake_leave(cudaErrorInsufficientDriver);
    *count = fake.device_count;
    return fake_leave(fake.device_count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

static cudaError_t get_device(int *device) {
    ENTER(cudaGetDevice);
    *device = current_device;
    return fake_leave(cudaSuccess);
}

static cudaError_t set_device(int device) {
    ENTER(cudaSetDevice);
    if (device < 0 || device >= fake.device_count) return fake_leave(cudaErrorInvalidDevice);
    current_device = device;
    return fake_leave(cudaSuccess);
}

static cudaError_t get_device_properties(struct cudaDeviceProp *p, int device) {
    ENTER(cudaGetDeviceProperties);
    if (device < 0 || device >= fake.device_count) return fake_leave(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Fake H200");
    for (int i = 0; i < 16; i++) p->uuid.bytes[i] = (char)(i * 17 - (i == 15) * device);
    p->pciBusID = 0x3b + device;
    p->multiProcessorCount = 132;
    p->major = fake.capability / 10;
    p->minor = fake.capability % 10;
    p->totalGlobalMem = fake.memory_bytes;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerBlockOptin = 232448;
    p->l2CacheSize = 1 << 16; /* a small one: what measures overwrites it each time */
    p->maxThreadsPerBlock = 1024;
    p->warpSize = 32;
    return fake_leave(cudaSuccess);
}

static cudaError_t mem_get_info(size_t *free_bytes, size_t *total_bytes) {
    ENTER(cudaMemGetInfo);
    fake.memory_asked = current_device;
    *total_bytes = fake.memory_bytes;
    *free_bytes = fake.memory_bytes - fake_memory_used();
    return fake_leave(cudaSuccess);
}

static cudaError_t get_last_error(void) {
    cudaError_t code;
    (void)fake_enter(FAKE_cudaGetLastError, &code);
    return fake_leave(code);
}

static cudaError_t memory_malloc(void **pointer, size_t bytes) {
    ENTER(cudaMalloc);
    if (bytes > fake.memory_bytes - fake_memory_used())
        return fake_leave(cudaErrorMemoryAllocation);
    *pointer = fake_memory_allocate(bytes);
    return fake_leave(*pointer != NULL ? cudaSuccess : cudaErrorMemoryAllocation);
}

/* Freeing waits for all work, and frees even when it is planned to say that it did not. */
static cudaError_t memory_free(void *pointer) {
    cudaError_t code;
    const bool well = fake_enter(FAKE_cudaFree, &code);
    fake.host_waits++;
    fake_drain_all();
    if (!fake_memory_release(pointer, FAKE_BLOCK) && well) code = cudaErrorInvalidValue;
    return fake_leave(code);
}

static cudaError_t host_alloc(void **pointer, size_t bytes, unsigned int flags) {
    ENTER(cudaHostAlloc);
    (void)flags;
    *pointer = fake_pinned_allocate(bytes);
    return fake_leave(cudaSuccess);
}

static cudaError_t free_host(void *pointer) {
    cudaError_t code;
    const bool well = fake_enter(FAKE_cudaFreeHost, &code);
    fake.host_waits++;
    fake_drain_all();
    if (!fake_memory_release(pointer, FAKE_PINNED) && well) code = cudaErrorInvalidValue;
    return fake_leave(code);
}

static cudaError_t stream_create(cudaStream_t *stream, unsigned int flags) {
    ENTER(cudaStreamCreateWithFlags);
    (void)flags;
    *stream = fake_object_create(FAKE_STREAM, sizeof(fake_stream));
    return fake_leave(cudaSuccess);
}

static cudaError_t stream_destroy(cudaStream_t stream) {
    cudaError_t code;
    (void)fake_enter(FAKE_cudaStreamDestroy, &code);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s != NULL) {
        if (fake.sticky == cudaSuccess) fake_stream_drain(s);
        if (s->capturing != NULL) fake_object_destroy(s->capturing);
        fake_object_destroy(s);
    }
    return fake_leave(code);
}

/* What waits may not happen while the stream captures: it breaks the capture, as in CUDA. */
static bool breaks_capture(fake_stream *s) {
    if (s == NULL || s->capturing == NULL) return false;
    s->capture_broken = true;
    fake_misuse("waiting on a stream that captures");
    return true;
}

static cudaError_t stream_synchronize(cudaStream_t stream) {
    ENTER(cudaStreamSynchronize);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    if (breaks_capture(s)) return fake_leave(cudaErrorStreamCaptureUnsupported);
    fake.host_waits++;
    fake_stream_drain(s);
    return fake_leave(cudaSuccess);
}

static cudaError_t stream_wait_event(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    ENTER(cudaStreamWaitEvent);
    (void)flags;
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    fake_event *e = fake_object_find(event, FAKE_EVENT);
    if (s == NULL || e == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    if (e->completed < e->recorded)
        fake_stream_issue(s, &(fake_op){.kind = FAKE_OP_WAIT,
                                        .event = e,
                                        .recorder = e->recorder,
                                        .ticket = e->recorded});
    return fake_leave(cudaSuccess);
}

static cudaError_t event_create(cudaEvent_t *event, unsigned int flags) {
    ENTER(cudaEventCreateWithFlags);
    fake_event *e = fake_object_create(FAKE_EVENT, sizeof *e);
    e->timed = (flags & cudaEventDisableTiming) == 0;
    *event = (cudaEvent_t)(void *)e;
    return fake_leave(cudaSuccess);
}

static cudaError_t event_destroy(cudaEvent_t event) {
    cudaError_t code;
    (void)fake_enter(FAKE_cudaEventDestroy, &code);
    fake_drain_all(); /* what is queued still refers to it */
    fake_event *e = fake_object_find(event, FAKE_EVENT);
    if (e != NULL) fake_object_destroy(e);
    return fake_leave(code);
}

static cudaError_t event_record(cudaEvent_t event, cudaStream_t stream) {
    ENTER(cudaEventRecord);
    fake_event *e = fake_object_find(event, FAKE_EVENT);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL || e == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    e->recorder = s;
    fake_stream_issue(s, &(fake_op){.kind = FAKE_OP_RECORD, .event = e, .ticket = ++e->recorded});
    return fake_leave(cudaSuccess);
}

static cudaError_t event_synchronize(cudaEvent_t event) {
    ENTER(cudaEventSynchronize);
    fake_event *e = fake_object_find(event, FAKE_EVENT);
    if (e == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    fake.host_waits += e->completed != e->recorded;
    if (e->recorder != NULL) fake_event_reach(e, e->recorder, e->recorded);
    return fake_leave(cudaSuccess);
}

static cudaError_t event_query(cudaEvent_t event) {
    ENTER(cudaEventQuery);
    const fake_event *e = fake_object_find(event, FAKE_EVENT);
    if (e == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    return fake_leave(e->completed == e->recorded ? cudaSuccess : cudaErrorNotReady);
}

static cudaError_t event_elapsed_time(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    ENTER(cudaEventElapsedTime);
    const fake_event *from = fake_object_find(start, FAKE_EVENT);
    const fake_event *to = fake_object_find(end, FAKE_EVENT);
    if (from == NULL || to == NULL || !from->timed || !to->timed || from->recorded == 0 ||
        to->recorded == 0)
        return fake_leave(cudaErrorInvalidResourceHandle);
    if (from->completed != from->recorded || to->completed != to->recorded)
        return fake_leave(cudaErrorNotReady);
    *milliseconds = (float)((double)(to->time_ns - from->time_ns) * 1e-6);
    return fake_leave(cudaSuccess);
}

/* A copy from pageable memory is staged at once; one to it makes the host wait; neither can be
 * captured. */
static cudaError_t memcpy_async(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                cudaStream_t stream) {
    ENTER(cudaMemcpyAsync);
    (void)kind;
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    if (!fake_memory_fits(to, bytes) || !fake_memory_fits(from, bytes)) {
        fake_misuse("a copy beyond its block");
        return fake_leave(cudaErrorInvalidValue);
    }
    const bool from_pageable = fake_block_of(from) == NULL, to_pageable = fake_block_of(to) == NULL;
    if ((from_pageable || to_pageable) && s->capturing != NULL) {
        fake_misuse("capturing a copy of pageable memory");
        return fake_leave(cudaErrorStreamCaptureUnsupported);
    }
    fake_op op = {.kind = FAKE_OP_COPY, .to = to, .from = from, .bytes = bytes};
    if (from_pageable) {
        op.staged = malloc(bytes);
        if (op.staged == NULL) abort();
        memcpy(op.staged, from, bytes);
    }
    fake_stream_issue(s, &op);
    if (to_pageable) {
        fake.pageable_waits++;
        fake.host_waits++;
        fake_stream_drain(s);
    }
    return fake_leave(cudaSuccess);
}

static cudaError_t memset_async(void *to, int value, size_t bytes, cudaStream_t stream) {
    ENTER(cudaMemsetAsync);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    if (!fake_memory_fits(to, bytes)) {
        fake_misuse("a fill beyond its block");
        return fake_leave(cudaErrorInvalidValue);
    }
    fake_stream_issue(s,
                      &(fake_op){.kind = FAKE_OP_FILL, .to = to, .value = value, .bytes = bytes});
    return fake_leave(cudaSuccess);
}

static const fake_kernel *kernel_of(const void *function) {
    uint64_t magic;
    memcpy(&magic, function, sizeof magic);
    return magic == FAKE_KERNEL_MAGIC ? function : NULL;
}

static unsigned char *pack_arguments(const fake_kernel *kernel, void **arguments) {
    size_t bytes = 16;
    for (int i = 0; i < kernel->argument_count; i++)
        bytes += (kernel->argument_bytes[i] + 15) / 16 * 16;
    unsigned char *packed = aligned_alloc(16, bytes), *at = packed;
    if (packed == NULL) abort();
    for (int i = 0; i < kernel->argument_count; i++) {
        memcpy(at, arguments[i], kernel->argument_bytes[i]);
        at += (kernel->argument_bytes[i] + 15) / 16 * 16;
    }
    return packed;
}

static cudaError_t launch_kernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                 size_t shared_bytes, cudaStream_t stream) {
    ENTER(cudaLaunchKernel);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > 1024 || grid.x == 0 || grid.x > 0x7FFFFFFFu || grid.y == 0 ||
        grid.y > 65535 || grid.z == 0 || grid.z > 65535 || shared_bytes > 232448) {
        fake_misuse("a launch that no device accepts");
        return fake_leave(cudaErrorInvalidConfiguration);
    }
    fake_op op = {.kind = FAKE_OP_LAUNCH,
                  .kernel = kernel_of(function),
                  .grid = grid,
                  .block = block,
                  .shared_bytes = shared_bytes};
    if (op.kernel != NULL) op.arguments = pack_arguments(op.kernel, arguments);
    fake_stream_issue(s, &op);
    return fake_leave(cudaSuccess);
}

static cudaError_t begin_capture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    ENTER(cudaStreamBeginCapture);
    (void)mode;
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    if (s->capturing != NULL) return fake_leave(cudaErrorIllegalState);
    s->capturing = fake_object_create(FAKE_GRAPH, sizeof(fake_graph));
    return fake_leave(cudaSuccess);
}

static cudaError_t end_capture(cudaStream_t stream, cudaGraph_t *graph) {
    cudaError_t code;
    const bool well = fake_enter(FAKE_cudaStreamEndCapture, &code);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    *graph = NULL;
    if (s == NULL || s->capturing == NULL) return fake_leave(cudaErrorIllegalState);
    if (s->capture_broken && well) code = cudaErrorStreamCaptureInvalidated;
    if (code == cudaSuccess)
        *graph = (cudaGraph_t)(void *)s->capturing;
    else
        fake_object_destroy(s->capturing);
    s->capturing = NULL;
    s->capture_broken = false;
    return fake_leave(code);
}

static cudaError_t graph_instantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                     unsigned long long flags) {
    ENTER(cudaGraphInstantiate);
    (void)flags;
    const fake_graph *g = fake_object_find(graph, FAKE_GRAPH);
    if (g == NULL) return fake_leave(cudaErrorInvalidValue);
    fake_executable *e = fake_object_create(FAKE_EXECUTABLE, sizeof *e);
    for (size_t i = 0; i < g->ops.count; i++) {
        const fake_op copy = fake_op_copy(&g->ops.items[i]);
        fake_ops_add(&e->ops, &copy);
    }
    *executable = (cudaGraphExec_t)(void *)e;
    return fake_leave(cudaSuccess);
}

static cudaError_t graph_upload(cudaGraphExec_t executable, cudaStream_t stream) {
    ENTER(cudaGraphUpload);
    const bool alive = fake_object_find(executable, FAKE_EXECUTABLE) != NULL &&
                       fake_object_find(stream, FAKE_STREAM) != NULL;
    return fake_leave(alive ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

static cudaError_t graph_launch(cudaGraphExec_t executable, cudaStream_t stream) {
    ENTER(cudaGraphLaunch);
    fake_executable *e = fake_object_find(executable, FAKE_EXECUTABLE);
    fake_stream *s = fake_object_find(stream, FAKE_STREAM);
    if (e == NULL || s == NULL) return fake_leave(cudaErrorInvalidResourceHandle);
    fake_stream_issue(s, &(fake_op){.kind = FAKE_OP_GRAPH, .executable = e});
    return fake_leave(cudaSuccess);
}

static cudaError_t exec_destroy(cudaGraphExec_t executable) {
    cudaError_t code;
    (void)fake_enter(FAKE_cudaGraphExecDestroy, &code);
    fake_drain_all();
    fake_executable *e = fake_object_find(executable, FAKE_EXECUTABLE);
    if (e != NULL) fake_object_destroy(e);
    return fake_leave(code);
}

static cudaError_t graph_destroy(cudaGraph_t graph) {
    cudaError_t code;
    (void)fake_enter(FAKE_cudaGraphDestroy, &code);
    fake_graph *g = fake_object_find(graph, FAKE_GRAPH);
    if (g != NULL) fake_object_destroy(g);
    return fake_leave(code);
}

static cudaError_t profiler_start(void) {
    ENTER(cudaProfilerStart);
    return fake_leave(cudaSuccess);
}

static cudaError_t profiler_stop(void) {
    ENTER(cudaProfilerStop);
    return fake_leave(cudaSuccess);
}

static const char *error_name(cudaError_t code) {
    static const struct {
        cudaError_t code;
        const char *name;
    } names[] = {
        {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation"},
        {cudaErrorIllegalAddress, "cudaErrorIllegalAddress"},
        {cudaErrorInvalidValue, "cudaErrorInvalidValue"},
        {cudaErrorNotSupported, "cudaErrorNotSupported"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code) return names[i].name;
    return "a CUDA error";
}

static const char *error_string(cudaError_t code) {
    return code == cudaSuccess ? "no error" : "planned";
}

const cuda_driver_table cuda_driver = {
    .cudaDriverGetVersion = driver_get_version,
    .cudaRuntimeGetVersion = runtime_get_version,
    .cudaGetDeviceCount = get_device_count,
    .cudaGetDevice = get_device,
    .cudaSetDevice = set_device,
    .cudaGetDeviceProperties = get_device_properties,
    .cudaMemGetInfo = mem_get_info,
    .cudaGetLastError = get_last_error,
    .cudaMalloc = memory_malloc,
    .cudaFree = memory_free,
    .cudaHostAlloc = host_alloc,
    .cudaFreeHost = free_host,
    .cudaStreamCreateWithFlags = stream_create,
    .cudaStreamDestroy = stream_destroy,
    .cudaStreamSynchronize = stream_synchronize,
    .cudaStreamWaitEvent = stream_wait_event,
    .cudaEventCreateWithFlags = event_create,
    .cudaEventDestroy = event_destroy,
    .cudaEventRecord = event_record,
    .cudaEventSynchronize = event_synchronize,
    .cudaEventQuery = event_query,
    .cudaEventElapsedTime = event_elapsed_time,
    .cudaMemcpyAsync = memcpy_async,
    .cudaMemsetAsync = memset_async,
    .cudaLaunchKernel = launch_kernel,
    .cudaStreamBeginCapture = begin_capture,
    .cudaStreamEndCapture = end_capture,
    .cudaGraphInstantiate = graph_instantiate,
    .cudaGraphUpload = graph_upload,
    .cudaGraphLaunch = graph_launch,
    .cudaGraphExecDestroy = exec_destroy,
    .cudaGraphDestroy = graph_destroy,
    .cudaProfilerStart = profiler_start,
    .cudaProfilerStop = profiler_stop,
    .cudaGetErrorName = error_name,
    .cudaGetErrorString = error_string,
};
