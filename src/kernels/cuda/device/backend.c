/* backend.c - CUDA devices as a backend: which there are, what they are, and their memory.
 *
 * Device memory is plain cudaMalloc: the core asks for few, large blocks, once, and captured
 * graphs keep their addresses. Pinned memory is portable, so that every device may copy from it. */
#include "../library/algorithm_record.h"
#include "../library/library_report.h"
#include "architecture.h"
#include "device.h"
#include "driver_release.h"

#include <stdio.h>
#include <string.h>

/* What nvcc compiled for; set by the build. */
#ifndef QUERN_CUDA_ARCHITECTURES
#define QUERN_CUDA_ARCHITECTURES "75"
#endif

static void say(char *reason, size_t bytes, const char *sentence) {
    if (reason != NULL && bytes > 0) snprintf(reason, bytes, "%s", sentence);
}

/* "it supports CUDA 12.4 (release 550.54.15), this module needs CUDA 13.0 (release 580)" */
static void say_too_old(char *words, size_t bytes, int driver, int runtime) {
    char release[24];
    driver_release_read(DRIVER_RELEASE_FILE, release, sizeof release);
    snprintf(words, bytes,
             "the NVIDIA driver is too old: it supports CUDA %d.%d%s%s%s, this module needs "
             "%d.%d%s",
             driver / 1000, driver % 1000 / 10, release[0] != 0 ? " (release " : "", release,
             release[0] != 0 ? ")" : "", runtime / 1000, runtime % 1000 / 10,
             runtime / 1000 == 13 ? " (release " DRIVER_RELEASE_OF_CUDA_13 " or newer)" : "");
}

/* Why cudaGetDeviceCount fails, in words that tell what to do. */
static void say_why_none(char *reason, size_t bytes, cudaError_t code) {
    int driver = 0, runtime = 0;
    char words[256];
    IGNORED(cudaDriverGetVersion, (&driver));
    IGNORED(cudaRuntimeGetVersion, (&runtime));
    if (driver == 0)
        snprintf(words, sizeof words,
                 "no NVIDIA driver was found (libcuda.so.1 is missing or does not load)");
    else if (code == cudaErrorInsufficientDriver)
        say_too_old(words, sizeof words, driver, runtime);
    else if (code == cudaErrorNoDevice || code == cudaSuccess)
        snprintf(words, sizeof words, "the NVIDIA driver is there but shows no GPU");
    else
        snprintf(words, sizeof words, "cudaGetDeviceCount failed with %d (%s: %s)", (int)code,
                 cuda_driver.cudaGetErrorName(code), cuda_driver.cudaGetErrorString(code));
    say(reason, bytes, words);
}

static int32_t count_devices(char *reason, size_t reason_bytes) {
    int count = 0;
    say(reason, reason_bytes, "");
    const cudaError_t code = cuda_driver.cudaGetDeviceCount(&count);
    if (code == cudaSuccess && count > 0) return count;
    IGNORED(cudaGetLastError, ());
    say_why_none(reason, reason_bytes, code);
    return 0;
}

static void write_uuid(char *to, size_t bytes, const cudaUUID_t *uuid) {
    size_t at = (size_t)snprintf(to, bytes, "GPU-");
    for (int i = 0; i < 16 && at < bytes; i++) {
        const char *dash = i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
        at += (size_t)snprintf(to + at, bytes - at, "%s%02x", dash,
                               (unsigned)(unsigned char)uuid->bytes[i]);
    }
}

static quern_status check_architecture(const backend_device *d) {
    bool from_ptx;
    const int major = (int)d->capability / 10, minor = (int)d->capability % 10;
    if (!architecture_covers(QUERN_CUDA_ARCHITECTURES, (int)d->capability, &from_ptx))
        return cuda_fail(QUERN_UNSUPPORTED,
                         "CUDA device %d (%s) has compute capability %d.%d; this module was built "
                         "for %s (QUERN_CUDA_ARCH)",
                         (int)d->index, d->name, major, minor, QUERN_CUDA_ARCHITECTURES);
    if (from_ptx)
        cuda_services()->log(d->host, QUERN_LOG_WARNING,
                             "CUDA device %d (%s) has compute capability %d.%d; this module was "
                             "built for %s, so that the driver compiles its kernels from PTX at "
                             "their first use",
                             (int)d->index, d->name, major, minor, QUERN_CUDA_ARCHITECTURES);
    return QUERN_OK;
}

static quern_status describe(backend_device *d) {
    struct cudaDeviceProp p;
    QUERN_TRY(CHECKED(d, "opening it", cudaGetDeviceProperties, (&p, d->index)));
    snprintf(d->name, sizeof d->name, "%.*s", (int)sizeof d->name - 1, p.name);
    write_uuid(d->uuid, sizeof d->uuid, &p.uuid);
    snprintf(d->pci, sizeof d->pci, "%08x:%02x:%02x.0", (unsigned)p.pciDomainID,
             (unsigned)p.pciBusID, (unsigned)p.pciDeviceID);
    d->multiprocessors = p.multiProcessorCount;
    d->cache_bytes = p.l2CacheSize;
    d->capability = p.major * 10 + p.minor;
    d->memory_bytes = (int64_t)p.totalGlobalMem;
    return check_architecture(d);
}

