/* Every kernel of the CUDA backend on a device, behind the module itself: what
 * kernels/device_check.h says, over every case of every op. A case's buffers lie in host memory;
 * each call copies all of them to device memory, guard bands included, runs there, and copies them
 * back. With QUERN_EXACT_BUFFERS=1 a device allocation ends where its data ends: that is what a
 * memory checker needs to see the first byte outside. */
#include "gpu_device.h"
#include "host/device/device.h"
#include "kernels/device_check.h"
#include "kernels/op_check.h"
#include "kernels/tolerances.h"
#include "quern_test.h"

#include <stdlib.h>
#include <string.h>

static struct {
    quern_device *device;
    const quern_backend *backend;
    quern_stream *stream;
    quern_run *run; /* in device memory */
    bool exact;
} gpu;

typedef struct span {
    unsigned char *host;
    size_t bytes;
} span;

/* What of a buffer lies in device memory. */
static span span_of(const op_buffer *b) {
    unsigned char *data = buffer_data(b);
    if (gpu.exact) return (span){data - b->shift, b->shift + b->bytes};
    return (span){b->base, buffer_total(b)};
}

static size_t allocated(const op_buffer *b) {
    const size_t bytes = span_of(b).bytes;
    return bytes > 0 ? bytes : 1;
}

static void release_buffer(const op_session *s, op_buffer *b) {
    (void)s;
    gpu.backend->release(gpu.device->memory, b->device, allocated(b));
    b->device = NULL;
}

static quern_status upload(op_world *w) {
    for (int32_t i = 0; i < w->buffer_count; i++) {
        op_buffer *b = &w->buffers[i];
        const span s = span_of(b);
        void *device = b->device;
        if (device == NULL)
            QUERN_TRY(gpu.backend->allocate(gpu.device->memory, &device, allocated(b)));
        b->device = device;
        QUERN_TRY(gpu.backend->copy(gpu.stream, b->device, s.host, s.bytes));
    }
    return gpu.backend->copy(gpu.stream, gpu.run, &w->run, sizeof w->run);
}

static quern_status download(const op_world *w) {
    for (int32_t i = 0; i < w->buffer_count; i++) {
        const span s = span_of(&w->buffers[i]);
        QUERN_TRY(gpu.backend->copy(gpu.stream, s.host, w->buffers[i].device, s.bytes));
    }
    return QUERN_OK;
}

/* Where the device has what the host has at `data`. */
static void *on_device(const op_world *w, const void *data) {
    for (int32_t i = 0; data != NULL && i < w->buffer_count; i++) {
        const op_buffer *b = &w->buffers[i];
        if (data == buffer_data(b))
            return b->device + ((const unsigned char *)data - span_of(b).host);
    }
    return NULL;
}

static const quern_view *views_on_device(const op_world *w, quern_view *to, const quern_view *from,
                                         int32_t count) {
    for (int32_t i = 0; from != NULL && i < count; i++) {
        to[i] = from[i];
        to[i].data = on_device(w, from[i].data);
    }
    return from != NULL ? to : NULL;
}

static quern_status run_there(op_world *w, quern_kernel_function function,
                              const quern_kernel_args *args) {
    quern_view in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX], grad_out[QUERN_OUTPUT_MAX];
    quern_view grad_in[QUERN_INPUT_MAX];
    quern_kernel_args there = *args;
    QUERN_TRY(upload(w));
    there.in = views_on_device(w, in, args->in, args->input_count);
    there.out = views_on_device(w, out, args->out, args->output_count);
    there.grad_out = views_on_device(w, grad_out, args->grad_out, args->output_count);
    there.grad_in = views_on_device(w, grad_in, args->grad_in, args->input_count);
    there.saved = on_device(w, args->saved);
    there.scratch = on_device(w, args->scratch);
    there.run = gpu.run;
    QUERN_TRY(gpu.backend->call(gpu.stream, function, &there));
    QUERN_TRY(download(w));
    return gpu.backend->stream_wait(gpu.stream); /* `there` lives no longer */
}

/* Whatever failed, the stream is well and idle afterwards. */
static quern_status run_on_gpu(op_world *w, quern_kernel_function function,
                               const quern_kernel_args *args) {
    world_guard(w, false);
    const quern_status status = run_there(w, function, args);
    if (status != QUERN_OK) {
        const quern_status left = gpu.backend->stream_wait(gpu.stream);
        (void)left;
    }
    world_guard(w, true);
    return status;
}

static quern_status open_device(void) {
    const char *exact = getenv("QUERN_EXACT_BUFFERS");
    void *run = NULL;
    gpu.exact = exact != NULL && strcmp(exact, "1") == 0;
    QUERN_TRY(quern_device_create(&gpu.device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA}));
    gpu.backend = gpu.device->backend;
    QUERN_TRY(gpu.backend->stream_create(gpu.device->memory, &gpu.stream, "op test"));
    QUERN_TRY(gpu.backend->allocate(gpu.device->memory, &run, sizeof *gpu.run));
    gpu.run = run;
    return QUERN_OK;
}

void device_end(void) {
    if (gpu.run != NULL) gpu.backend->release(gpu.device->memory, gpu.run, sizeof *gpu.run);
    if (gpu.stream != NULL) gpu.backend->stream_destroy(gpu.stream);
    quern_device_destroy(gpu.device);
    memset(&gpu, 0, sizeof gpu);
}

bool device_begin(quern_op_id op) {
    if (!gpu_has_device()) return false;
    const bool ready =
        quern_test_check_status(open_device(), QUERN_OK, "open_device()", __FILE__, __LINE__) &&
        quern_test_check(gpu.backend->kernels[op] != NULL, "a kernel", __FILE__, __LINE__);
    if (!ready) device_end();
    return ready;
}

void device_session(op_session *out) {
    *out = (op_session){.stream = gpu.stream,
                        .kernels = gpu.backend->kernels,
                        .run = run_on_gpu,
                        .release = release_buffer};
}

/* A device has its own. */
bool device_order(device_order_kind order) { return (void)order, false; }

#define OP_ALIAS(op)
#define OP_CASES(op, forward, backward)                                                            \
    extern void op_cases_##op(void);                                                               \
    TEST_CASE(GpuOp, op) { op_cases_run(QUERN_OP_ID_##op, forward, backward, op_cases_##op); }
#include "kernels/op_cases.def"
