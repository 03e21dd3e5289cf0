#include "library_device.h"

#include "host/base/memory.h"
#include "host/base/report.h"
#include "kernels/cuda/device/device.h"

#include <stdlib.h>
#include <string.h>

static quern_host host;
static backend_device device = {.name = "Fake H200", .capability = 90};
static int64_t live;
static size_t device_bytes;
static int64_t (*clock_ns)(void);
static bool refuses;
static int driver_version;
static int64_t record_fails_at, early;
static bool under_way;      /* events were recorded since the host last waited */
static int64_t replayed_ns; /* by launches of captures, whose work has run when it was captured */

static int64_t now(void) { return replayed_ns + (clock_ns != NULL ? clock_ns() : 0); }

/* Nothing is remembered on this machine unless a test names a folder. */
__attribute__((constructor)) static void forget(void) { setenv("QUERN_CACHE", "", 1); }

static void use_default_host(void) {
    if (device.host != NULL) return;
    host = quern_host_default();
    device.host = &host;
}

void library_device_end(void) {
    for (int i = 0; i < CUDA_SLOT_COUNT; i++)
        if (device.slots[i].value != NULL) {
            device.slots[i].drop(&device, device.slots[i].value);
            device.slots[i].value = NULL;
        }
    device.host = NULL;
}

void library_device_begin(const library_device_desc *desc) {
    library_device_end();
    device.host = desc->host;
    device.allow_tf32 = desc->allow_tf32;
    device.tune = desc->tune;
    device.memory_bytes = desc->memory_bytes;
    device.record = desc->record;
    atomic_store(&device.lost, 0);
    device.cache_bytes = 1 << 16;
    device_bytes = desc->allocation_bytes > 0 ? desc->allocation_bytes : SIZE_MAX;
    clock_ns = desc->clock_ns;
    replayed_ns = 0;
    live = 0;
    refuses = false;
    driver_version = 13000;
    record_fails_at = early = 0;
    under_way = false;
}

void library_device_lose(void) { refuses = true; }

void library_device_fail_record(int64_t n) { record_fails_at = n; }

int64_t library_device_taken_early(void) { return early; }

void library_device_driver(int version) { driver_version = version; }

int64_t library_device_live(void) { return live; }

const quern_services *cuda_services(void) {
    static const quern_services services = {
        .fail = quern_fail,
        .error = quern_error,
        .log = log_write,
        .allocate = memory_allocate,
        .release = memory_release,
        .trace_begin = trace_begin,
        .trace_end = trace_end,
    };
    return &services;
}
cudaStream_t cuda_stream_handle(const quern_stream *stream) {
    (void)stream;
    return NULL;
}
backend_device *cuda_stream_device(const quern_stream *stream) {
    (void)stream;
    use_default_host();
    return &device;
}
const char *cuda_stream_doing(const quern_stream *stream) {
    (void)stream;
    return "a test";
}
const quern_host *cuda_device_host(const backend_device *d) { return d->host; }
const char *cuda_device_name(const backend_device *d) { return d->name; }
int32_t cuda_device_capability(const backend_device *d) { return d->capability; }
int64_t cuda_device_memory_bytes(const backend_device *d) { return d->memory_bytes; }
int32_t cuda_device_cache_bytes(const backend_device *d) { return d->cache_bytes; }
bool cuda_device_allows_tf32(const backend_device *d) { return d->allow_tf32; }
bool cuda_device_tunes(const backend_device *d) { return d->tune; }
backend_record *cuda_device_record(const backend_device *d) { return d->record; }
void *cuda_device_slot(const backend_device *d, cuda_slot slot) { return d->slots[slot].value; }
void cuda_device_slot_set(backend_device *d, cuda_slot slot, void *value,
                          void (*drop)(backend_device *device, void *value)) {
    d->slots[slot].value = value;
    d->slots[slot].drop = drop;
}

static cudaError_t fake_get_device(int *index) {
    *index = device.index;
    return cudaSuccess;
}

static cudaError_t fake_get_last_error(void) { return cudaSuccess; }

static const char *fake_error_name(cudaError_t code) {
    (void)code;
    return "a CUDA error";
}

static cudaError_t fake_driver_version(int *version) {
    *version = driver_version;
    return cudaSuccess;
}

static cudaError_t fake_memory_info(size_t *free_bytes, size_t *total_bytes) {
    *free_bytes = *total_bytes = (size_t)device.memory_bytes;
    return refuses ? cudaErrorIllegalAddress : cudaSuccess;
}

