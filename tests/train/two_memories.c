#include "two_memories.h"

#include "host/base/report.h"
#include "host/device/device.h"

two_memories memories;

static quern_backend apart;
static const quern_stream *own_stream;

static quern_status pass(memory_call call) {
    const int64_t n = ++memories.count[call], at = memories.fail_at[call];
    if (at == 0 || n < at || (n > at && !memories.for_ever)) return QUERN_OK;
    return quern_fail(QUERN_INTERNAL, "call %d of kind %d fails by plan", (int)n, (int)call);
}

static quern_status info(backend_device *device, quern_device_info *out) {
    const quern_status status = quern_backend_cpu.info(device, out);
    if (memories.free_bytes > 0) out->memory_free_bytes = memories.free_bytes;
    return status;
}

static quern_status failing(const quern_kernel_args *args) {
    (void)args;
    return quern_fail(QUERN_INTERNAL, "what was issued fails by plan");
}

/* A failure sticks to the stream that it happens on. */
static quern_status pass_on(memory_call kind, quern_stream *stream) {
    static const quern_kernel_args none;
    error_text text;
    const quern_status status = pass(kind);
    if (status == QUERN_OK) return QUERN_OK;
    error_save(&text);
    (void)!quern_backend_cpu.call(stream, failing, &none);
    error_restore(&text);
    return status;
}

static quern_status allocate(backend_device *device, void **out, size_t bytes) {
    *out = NULL;
    QUERN_TRY(pass(MEMORY_ALLOCATE));
    QUERN_TRY(quern_backend_cpu.allocate(device, out, bytes));
    memories.live_bytes += (int64_t)bytes;
    return QUERN_OK;
}

static void release(backend_device *device, void *pointer, size_t bytes) {
    if (pointer) memories.live_bytes -= (int64_t)bytes;
    quern_backend_cpu.release(device, pointer, bytes);
}

static quern_status allocate_pinned(backend_device *device, void **out, size_t bytes) {
    *out = NULL;
    QUERN_TRY(pass(MEMORY_ALLOCATE_PINNED));
    return quern_backend_cpu.allocate_pinned(device, out, bytes);
}

static quern_status stream_create(backend_device *device, quern_stream **out, const char *name) {
    *out = NULL;
    QUERN_TRY(pass(MEMORY_STREAM_CREATE));
    return quern_backend_cpu.stream_create(device, out, name);
}

static quern_status event_create(backend_device *device, backend_event **out) {
    *out = NULL;
    QUERN_TRY(pass(MEMORY_EVENT_CREATE));
    return quern_backend_cpu.event_create(device, out);
}

static quern_status event_record(backend_event *event, quern_stream *stream) {
    QUERN_TRY(pass_on(MEMORY_EVENT_RECORD, stream));
    return quern_backend_cpu.event_record(event, stream);
}

static quern_status stream_wait_event(quern_stream *stream, backend_event *event) {
    QUERN_TRY(pass_on(MEMORY_WAIT_EVENT, stream));
    return quern_backend_cpu.stream_wait_event(stream, event);
}

static quern_status call(quern_stream *stream, quern_kernel_function function,
                         const quern_kernel_args *args) {
    QUERN_TRY(pass_on(MEMORY_CALL, stream));
    return quern_backend_cpu.call(stream, function, args);
}

static quern_status copy(quern_stream *stream, void *to, const void *from, size_t bytes) {
    QUERN_TRY(pass_on(MEMORY_COPY, stream));
    if (stream != own_stream) memories.copied_beside += (int64_t)bytes;
    return quern_backend_cpu.copy(stream, to, from, bytes);
}

static quern_status fill(quern_stream *stream, void *to, int value, size_t bytes) {
    QUERN_TRY(pass_on(MEMORY_FILL, stream));
    return quern_backend_cpu.fill(stream, to, value, bytes);
}

static quern_status capture_begin(quern_stream *stream) {
    QUERN_TRY(pass(MEMORY_CAPTURE));
    return quern_backend_cpu.capture_begin(stream);
}

void two_memories_begin(quern_device *device) {
    memories = (two_memories){0};
    apart = quern_backend_cpu;
    apart.kind = QUERN_BACKEND_CUDA;
    apart.info = info;
    apart.allocate = allocate;
    apart.release = release;
    apart.allocate_pinned = allocate_pinned;
    apart.stream_create = stream_create;
    apart.event_create = event_create;
    apart.event_record = event_record;
    apart.stream_wait_event = stream_wait_event;
    apart.call = call;
    apart.copy = copy;
    apart.fill = fill;
    apart.capture_begin = capture_begin;
    own_stream = device->stream;
    device->backend = &apart;
}

void two_memories_end(quern_device *device) { device->backend = &quern_backend_cpu; }
