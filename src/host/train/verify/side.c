#include "side.h"

#include "../../nn/initialize.h"
#include "weights.h"
#include <quern/optim.h>

#include <string.h>

static quern_status model_build(side *s, const quern_verify_desc *desc) {
    QUERN_TRY(desc->build(desc->self, s->graph, &s->model));
    QUERN_TRY(graph_status(s->graph));
    if (!s->model.loss) return quern_fail(QUERN_INVALID, "verify: build has set no loss");
    return QUERN_OK;
}

static quern_status tensors_list(side *s) {
    s->tensor_count = s->graph->tensor_count;
    QUERN_TRY(arena_allocate(&s->memory, &s->tensors, s->tensor_count, sizeof(quern_tensor *),
                             "tensors"));
    for (quern_tensor *t = s->graph->tensors; t; t = t->next) s->tensors[t->id] = t;
    return QUERN_OK;
}

quern_status side_open(side *s, quern_device *device, quern_dtype dtype,
                       const quern_verify_desc *desc) {
    *s = (side){.device = device, .memory = {.host = &device->host}};
    QUERN_TRY(quern_graph_create(&s->graph, device, &(quern_graph_desc){.dtype = dtype}));
    QUERN_TRY(model_build(s, desc));
    QUERN_TRY(tensors_list(s));
    s->weights = desc->weights;
    QUERN_TRY(quern_parameters_create(&s->parameters, s->graph,
                                      &(quern_parameters_desc){.gradients = true}));
    return s->weights ? weights_load(s->weights, s->graph, s->parameters) : QUERN_OK;
}

static bool is_pending(const side *s, const quern_tensor *tensor) {
    for (int32_t i = 0; i < s->tensor_count; i++)
        if (s->tensors[i]->role == ROLE_BUFFER && s->tensors[i]->pending == tensor) return true;
    return false;
}

bool side_observes(const side *s, const quern_tensor *t) {
    const bool floats = t->shape.dtype == QUERN_F32 || t->shape.dtype == QUERN_F64;
    return t->role == ROLE_VALUE && t->contiguous && floats && !is_pending(s, t);
}

static quern_status programs_compile(side *s) {
    quern_tensor **outputs = NULL;
    int32_t count = 0;
    QUERN_TRY(arena_allocate(&s->memory, &outputs, s->tensor_count, sizeof *outputs, "outputs"));
    for (int32_t i = 0; i < s->tensor_count; i++)
        if (side_observes(s, s->tensors[i])) outputs[count++] = s->tensors[i];
    quern_program_desc desc = {.graph = s->graph,
                               .parameters = s->parameters,
                               .batch_size = s->batch_size,
                               .training = true,
                               .loss = s->model.loss,
                               .loss_weight = s->model.loss_weight};
    QUERN_TRY(quern_program_create(&s->trained, &desc));
    desc.outputs = outputs;
    desc.output_count = count;
    desc.output_gradients = true;
    return quern_program_create(&s->observed, &desc);
}

static quern_status program_run(side *s, quern_program *program, const verify_batch *batch) {
    QUERN_TRY(batch_write(batch, s->graph, program));
    QUERN_TRY(quern_program_forward(program, 0));
    QUERN_TRY(quern_program_backward(program, false));
    return device_wait_stream(s->device, s->device->stream);
}

quern_status side_run(side *s, const verify_batch *batch) {
    s->batch_size = batch->sample_count;
    QUERN_TRY(programs_compile(s));
    QUERN_TRY(program_run(s, s->observed, batch));
    return program_run(s, s->trained, batch); /* last: its gradients are the ones to update with */
}

quern_status side_update(side *s, const quern_optimizer_desc *desc) {
    quern_optimizer *optimizer = NULL;
    QUERN_TRY(quern_optimizer_create(&optimizer, s->parameters, desc));
    quern_status status = quern_optimizer_update(optimizer);
    if (status == QUERN_OK) status = quern_optimizer_wait(optimizer);
    error_text text;
    error_save(&text);
    quern_optimizer_destroy(optimizer);
    error_restore(&text);
    return status;
}

static quern_status raw_read(const side *s, quern_verify_role role, const quern_tensor *t,
                             void *raw, size_t bytes) {
    switch (role) {
    case QUERN_VERIFY_ACTIVATION: return quern_program_read(s->observed, t, raw, bytes);
    case QUERN_VERIFY_LOSS: return quern_program_read(s->trained, t, raw, bytes);
    case QUERN_VERIFY_ACTIVATION_GRADIENT:
        return quern_program_read_gradient(s->observed, t, raw, bytes);
    case QUERN_VERIFY_GRADIENT:
        if (t->role == ROLE_INPUT) return quern_program_read_gradient(s->trained, t, raw, bytes);
        return quern_parameters_read_gradient(s->parameters, t, raw, bytes);
    case QUERN_VERIFY_STATISTIC:
    case QUERN_VERIFY_WEIGHT: return quern_parameters_read(s->parameters, t, raw, bytes);
    case QUERN_VERIFY_ROLE_COUNT: break;
    }
    return quern_fail(QUERN_INTERNAL, "verify: no such role");
}

quern_status side_read(const side *s, quern_verify_role role, const quern_tensor *tensor,
                       int64_t count, void *raw, double *out) {
    const quern_dtype dtype = tensor->shape.dtype;
    QUERN_TRY(raw_read(s, role, tensor, raw, (size_t)count * quern_dtype_bytes(dtype)));
    const float *narrow = raw;
    if (dtype == QUERN_F64) {
        if (count > 0) memcpy(out, raw, (size_t)count * sizeof *out);
        return QUERN_OK;
    }
    for (int64_t i = 0; i < count; i++) out[i] = (double)narrow[i];
    return QUERN_OK;
}

bool side_has_gradient(const side *s, const quern_tensor *tensor) {
    const quern_view view = program_gradient_view(s->observed, tensor);
    return view.data != NULL;
}

quern_status side_restart(side *s) {
    return s->weights ? weights_load(s->weights, s->graph, s->parameters)
                      : parameters_initialize(s->parameters);
}

quern_status side_write_gradient(side *s, const quern_tensor *tensor, const double *values,
                                 int64_t count) {
    const quern_view view = parameters_gradient_view(s->parameters, tensor);
    quern_stream *stream = s->device->stream;
    QUERN_ENSURE(view.dtype == QUERN_F64 && view.count == count);
    if (count == 0) return QUERN_OK;
    QUERN_TRY(s->device->backend->copy(stream, view.data, values, (size_t)count * sizeof *values));
    return device_wait_stream(s->device, stream);
}

void side_release(side *s) {
    quern_program_destroy(s->observed);
    quern_program_destroy(s->trained);
    quern_parameters_destroy(s->parameters);
    quern_graph_destroy(s->graph);
    arena_release(&s->memory);
    *s = (side){0};
}
