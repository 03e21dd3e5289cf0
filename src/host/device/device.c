/* device.c - opens a backend and holds what every other object of it needs: the resolved host
 * tables, the seed, one stream. Host memory: this object, and what the backend keeps. */
#include "device.h"

#include "../base/host.h"
#include "../base/memory.h"
#include "../base/report.h"
#include "module.h"
#include "profile.h"

#include <stdio.h>
#include <string.h>

#define THREAD_COUNT_MAX 1024

#define VERSION_TEXT_OF(major, minor, patch) #major "." #minor "." #patch
#define VERSION_TEXT(major, minor, patch) VERSION_TEXT_OF(major, minor, patch)

const char *quern_version(void) {
    return VERSION_TEXT(QUERN_VERSION_MAJOR, QUERN_VERSION_MINOR, QUERN_VERSION_PATCH);
}

/* The module opened, and at least one device usable. */
static quern_status cuda_backend(const quern_backend **out) {
    const quern_backend *cuda;
    *out = NULL;
    QUERN_TRY(module_open(&cuda));
    char reason[512] = "";
    if (cuda->count(reason, sizeof reason) < 1)
        return quern_fail(QUERN_NO_DEVICE, "no usable CUDA device: %s", reason);
    *out = cuda;
    return QUERN_OK;
}

/* Of a kind that was asked for by name. */
static quern_status choose_backend(const quern_backend **out, quern_device_kind kind) {
    *out = &quern_backend_cpu;
    if (kind == QUERN_DEVICE_CPU) return QUERN_OK;
    if (kind == QUERN_DEVICE_CUDA) return cuda_backend(out);
    return quern_fail(QUERN_INVALID, "device kind %d does not exist", (int)kind);
}

static quern_status check_desc(const quern_device_desc *desc) {
    if (desc->index < 0)
        return quern_fail(QUERN_NO_DEVICE, "device index %d: the first is 0", desc->index);
    if (desc->thread_count < 0 || desc->thread_count > THREAD_COUNT_MAX)
        return quern_fail(QUERN_INVALID, "thread_count %d: 1 to %d, or 0 for all cores",
                          desc->thread_count, THREAD_COUNT_MAX);
    if (desc->kind == QUERN_DEVICE_CUDA && desc->thread_count != 0)
        return quern_fail(QUERN_INVALID, "CUDA does not read thread_count");
    return QUERN_OK;
}

/* The CPU kernels may be compiled for a newer processor than the rest of the library, which is why
 * this check stands here and not beside them. */
static quern_status check_processor(const quern_backend *backend) {
#ifdef QUERN_CPU_ARCH_V3
    if (backend == &quern_backend_cpu &&
        !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
          __builtin_cpu_supports("bmi2")))
        return quern_fail(
            QUERN_UNSUPPORTED,
            "this build's CPU kernels need AVX2, FMA and BMI2 (x86-64-v3), which this "
            "processor lacks; build with -DQUERN_CPU_ARCH=");
#endif
    (void)backend;
    return QUERN_OK;
}

static void close_backend(quern_device *d) {
    /* NOLINTBEGIN(clang-analyzer-core.NullDereference) */
    if (d->stream != NULL) d->backend->stream_destroy(d->stream);
    if (d->memory != NULL) d->backend->close(d->memory);
    /* NOLINTEND(clang-analyzer-core.NullDereference) */
    d->stream = NULL;
    d->memory = NULL;
}

static quern_status open_parts(quern_device *d, const backend_open_desc *open) {
    /* The analyzer does not know that quern_fail never returns QUERN_OK, here and in close. */
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    QUERN_TRY(d->backend->open(&d->memory, open));
    QUERN_TRY(d->backend->info(d->memory, &d->info));
    return d->backend->stream_create(d->memory, &d->stream, "quern");
}

static quern_status open_backend(quern_device *d, const quern_backend *backend,
                                 const quern_device_desc *desc, int32_t index) {
    QUERN_ENSURE(backend != NULL);
    QUERN_TRY(check_processor(backend));
    d->backend = backend;
    if (d->host.trace.begin == quern_host_default().trace.begin)
        trace_choose(&d->host, backend->kind == QUERN_BACKEND_CUDA);
    const backend_open_desc open = {
        .index = index,
        .thread_count = desc->thread_count,
        .allow_tf32 = desc->allow_tf32,
        .tune = desc->tune,
        .host = &d->host,
    };
    const quern_status status = open_parts(d, &open);
    if (status != QUERN_OK) close_backend(d);
    return status;
}

