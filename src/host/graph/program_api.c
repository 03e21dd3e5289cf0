/* program_api.c - programs without a trainer: their own memory, one step at a time. */
#include "compile.h"

#include "../base/size.h"
#include "../device/teardown.h"

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
    unsigned passes; /* over the inputs at hand */
};

/* SPENT: a backward has begun to overwrite what forward left. */
enum { PASS_FORWARD = 1, PASS_BACKWARD = 2, PASS_SPENT = 4 };

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
    if (p->owned) /* what is still running reads this memory */
        device_wait_last(p->graph->device, p->graph->device->stream);
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
    *own->host_state = (task_state){.run.seed = p->graph->device->seed, .scale = 1, .seeded = 1};
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
    if (!out) return quern_fail(QUERN_INVALID, "program: out is NULL");
    *out = NULL;
    QUERN_TRY(program_plan(&p, desc, false));
    const quern_status s = blocks_allocate(p);
    if (s != QUERN_OK) {
        error_text reason;
        error_save(&reason);
        quern_program_destroy(p);
        error_restore(&reason);
        return s;
    }
    if (p->desc.loss) tasks_fill(p);
    *out = p;
    return QUERN_OK;
}

static quern_status memory_of(quern_memory *out, const quern_program_desc *desc) {
    quern_program *p = NULL;
    QUERN_TRY(program_plan(&p, desc, true));
    const quern_parameters *v = desc->parameters;
    const size_t element = quern_dtype_bytes(v->dtype);
    quern_memory m = {.activation_bytes = p->arena_bytes,
                      .workspace_bytes = program_workspace_bytes(p),
                      .input_bytes = p->input_bytes};
    quern_program_destroy(p);
    size_t buffers = 0; /* and their pending values */
    const bool fits = count_bytes(v->value_count, element, &m.parameter_bytes) &&
                      size_add(m.parameter_bytes, parameters_copy_bytes(v), &m.parameter_bytes) &&
                      count_bytes(v->buffer_count, 2 * element, &buffers) &&
                      size_add(m.parameter_bytes, buffers, &m.parameter_bytes) &&
                      count_bytes(desc->training && !desc->no_backward ? v->trainable_count : 0,
                                  element, &m.gradient_bytes) &&
                      size_add(m.parameter_bytes, m.gradient_bytes, &m.peak_bytes) &&
                      size_add(m.peak_bytes, m.activation_bytes, &m.peak_bytes) &&
                      size_add(m.peak_bytes, m.input_bytes, &m.peak_bytes);
    if (!fits) return quern_fail(QUERN_SHAPE, "program: its memory has more bytes than fit");
    *out = m;
    return QUERN_OK;
}

quern_status quern_program_memory(quern_memory *out, const quern_program_desc *desc) {
    if (!out) return quern_fail(QUERN_INVALID, "program: out is NULL");
    *out = (quern_memory){0};
    if (!desc || !desc->graph) return quern_fail(QUERN_INVALID, "program: graph is NULL");
    if (desc->parameters) return memory_of(out, desc);
    quern_parameters planned = {0};
    quern_program_desc with = *desc;
    with.parameters = &planned;
    const bool sealed = desc->graph->sealed; /* a question leaves the graph as it is */
    quern_status s = parameters_plan(&planned, desc->graph, desc->precision);
    if (s == QUERN_OK) s = memory_of(out, &with);
    parameters_release(&planned);
    desc->graph->sealed = sealed;
    return s;
}

/* The checks that every access to a tensor of a program begins with. */
static quern_status access_check(const quern_program *p, const quern_tensor *tensor,
                                 const void *host, size_t bytes) {
    if (!p || !tensor || (!host && bytes > 0))
        return quern_fail(QUERN_INVALID, "program: %s is NULL",
                          !p        ? "the program"
                          : !tensor ? "the tensor"
                                    : "the host memory");
    if (program_knows(p, tensor)) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "program: %s %s", tensor->name,
                      tensor->graph == p->graph ? "was added after the program was made"
                                                : "belongs to another graph");
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
    if (!program || !program_knows(program, tensor) || tensor->role != ROLE_INPUT) return NULL;
    return program_view(program, tensor).data;
}

quern_status quern_program_wait_event(quern_program *p, void *event) {
    if (!p || !event)
        return quern_fail(QUERN_INVALID, "program: %s is NULL", p ? "the event" : "the program");
    return p->backend->stream_wait_native(p->graph->device->stream, event);
}

