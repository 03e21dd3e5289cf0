/* backend.c - the CPU as a backend: the reference for correctness, and the default without a GPU.
 * There is one CPU device, index 0; host memory is its memory. */
#include "stream.h"

#include "../../host/base/memory.h"
#include "collective.h"
#include "cpu.h"

static int32_t cpu_count(char *reason, size_t reason_bytes) {
    if (reason != NULL && reason_bytes > 0) reason[0] = 0;
    return 1;
}

static quern_status cpu_open(backend_device **out, const backend_open_desc *desc) {
    *out = NULL;
    if (desc->index != 0)
        return quern_fail(QUERN_NO_DEVICE, "CPU device %d was asked for; there is 1, index 0",
                          desc->index);
    const int32_t threads = desc->thread_count > 0 ? desc->thread_count : machine_core_count();
    backend_device *d;
    QUERN_TRY(memory_allocate(desc->host, &d, 1, sizeof *d, "a CPU device"));
    d->host = desc->host;
    const quern_status status = pool_create(&d->pool, desc->host, threads);
    if (status != QUERN_OK) {
        memory_release(desc->host, d, 1, sizeof *d);
        return status;
    }
    *out = d;
    return QUERN_OK;
}

static void cpu_close(backend_device *d) {
    if (d == NULL) return;
    pool_destroy(d->pool);
    memory_release(d->host, d, 1, sizeof *d);
}

static quern_status cpu_info(backend_device *d, quern_device_info *out) {
    *out = (quern_device_info){
        .kind = QUERN_DEVICE_CPU,
        .thread_count = pool_thread_count(d->pool),
    };
    machine_name(out->name, sizeof out->name);
    machine_memory(&out->memory_bytes, &out->memory_free_bytes);
    return QUERN_OK;
}

/* HOST_MEMORY and not DEVICE_MEMORY: it is the host that has run out. */
static quern_status cpu_allocate(backend_device *d, void **out, size_t bytes) {
    *out = NULL;
    if (bytes == 0) return QUERN_OK;
    *out = d->host->allocator.allocate(d->host->allocator.self, bytes);
    if (*out != NULL) return QUERN_OK;
    return quern_fail(QUERN_HOST_MEMORY, "no memory on the CPU device: %zu bytes", bytes);
}

static void cpu_release(backend_device *d, void *pointer, size_t bytes) {
    memory_release(d->host, pointer, 1, bytes);
}

static bool cpu_channels_last(const backend_device *d, quern_dtype dtype, bool tf32) {
    (void)d, (void)dtype, (void)tf32;
    return false;
}

const quern_backend quern_backend_cpu = {
    .name = "cpu",
    .kind = QUERN_BACKEND_CPU,
    .count = cpu_count,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .allocate_pinned = cpu_allocate,
    .release_pinned = cpu_release,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_wait = cpu_stream_wait,
    .stream_status = cpu_stream_status,
    .stream_native = cpu_stream_native,
    .stream_wait_native = cpu_stream_wait_native,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_record,
    .event_wait = cpu_event_wait,
    .event_query = cpu_event_query,
    .stream_wait_event = cpu_stream_wait_event,
    .call = cpu_call,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .capture_begin = cpu_capture_begin,
    .capture_end = cpu_capture_end,
    .capture_launch = cpu_capture_launch,
    .capture_destroy = cpu_capture_destroy,
    .record_create = cpu_record_create,
    .record_destroy = cpu_record_destroy,
    .record_use = cpu_record_use,
    .record_write = cpu_record_write,
    .channels_last = cpu_channels_last,
    .kernels = cpu_kernels,
    .tasks = cpu_tasks,
    .update_rules = cpu_update_rules,
    .collectives = &cpu_collectives,
};