/* The first GPU from the index on that can be used; each that cannot is named. */
static quern_status open_cuda(quern_device *d, const quern_device_desc *desc) {
    const quern_backend *cuda = NULL;
    QUERN_TRY(cuda_backend(&cuda));
    QUERN_ENSURE(cuda != NULL);
    const int32_t count = cuda->count(NULL, 0);
    if (desc->index >= count) return open_backend(d, cuda, desc, desc->index);
    for (int32_t i = desc->index;; i++) {
        const quern_status status = open_backend(d, cuda, desc, i);
        if (status == QUERN_OK || status == QUERN_HOST_MEMORY || i + 1 >= count) return status;
        log_write(&d->host, QUERN_LOG_WARNING, "a GPU is not used: %s", quern_error());
    }
}

/* That there is no GPU is no failure of this call, nor that none can be used; it is said. */
static quern_status open_best(quern_device *d, const quern_device_desc *desc) {
    error_text before;
    error_save(&before);
    const quern_status status = open_cuda(d, desc);
    if (status == QUERN_HOST_MEMORY) return status;
    if (status == QUERN_OK)
        log_write(&d->host, QUERN_LOG_INFO, "using CUDA");
    else /* a module that is installed, be it one that does not load, is meant to be used */
        log_write(&d->host, module_is_there() ? QUERN_LOG_WARNING : QUERN_LOG_INFO,
                  "using the CPU: %s", quern_error());
    error_restore(&before);
    return status == QUERN_OK ? QUERN_OK : open_backend(d, &quern_backend_cpu, desc, 0);
}

static quern_status open_kind(quern_device *d, const quern_device_desc *desc) {
    const quern_backend *backend;
    if (desc->kind == QUERN_DEVICE_BEST) return open_best(d, desc);
    QUERN_TRY(choose_backend(&backend, desc->kind));
    return open_backend(d, backend, desc, desc->index);
}

quern_status quern_device_create(quern_device **out, const quern_device_desc *desc) {
    static const quern_device_desc defaults;
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_device_create: out is NULL");
    *out = NULL;
    if (desc == NULL) desc = &defaults;
    QUERN_TRY(check_desc(desc));
    quern_host host = desc->host;
    QUERN_TRY(host_resolve(&host));
    quern_device *d;
    QUERN_TRY(memory_allocate(&host, &d, 1, sizeof *d, "a device"));
    d->host = host;
    d->seed = desc->seed;
    d->allow_nondeterministic = desc->allow_nondeterministic;
    d->trace_ops = desc->trace_ops;
    const quern_status status = open_kind(d, desc);
    if (status != QUERN_OK) {
        quern_device_destroy(d);
        return status;
    }
    *out = d;
    return QUERN_OK;
}

void quern_device_destroy(quern_device *device) {
    if (device == NULL) return;
    close_backend(device);
    const quern_host host = device->host;
    memory_release(&host, device, 1, sizeof *device);
}

/* Free memory changes, so it is asked for anew. */
quern_status quern_device_info_get(const quern_device *device, quern_device_info *out) {
    if (device == NULL || out == NULL)
        return quern_fail(QUERN_INVALID, "quern_device_info_get: an argument is NULL");
    return device->backend->info(device->memory, out);
}

static int32_t count_cuda(char *reason, size_t reason_bytes) {
    const quern_backend *cuda;
    if (module_open(&cuda) == QUERN_OK) return cuda->count(reason, reason_bytes);
    snprintf(reason, reason_bytes, "%s", quern_error());
    return 0;
}

int32_t quern_device_count(quern_device_kind kind, char *reason, size_t reason_bytes) {
    char unread[1];
    if (reason == NULL || reason_bytes == 0) {
        reason = unread;
        reason_bytes = sizeof unread;
    }
    reason[0] = 0;
    error_text before; /* counting fails nobody */
    error_save(&before);
    int32_t count = 0;
    if (kind == QUERN_DEVICE_CUDA)
        count = count_cuda(reason, reason_bytes);
    else if (kind == QUERN_DEVICE_CPU || kind == QUERN_DEVICE_BEST)
        count = 1;
    else
        snprintf(reason, reason_bytes, "device kind %d does not exist", (int)kind);
    error_restore(&before);
    return count;
}

void *quern_stream_native(const quern_stream *stream) {
    if (!stream) return NULL;
    return ((const backend_stream *)(const void *)stream)->backend->stream_native(stream);
}