/* A library frees what its handle holds on the current device. A device that is lost is asked
 * nothing any more. */
static void drop_slots(backend_device *d) {
    int previous = d->index;
    const bool well = atomic_load(&d->lost) == 0;
    if (well) IGNORED(cudaGetDevice, (&previous));
    if (previous != d->index) IGNORED(cudaSetDevice, (d->index));
    for (int i = CUDA_SLOT_COUNT - 1; i >= 0; i--)
        if (d->slots[i].value != NULL) d->slots[i].drop(d, d->slots[i].value);
    device_leave(d, previous);
}

static void close_device(backend_device *d) {
    bool any = false;
    if (d == NULL) return;
    for (int i = 0; i < CUDA_SLOT_COUNT; i++) any |= d->slots[i].value != NULL;
    if (any) drop_slots(d);
    cuda_services()->release(d->host, d, 1, sizeof *d);
}

/* A driver alone is no toolkit: who asks for the best device gets another then. */
static quern_status check_libraries(const backend_device *d) {
    char words[900];
    if (library_require() == QUERN_OK) return QUERN_OK;
    snprintf(words, sizeof words, "%s", cuda_services()->error());
    return cuda_fail(QUERN_NO_DEVICE, "CUDA device %d (%s) cannot be used without cuBLASLt: %s",
                     (int)d->index, d->name, words);
}

static quern_status open_device(backend_device **out, const backend_open_desc *desc) {
    char reason[256];
    *out = NULL;
    const int32_t count = count_devices(reason, sizeof reason);
    if (count == 0) return cuda_fail(QUERN_NO_DEVICE, "no usable CUDA device: %s", reason);
    if (desc->index < 0 || desc->index >= count)
        return cuda_fail(QUERN_NO_DEVICE, "CUDA device %d was asked for; there %s %d, from index 0",
                         (int)desc->index, count == 1 ? "is" : "are", (int)count);
    backend_device *d;
    QUERN_TRY(cuda_services()->allocate(desc->host, &d, 1, sizeof *d, "a CUDA device"));
    d->host = desc->host;
    d->index = desc->index;
    d->allow_tf32 = desc->allow_tf32;
    d->tune = desc->tune;
    quern_status status = describe(d);
    if (status == QUERN_OK) status = check_libraries(d);
    if (status != QUERN_OK) {
        close_device(d);
        return status;
    }
    *out = d;
    return QUERN_OK;
}

static quern_status memory_info(backend_device *d, int64_t *free_bytes, int64_t *total_bytes) {
    int previous;
    size_t free = 0, total = 0;
    quern_status status = device_enter(d, &previous);
    if (status == QUERN_OK)
        status = CHECKED(d, "asking for its memory", cudaMemGetInfo, (&free, &total));
    device_leave(d, previous);
    *free_bytes = (int64_t)free;
    *total_bytes = (int64_t)total;
    return status;
}

static quern_status device_info(backend_device *d, quern_device_info *out) {
    *out = (quern_device_info){
        .kind = QUERN_DEVICE_CUDA,
        .index = d->index,
        .thread_count = d->multiprocessors,
        .capability = d->capability,
    };
    memcpy(out->name, d->name, sizeof out->name);
    memcpy(out->uuid, d->uuid, sizeof out->uuid);
    memcpy(out->pci, d->pci, sizeof out->pci);
    const quern_status status = memory_info(d, &out->memory_free_bytes, &out->memory_bytes);
    if (status != QUERN_DEVICE_MEMORY) return status;
    char sentence[CUDA_SENTENCE_BYTES];
    snprintf(sentence, sizeof sentence, "%s", cuda_services()->error());
    return cuda_fail(status, "%s: another process may hold its memory (nvidia-smi shows it)",
                     sentence);
}

/* Out of memory is the failure that people meet: say how much there is. */
static quern_status say_memory(backend_device *d, size_t bytes) {
    int64_t free = 0, total = 0;
    if (memory_info(d, &free, &total) != QUERN_OK) free = total = 0;
    return cuda_fail(QUERN_DEVICE_MEMORY,
                     "no memory on CUDA device %d (%s): %zu bytes were asked for (cudaMalloc), "
                     "%lld of %lld are free",
                     (int)d->index, d->name, bytes, (long long)free, (long long)total);
}

static quern_status check_allocation(backend_device *d, cudaError_t code, const char *call,
                                     size_t bytes) {
    char what[64];
    snprintf(what, sizeof what, "an allocation of %zu bytes", bytes);
    return cuda_check(d, code, call, what);
}