static cudaError_t fake_malloc(void **pointer, size_t bytes) {
    if (bytes > device_bytes) return cudaErrorMemoryAllocation;
    *pointer = aligned_alloc(256, (bytes + 255) / 256 * 256); /* as CUDA promises */
    if (*pointer == NULL) return cudaErrorMemoryAllocation;
    live++;
    return cudaSuccess;
}

static cudaError_t fake_free(void *pointer) {
    free(pointer);
    live--;
    return cudaSuccess;
}

static cudaError_t fake_memset(void *to, int value, size_t bytes, cudaStream_t stream) {
    (void)stream;
    memset(to, value, bytes);
    return cudaSuccess;
}

static cudaError_t fake_synchronize(cudaStream_t stream) {
    (void)stream;
    under_way = false;
    return cudaSuccess;
}

static cudaError_t fake_memcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                               cudaStream_t stream) {
    (void)kind, (void)stream;
    memcpy(to, from, bytes);
    return cudaSuccess;
}

/* An event is the time at which it was recorded. */
static cudaError_t fake_event_create(cudaEvent_t *event, unsigned int flags) {
    if ((flags & cudaEventDisableTiming) != 0) return cudaErrorInvalidValue;
    int64_t *time = calloc(1, sizeof *time);
    if (time == NULL) abort();
    live++;
    *event = (cudaEvent_t)(void *)time;
    return cudaSuccess;
}

static cudaError_t fake_event_destroy(cudaEvent_t event) {
    free(event);
    live--;
    return cudaSuccess;
}

static cudaError_t fake_event_record(cudaEvent_t event, cudaStream_t stream) {
    (void)stream;
    if (record_fails_at > 0 && --record_fails_at == 0) return cudaErrorInvalidValue;
    under_way = true;
    *(int64_t *)(void *)event = now();
    return cudaSuccess;
}

static cudaError_t fake_event_synchronize(cudaEvent_t event) {
    under_way = false;
    return event != NULL ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

static cudaError_t fake_event_elapsed(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    const int64_t taken = *(int64_t *)(void *)end - *(int64_t *)(void *)start;
    *milliseconds = (float)((double)taken * 1e-6);
    return cudaSuccess;
}

/* A stream here keeps no failure. */
quern_status cuda_stream_status(quern_stream *stream) {
    (void)stream;
    return QUERN_OK;
}
quern_status cuda_stream_take_failure(quern_stream *stream) {
    (void)stream;
    early += under_way;
    return QUERN_OK;
}

/* What is captured runs at once; a launch takes as long as that did. */
typedef struct recorded {
    backend_capture capture;
    int64_t taken_ns;
} recorded;
static int64_t capture_begun_ns;

quern_status cuda_capture_begin(quern_stream *stream) {
    (void)stream;
    capture_begun_ns = now();
    return QUERN_OK;
}

quern_status cuda_capture_end(quern_stream *stream, backend_capture **out) {
    (void)stream;
    recorded *r = calloc(1, sizeof *r);
    if (r == NULL) abort();
    live++;
    r->taken_ns = now() - capture_begun_ns;
    *out = &r->capture;
    return QUERN_OK;
}

quern_status cuda_capture_launch(backend_capture *capture, quern_stream *stream) {
    (void)stream;
    replayed_ns += ((const recorded *)(const void *)capture)->taken_ns;
    return QUERN_OK;
}

void cuda_capture_destroy(backend_capture *capture) {
    if (capture == NULL) return;
    free(capture);
    live--;
}

const cuda_driver_table cuda_driver = {
    .cudaDriverGetVersion = fake_driver_version,
    .cudaGetDevice = fake_get_device,
    .cudaGetLastError = fake_get_last_error,
    .cudaGetErrorName = fake_error_name,
    .cudaGetErrorString = fake_error_name,
    .cudaMemGetInfo = fake_memory_info,
    .cudaMalloc = fake_malloc,
    .cudaFree = fake_free,
    .cudaMemsetAsync = fake_memset,
    .cudaMemcpyAsync = fake_memcpy,
    .cudaEventCreateWithFlags = fake_event_create,
    .cudaEventDestroy = fake_event_destroy,
    .cudaEventRecord = fake_event_record,
    .cudaEventSynchronize = fake_event_synchronize,
    .cudaEventElapsedTime = fake_event_elapsed,
    .cudaStreamSynchronize = fake_synchronize,
};
