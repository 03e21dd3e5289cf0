/* program_api.c - programs without a trainer: their own memory, one step at a time. */
#include "compile.h"

#include "../base/size.h"

#include "../../kernels/task.h"

#include <string.h>

/* Device memory that quern_program_create made. */
struct owned_blocks {
    void *arena, *inputs;
    task_state *state;      /* device */
    task_state *host_state; /* pinned */
    task_weigh weigh;
    task_seed seed;
    quern_kernel_args weigh_args, seed_args;
};

static void owned_release(quern_program *p) {
    struct owned_blocks *own = p->owned;
    const quern_backend *b = p->backend;
    backend_device *memory = p->graph->device->memory;
    if (!own) return;
    if (own->arena) b->release(memory, own->arena, p->arena_bytes);
    if (own->inputs) b->release(memory, own->inputs, p->input_bytes);
    if (own->state) b->release(memory, own->state, sizeof *own->state);
    if (own->host_state) b->release_pinned(memory, own->host_state, sizeof *own->host_state);
    memory_release(p->host, own, 1, sizeof *own);
}

void quern_program_destroy(quern_program *p) {
    if (!p) return;
    if (p->owned) {
        /* what is still running reads this memory; its failure has nobody left to hear it */
        const quern_status s = p->backend->stream_wait(p->graph->device->stream);
        (void)s;
    }
    owned_release(p);
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].kernel && p->nodes[i].kernel->drop && p->nodes[i].plan)
            p->nodes[i].kernel->drop(p->nodes[i].plan);
    memory_release(p->host, p->items, p->item_capacity, sizeof *p->items);
    arena_release(&p->memory);
    memory_release(p->host, p, 1, sizeof *p);
}

static quern_status blocks_allocate(quern_program *p) {
    struct owned_blocks *own = NULL;
    const quern_backend *b = p->backend;
    backend_device *memory = p->graph->device->memory;
    QUERN_TRY(memory_allocate(p->host, &p->owned, 1, sizeof *own, "program memory"));
    own = p->owned;
    if (p->arena_bytes) QUERN_TRY(b->allocate(memory, &own->arena, p->arena_bytes));
    if (p->input_bytes) QUERN_TRY(b->allocate(memory, &own->inputs, p->input_bytes));
    void *state = NULL;
    QUERN_TRY(b->allocate(memory, &state, sizeof *own->state));
    own->state = state;
    QUERN_TRY(b->allocate_pinned(memory, &state, sizeof *own->host_state));
    own->host_state = state;
    *own->host_state = (task_state){.run.seed = p->graph->device->seed};
    return program_bind(p, own->arena, own->inputs, &own->state->run);
}

static void tasks_fill(quern_program *p) {
    struct owned_blocks *own = p->owned;
    const quern_tensor *weight = p->desc.loss_weight;
    own->weigh = (task_weigh){
        .state = own->state, .loss = program_view(p, p->desc.loss), .samples = p->desc.batch_size};
    if (weight) own->weigh.weight = program_view(p, weight);
    own->seed = (task_seed){own->state, program_gradient_view(p, p->desc.loss)};
    own->weigh_args =
        (quern_kernel_args){.attributes = &own->weigh, .stream = p->graph->device->stream};
    own->seed_args =
        (quern_kernel_args){.attributes = &own->seed, .stream = p->graph->device->stream};
}

quern_status quern_program_create(quern_program **out, const quern_program_desc *desc) {
    quern_program *p = NULL;
    *out = NULL;
    QUERN_TRY(program_plan(&p, desc));
    const quern_status s = blocks_allocate(p);
    if (s != QUERN_OK) {
        quern_program_destroy(p);
        return s;
    }
    if (p->desc.loss) tasks_fill(p);
    *out = p;
    return QUERN_OK;
}

static quern_status memory_of(quern_memory *out, const quern_program_desc *desc) {
    quern_program *p = NULL;
    QUERN_TRY(program_plan(&p, desc));
    const quern_parameters *v = desc->parameters;
    const size_t element = quern_dtype_bytes(v->dtype);
    *out = (quern_memory){
        .parameter_bytes = (size_t)(v->value_count + 2 * v->buffer_count) * element,
        .gradient_bytes = desc->training ? (size_t)v->trainable_count * element : 0,
        .activation_bytes = p->arena_bytes,
        .input_bytes = p->input_bytes,
    };
    out->peak_bytes =
        out->parameter_bytes + out->gradient_bytes + out->activation_bytes + out->input_bytes;
    quern_program_destroy(p);
    return QUERN_OK;
}