static quern_status allocate_here(backend_device *d, void **out, size_t bytes) {
    const cudaError_t code = cuda_driver.cudaMalloc(out, bytes);
    if (code != cudaErrorMemoryAllocation) return check_allocation(d, code, "cudaMalloc", bytes);
    IGNORED(cudaGetLastError, ());
    return say_memory(d, bytes);
}

static quern_status allocate(backend_device *d, void **out, size_t bytes) {
    int previous;
    *out = NULL;
    if (bytes == 0) return QUERN_OK;
    quern_status status = device_enter(d, &previous);
    if (status == QUERN_OK) status = allocate_here(d, out, bytes);
    device_leave(d, previous);
    if (status != QUERN_OK) *out = NULL;
    return status;
}

static void release(backend_device *d, void *pointer, size_t bytes) {
    (void)bytes;
    if (pointer != NULL) TORN_DOWN(d, cudaFree, (pointer));
}

/* Pinned memory is the host's. */
static quern_status pin_here(backend_device *d, void **out, size_t bytes) {
    const cudaError_t code = cuda_driver.cudaHostAlloc(out, bytes, cudaHostAllocPortable);
    if (code != cudaErrorMemoryAllocation) return check_allocation(d, code, "cudaHostAlloc", bytes);
    IGNORED(cudaGetLastError, ());
    return cuda_fail(QUERN_HOST_MEMORY,
                     "no pinned memory for CUDA device %d (%s): cudaHostAlloc of %zu bytes failed",
                     (int)d->index, d->name, bytes);
}

static quern_status allocate_pinned(backend_device *d, void **out, size_t bytes) {
    int previous;
    *out = NULL;
    if (bytes == 0) return QUERN_OK;
    quern_status status = device_enter(d, &previous);
    if (status == QUERN_OK) status = pin_here(d, out, bytes);
    device_leave(d, previous);
    if (status != QUERN_OK) *out = NULL;
    return status;
}

static void release_pinned(backend_device *d, void *pointer, size_t bytes) {
    (void)bytes;
    if (pointer != NULL) TORN_DOWN(d, cudaFreeHost, (pointer));
}

int32_t cuda_device_multiprocessors(const backend_device *d) { return d->multiprocessors; }
int32_t cuda_device_capability(const backend_device *d) { return d->capability; }
int32_t cuda_device_cache_bytes(const backend_device *d) { return d->cache_bytes; }
int32_t cuda_device_index(const backend_device *d) { return d->index; }
const char *cuda_device_name(const backend_device *d) { return d->name; }
const quern_host *cuda_device_host(const backend_device *d) { return d->host; }
int64_t cuda_device_memory_bytes(const backend_device *d) { return d->memory_bytes; }
bool cuda_device_allows_tf32(const backend_device *d) { return d->allow_tf32; }
bool cuda_device_tunes(const backend_device *d) { return d->tune; }
backend_record *cuda_device_record(const backend_device *d) { return d->record; }

static void record_use(backend_device *d, backend_record *record) { d->record = record; }

/* What tensor cores compute: cuDNN's engines for them want channels last, and give row-major images
 * a copy before and behind. Those of F32 and F64 without take either, and row-major as it is
 * (tests/kernels/cuda/test_cudnn_plans.c counts their scratch). */
static bool channels_last(const backend_device *d, quern_dtype dtype, bool tf32) {
    return dtype == QUERN_F16 || dtype == QUERN_BF16 ||
           (dtype == QUERN_F32 && (tf32 || d->allow_tf32));
}

void *cuda_device_slot(const backend_device *d, cuda_slot slot) { return d->slots[slot].value; }

void cuda_device_slot_set(backend_device *d, cuda_slot slot, void *value,
                          void (*drop)(backend_device *device, void *value)) {
    d->slots[slot].value = value;
    d->slots[slot].drop = drop;
}

const quern_backend cuda_backend = {
    .name = "cuda",
    .kind = QUERN_BACKEND_CUDA,
    .count = count_devices,
    .open = open_device,
    .close = close_device,
    .info = device_info,
    .allocate = allocate,
    .release = release,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_wait = cuda_stream_wait,
    .stream_status = cuda_stream_status,
    .stream_native = cuda_stream_native,
    .stream_wait_native = cuda_stream_wait_native,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_query = cuda_event_query,
    .stream_wait_event = cuda_stream_wait_event,
    .call = cuda_call,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .capture_launch = cuda_capture_launch,
    .capture_destroy = cuda_capture_destroy,
    .record_create = cuda_record_create,
    .record_destroy = cuda_record_destroy,
    .record_use = record_use,
    .record_write = cuda_record_write,
    .channels_last = channels_last,
    .kernels = cuda_kernels,
    .tasks = cuda_tasks,
    .update_rules = cuda_update_rules,
    .collectives = &cuda_collectives,
};