quern_status quern_program_write(quern_program *p, const quern_tensor *tensor, const void *host,
                                 size_t bytes) {
    QUERN_TRY(access_check(p, tensor, host, bytes));
    const quern_view view = program_view(p, tensor);
    if (tensor->role != ROLE_INPUT)
        return quern_fail(QUERN_INVALID, "program: %s is no input", tensor->name);
    p->owned->passes = 0; /* what forward saved belongs to the former batch */
    QUERN_TRY(view_check(p, tensor, &view, bytes, "input"));
    if (bytes) QUERN_TRY(p->backend->copy(p->graph->device->stream, view.data, host, bytes));
    return device_wait_stream(p->graph->device, p->graph->device->stream);
}

/* What has not been computed from the inputs at hand is garbage, and backward would follow it. */
static quern_status pass_check(const quern_program *p, unsigned pass, const char *what) {
    if ((p->owned->passes & pass) != 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "program: %s without a %s since the inputs were written", what,
                      pass == PASS_FORWARD ? "forward" : "backward");
}

quern_status quern_program_forward(quern_program *p, int64_t attempt) {
    if (!p) return quern_fail(QUERN_INVALID, "program: the program is NULL");
    quern_stream *stream = p->graph->device->stream;
    struct owned_blocks *own = p->owned;
    own->passes = 0;
    QUERN_TRY(
        device_wait_stream(p->graph->device, stream)); /* host_state is read by the copy below */
    *own->host_state =
        (task_state){.run = {p->graph->device->seed, attempt, 0}, .scale = 1, .seeded = 1};
    QUERN_TRY(p->backend->copy(stream, own->state, own->host_state, sizeof *own->state));
    QUERN_TRY(parameters_copies_renew(p->parameters, stream));
    QUERN_TRY(program_issue(p, PROGRAM_FORWARD, stream));
    if (p->desc.loss)
        QUERN_TRY(p->backend->call(stream, p->backend->tasks[TASK_weigh], &own->weigh_args));
    own->passes = PASS_FORWARD;
    return QUERN_OK;
}

quern_status quern_program_backward(quern_program *p, bool accumulate) {
    if (!p) return quern_fail(QUERN_INVALID, "program: the program is NULL");
    quern_stream *stream = p->graph->device->stream;
    if (!p->desc.training || p->desc.no_backward)
        return quern_fail(QUERN_INVALID, "program: backward of a program that %s",
                          p->desc.training ? "was made with no_backward" : "is not training");
    QUERN_TRY(pass_check(p, PASS_FORWARD, "backward"));
    if (p->owned->passes & PASS_SPENT)
        return quern_fail(QUERN_INVALID, "program: a second backward behind one forward, whose "
                                         "values the first has overwritten");
    p->owned->passes |= PASS_SPENT;
    QUERN_TRY(p->backend->call(stream, p->backend->tasks[TASK_seed], &p->owned->seed_args));
    QUERN_TRY(program_issue(p, accumulate ? PROGRAM_BACKWARD_FOLLOWING : PROGRAM_BACKWARD, stream));
    p->owned->passes |= PASS_BACKWARD;
    return QUERN_OK;
}

static quern_status read_view(quern_program *p, const quern_view *view, void *to, size_t bytes) {
    quern_stream *stream = p->graph->device->stream;
    if (bytes) QUERN_TRY(p->backend->copy(stream, to, view->data, bytes));
    return device_wait_stream(p->graph->device, stream);
}

quern_status quern_program_read(quern_program *p, const quern_tensor *tensor, void *to,
                                size_t bytes) {
    QUERN_TRY(access_check(p, tensor, to, bytes));
    const quern_view view = program_view(p, tensor);
    if (!tensor->contiguous)
        return quern_fail(QUERN_INVALID,
                          "program: output %s is strided; read "
                          "quern_contiguous() of it",
                          tensor->name);
    QUERN_TRY(view_check(p, tensor, &view, bytes, "output"));
    if (tensor->role == ROLE_VALUE) QUERN_TRY(pass_check(p, PASS_FORWARD, "reading an output"));
    return read_view(p, &view, to, bytes);
}

quern_status quern_program_read_gradient(quern_program *p, const quern_tensor *tensor, void *to,
                                         size_t bytes) {
    QUERN_TRY(access_check(p, tensor, to, bytes));
    const quern_view view = program_gradient_view(p, tensor);
    QUERN_TRY(view_check(p, tensor, &view, bytes, "tensor with a gradient"));
    QUERN_TRY(pass_check(p, PASS_BACKWARD, "reading a gradient"));
    return read_view(p, &view, to, bytes);
}