quern_status quern_program_memory(quern_memory *out, const quern_program_desc *desc) {
    *out = (quern_memory){0};
    if (!desc || !desc->graph) return quern_fail(QUERN_INVALID, "program: graph is NULL");
    if (desc->parameters) return memory_of(out, desc);
    quern_parameters planned = {0};
    quern_program_desc with = *desc;
    with.parameters = &planned;
    quern_status s = parameters_plan(&planned, desc->graph);
    if (s == QUERN_OK) s = memory_of(out, &with);
    parameters_release(&planned);
    return s;
}

static quern_status view_check(const quern_program *p, const quern_tensor *tensor,
                               const quern_view *view, size_t bytes, const char *what) {
    const size_t expected = (size_t)view->count * quern_dtype_bytes(view->dtype);
    if (!view->data && view->count > 0)
        return quern_fail(QUERN_INVALID, "program: %s is no %s of it", tensor->name, what);
    if (bytes != expected)
        return quern_fail(QUERN_SHAPE, "program: %s has %zu bytes for a batch of %lld, not %zu",
                          tensor->name, expected, (long long)p->desc.batch_size, bytes);
    return QUERN_OK;
}

void *quern_program_input(quern_program *program, const quern_tensor *tensor) {
    return tensor->role == ROLE_INPUT ? program_view(program, tensor).data : NULL;
}

quern_status quern_program_write(quern_program *p, const quern_tensor *tensor, const void *host,
                                 size_t bytes) {
    const quern_view view = program_view(p, tensor);
    if (tensor->role != ROLE_INPUT)
        return quern_fail(QUERN_INVALID, "program: %s is no input", tensor->name);
    QUERN_TRY(view_check(p, tensor, &view, bytes, "input"));
    if (bytes) QUERN_TRY(p->backend->copy(p->graph->device->stream, view.data, host, bytes));
    return p->backend->stream_wait(p->graph->device->stream);
}

quern_status quern_program_forward(quern_program *p, int64_t attempt) {
    quern_stream *stream = p->graph->device->stream;
    struct owned_blocks *own = p->owned;
    QUERN_TRY(p->backend->stream_wait(stream)); /* host_state is read by the copy below */
    *own->host_state = (task_state){.run = {p->graph->device->seed, attempt, 0}};
    QUERN_TRY(p->backend->copy(stream, own->state, own->host_state, sizeof *own->state));
    QUERN_TRY(program_issue(p, PROGRAM_FORWARD, stream));
    if (!p->desc.loss) return QUERN_OK;
    return p->backend->call(stream, p->backend->tasks[TASK_weigh], &own->weigh_args);
}

quern_status quern_program_backward(quern_program *p, bool accumulate) {
    quern_stream *stream = p->graph->device->stream;
    if (!p->desc.training)
        return quern_fail(QUERN_INVALID, "program: backward of a program that is not training");
    QUERN_TRY(p->backend->call(stream, p->backend->tasks[TASK_seed], &p->owned->seed_args));
    return program_issue(p, accumulate ? PROGRAM_BACKWARD_FOLLOWING : PROGRAM_BACKWARD, stream);
}

static quern_status read_view(quern_program *p, const quern_view *view, void *to, size_t bytes) {
    quern_stream *stream = p->graph->device->stream;
    if (bytes) QUERN_TRY(p->backend->copy(stream, to, view->data, bytes));
    return p->backend->stream_wait(stream);
}

quern_status quern_program_read(quern_program *p, const quern_tensor *tensor, void *to,
                                size_t bytes) {
    const quern_view view = program_view(p, tensor);
    if (!tensor->contiguous)
        return quern_fail(QUERN_INVALID,
                          "program: output %s is strided; read "
                          "quern_contiguous() of it",
                          tensor->name);
    QUERN_TRY(view_check(p, tensor, &view, bytes, "output"));
    return read_view(p, &view, to, bytes);
}

quern_status quern_program_read_gradient(quern_program *p, const quern_tensor *tensor, void *to,
                                         size_t bytes) {
    const quern_view view = program_gradient_view(p, tensor);
    QUERN_TRY(view_check(p, tensor, &view, bytes, "tensor with a gradient"));
    return read_view(p, &view, to, bytes);
}
