#include "kernel_bench.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 22 };

quern_status tensor_make(bench *b, tensor *out, quern_dtype dtype, int32_t rank,
                         const int64_t *dim) {
    tensor *t = &b->tensors[b->tensor_count];
    if (b->tensor_count == BENCH_TENSORS)
        return quern_fail(QUERN_INTERNAL, "more than %d tensors", BENCH_TENSORS);
    *t = (tensor){.view = {.rank = rank, .count = 1, .dtype = dtype}};
    for (int32_t i = rank - 1; i >= 0; i--) {
        t->view.dim[i] = dim[i];
        t->view.stride[i] = t->view.count;
        t->view.count *= dim[i];
    }
    t->bytes = (size_t)t->view.count * quern_dtype_bytes(dtype) + 64;
    QUERN_TRY(b->backend->allocate(b->device->memory, &t->view.data, t->bytes));
    b->tensor_count++;
    *out = *t;
    return QUERN_OK;
}

static uint32_t scrambled(int64_t position, uint32_t salt) {
    uint32_t h = (uint32_t)position * 747796405u + salt * 2891336453u;
    h = (h ^ (h >> 16)) * 2246822519u;
    return h ^ (h >> 13);
}

static quern_status cast_planned(bench *b, const quern_kernel *kernel, quern_kernel_args *args,
                                 size_t scratch_bytes) {
    void *scratch = NULL;
    if (scratch_bytes > 0)
        QUERN_TRY(b->backend->allocate(b->device->memory, &scratch, scratch_bytes));
    args->scratch = scratch;
    quern_status status = b->backend->call(b->stream, kernel->forward, args);
    const quern_status done = b->backend->stream_wait(b->stream); /* args live no longer */
    if (status == QUERN_OK) status = done;
    if (scratch != NULL) b->backend->release(b->device->memory, scratch, scratch_bytes);
    return status;
}

quern_status bench_cast(bench *b, const quern_view *from, const quern_view *to) {
    const quern_kernel *kernel = b->backend->kernels[QUERN_OP_ID_cast];
    quern_kernel_args args = {.attributes = &(quern_cast_desc){.dtype = to->dtype},
                              .input_count = 1,
                              .output_count = 1,
                              .in = from,
                              .out = to,
                              .deterministic = true,
                              .stream = b->stream};
    quern_kernel_plan plan = {.args = &args};
    if (from->dtype == to->dtype)
        return b->backend->copy(b->stream, to->data, from->data,
                                (size_t)from->count * quern_dtype_bytes(from->dtype));
    if (kernel->plan != NULL) QUERN_TRY(kernel->plan(&plan));
    args.plan = plan.plan;
    const quern_status status = cast_planned(b, kernel, &args, plan.forward_scratch_bytes);
    if (kernel->drop != NULL) kernel->drop(plan.plan);
    return status;
}

/* A piece of at most CHUNK elements, through `staged` in device memory. */
static quern_status fill_piece(bench *b, const quern_view *view, int64_t start, int64_t count,
                               const void *values, const tensor *staged) {
    const size_t bytes = quern_dtype_bytes(view->dtype);
    quern_view from = staged->view, to = *view;
    from.rank = to.rank = 1;
    from.dim[0] = to.dim[0] = from.count = to.count = count;
    from.stride[0] = to.stride[0] = 1;
    to.data = (char *)view->data + (size_t)start * bytes;
    QUERN_TRY(b->backend->copy(b->stream, from.data, values, (size_t)count * 4));
    QUERN_TRY(b->backend->stream_wait(b->stream));
    return bench_cast(b, &from, &to);
}

quern_status tensor_fill(bench *b, const quern_view *view, uint32_t salt, float scale,
                         float offset) {
    union {
        float real;
        int32_t index;
    } *values = malloc(sizeof *values * CHUNK);
    const bool index = view->dtype == QUERN_I32; /* scale: how many there are */
    tensor staged;
    quern_status status = values == NULL
                              ? quern_fail(QUERN_HOST_MEMORY, "no memory for a chunk")
                              : tensor_make(b, &staged, index ? QUERN_I32 : QUERN_F32, 1,
                                            &(int64_t){view->count < CHUNK ? view->count : CHUNK});
    for (int64_t start = 0; status == QUERN_OK && start < view->count; start += CHUNK) {
        const int64_t rest = view->count - start, count = rest < CHUNK ? rest : CHUNK;
        for (int64_t i = 0; i < count; i++) {
            const uint32_t h = scrambled(start + i, salt);
            if (index)
                values[i].index = (int32_t)(h % (uint32_t)scale);
            else
                values[i].real =
                    (float)((int32_t)(h >> 8 & 0xFFFF) - 32768) / 32768.0f * scale + offset;
        }
        status = fill_piece(b, view, start, count, values, &staged);
    }
    if (status == QUERN_OK) status = b->backend->stream_wait(b->stream);
    free(values);
    return status;
}

quern_status node_plan(bench *b, node *n, quern_op_id op, const void *attributes,
                       int32_t input_count, int32_t output_count) {
    quern_kernel_args *args = &n->forward;
    tensor saved = {0}, scratch = {0};
    n->kernel = b->backend->kernels[op];
    *args = (quern_kernel_args){.attributes = attributes,
                                .input_count = input_count,
                                .output_count = output_count,
                                .in = n->in,
                                .out = n->out,
                                .grad_out = n->grad_out,
                                .grad_in = n->grad_in,
                                .accumulate = n->accumulate,
                                .training = true,
                                .deterministic = !b->options.nondeterministic,
                                .stream = b->stream};
    quern_kernel_plan plan = {.args = args, .backward = true};
    for (int32_t i = 0; i < input_count; i++)
        if (n->grad_in[i].data != NULL) plan.wanted |= UINT32_C(1) << i;
    if (n->kernel->plan != NULL) QUERN_TRY(n->kernel->plan(&plan));
    args->plan = plan.plan;
    b->node_count++; /* from here on its plan is dropped at the end */
    const size_t most = plan.forward_scratch_bytes > plan.backward_scratch_bytes
                            ? plan.forward_scratch_bytes
                            : plan.backward_scratch_bytes;
    QUERN_TRY(tensor_make(b, &saved, QUERN_U8, 1, &(int64_t){(int64_t)plan.saved_bytes + 1}));
    QUERN_TRY(tensor_make(b, &scratch, QUERN_U8, 1, &(int64_t){(int64_t)most + 1}));
    args->saved = saved.view.data;
    args->scratch = scratch.view.data;
    n->backward = *args;
    return QUERN_OK;
}

quern_status bench_turn(bench *b) {
    for (int32_t i = 0; i < b->node_count; i++)
        QUERN_TRY(b->backend->call(b->stream, b->nodes[i].kernel->forward, &b->nodes[i].forward));
    for (int32_t i = b->node_count - 1; i >= 0; i--)
        QUERN_TRY(b->backend->call(b->stream, b->nodes[i].kernel->backward, &b->nodes[i].backward));
    for (int32_t i = 0; i < b->call_count; i++)
        QUERN_TRY(b->backend->call(b->stream, b->calls[i].function, &b->calls[i].args));
    if (b->copy_bytes == 0) return QUERN_OK;
    return b->backend->copy(b->stream, b->copy_to, b->copy_from, b->copy_bytes);
}

quern_status bench_open(bench *b, const options *o) {
    b->options = *o;
    QUERN_TRY(quern_device_create(
        &b->device, &(quern_device_desc){.kind = o->kind,
                                         .tune = o->kind == QUERN_DEVICE_CUDA && o->tune,
                                         .allow_nondeterministic = o->nondeterministic}));
    b->backend = b->device->backend;
    QUERN_TRY(b->backend->stream_create(b->device->memory, &b->stream, "bench"));
    QUERN_TRY(subject_build(b));
    return b->backend->stream_wait(b->stream);
}

void bench_close(bench *b) {
    if (b->turns != NULL) b->backend->capture_destroy(b->turns);
    if (b->stream != NULL) b->backend->stream_destroy(b->stream);
    for (int32_t i = 0; i < b->node_count; i++)
        if (b->nodes[i].kernel->drop != NULL) b->nodes[i].kernel->drop(b->nodes[i].forward.plan);
    for (int32_t i = 0; i < b->tensor_count; i++)
        b->backend->release(b->device->memory, b->tensors[i].view.data, b->tensors[i].bytes);
    quern_device_destroy(b->device);
}
