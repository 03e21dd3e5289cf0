/* parameters.c - where each parameter and buffer lies in the flat blocks. */
#include "parameters.h"

#include "../base/size.h"

#include <string.h>

enum { PAD = 16 }; /* elements: 64 bytes of F32, 128 of F64 */

static quern_status place(quern_tensor *tensor, int64_t *next) {
    quern_view view;
    QUERN_TRY(shape_view(&tensor->shape, 0, &view));
    tensor->offset = *next;
    int64_t padded = 0;
    if (!count_add(view.count, PAD - 1, &padded) || !count_add(*next, padded / PAD * PAD, next))
        return quern_fail(QUERN_SHAPE, "%s: the parameters have more elements than fit",
                          tensor->name);
    return QUERN_OK;
}

static bool same_segment(const quern_segment *s, const quern_parameter_desc *d) {
    return s->learning_rate_scale == d->learning_rate_scale &&
           s->weight_decay_scale == d->weight_decay_scale;
}

/* The first unfrozen parameter that no segment holds yet starts the next segment. */
static quern_status next_segment(quern_parameters *p, bool *more) {
    *more = false;
    for (quern_tensor *t = p->graph->tensors; t && !*more; t = t->next) {
        bool held = t->role != ROLE_PARAMETER || t->parameter->frozen;
        for (int32_t i = 0; !held && i < p->segment_count; i++)
            held = same_segment(&p->segments[i], t->parameter);
        if (held) continue;
        int64_t capacity = p->segment_capacity;
        QUERN_TRY(memory_grow(p->graph->host, &p->segments, &capacity, p->segment_count,
                              p->segment_count + 1, sizeof *p->segments, "segments"));
        p->segment_capacity = (int32_t)capacity;
        p->segments[p->segment_count++] = (quern_segment){
            .start = p->value_count,
            .learning_rate_scale = t->parameter->learning_rate_scale,
            .weight_decay_scale = t->parameter->weight_decay_scale,
        };
        *more = true;
    }
    return QUERN_OK;
}

static quern_status plan_segments(quern_parameters *p) {
    bool more = false;
    QUERN_TRY(next_segment(p, &more));
    while (more) {
        quern_segment *segment = &p->segments[p->segment_count - 1];
        for (quern_tensor *t = p->graph->tensors; t; t = t->next)
            if (t->role == ROLE_PARAMETER && !t->parameter->frozen &&
                same_segment(segment, t->parameter))
                QUERN_TRY(place(t, &p->value_count));
        segment->count = p->value_count - segment->start;
        QUERN_TRY(next_segment(p, &more));
    }
    p->trainable_count = p->value_count;
    return QUERN_OK;
}

quern_status parameters_plan(quern_parameters *out, quern_graph *graph, quern_precision precision) {
    QUERN_TRY(graph_status(graph));
    QUERN_TRY(precision_check(precision, graph));
    const quern_dtype dtype = precision_dtype(precision);
    *out = (quern_parameters){.graph = graph, .dtype = graph->dtype, .copy_dtype = dtype};
    graph->sealed = true;
    QUERN_TRY(plan_segments(out));
    for (quern_tensor *t = graph->tensors; t; t = t->next) {
        if (t->role == ROLE_PARAMETER && t->parameter->frozen)
            QUERN_TRY(place(t, &out->value_count));
        if (t->role == ROLE_BUFFER) QUERN_TRY(place(t, &out->buffer_count));
    }
    return QUERN_OK;
}

static quern_status block(quern_parameters *p, void **out, int64_t count) {
    const quern_device *device = p->graph->device;
    size_t bytes = 0;
    if (count == 0) return QUERN_OK;
    if (!count_bytes(count, quern_dtype_bytes(p->dtype), &bytes))
        return quern_fail(QUERN_SHAPE, "%lld parameters are more than fit", (long long)count);
    QUERN_TRY(device->backend->allocate(device->memory, out, bytes));
    return device->backend->fill(device->stream, *out, 0, bytes);
}

quern_status parameters_allocate(quern_parameters *p, bool gradients) {
    QUERN_TRY(block(p, &p->values, p->value_count));
    if (gradients) QUERN_TRY(block(p, &p->gradients, p->trainable_count));
    QUERN_TRY(block(p, &p->buffers, p->buffer_count));
    QUERN_TRY(block(p, &p->pending, p->buffer_count));
    QUERN_TRY(parameters_copies_allocate(p));
    quern_device *device = p->graph->device;
    return device_wait_stream(device, device->stream);
}

static void block_release(quern_parameters *p, void *data, int64_t count) {
    const quern_device *device = p->graph->device;
    const size_t bytes = (size_t)count * quern_dtype_bytes(p->dtype);
    if (data) device->backend->release(device->memory, data, bytes);
}

void parameters_release(quern_parameters *p) {
    if (!p->graph) return;
    parameters_copies_release(p);
    block_release(p, p->values, p->value_count);
    block_release(p, p->gradients, p->trainable_count);
    block_release(p, p->buffers, p->buffer_count);
    block_release(p, p->pending, p->buffer_count);
    memory_release(p->graph->host, p->segments, p->segment_capacity, sizeof *p->segments);
    *p = (quern_parameters){0};
}

static quern_view view_at(const quern_parameters *p, const quern_tensor *tensor, void *base) {
    quern_view view = {0};
    if (shape_view(&tensor->shape, 0, &view) != QUERN_OK || !base) return view;
    view.data = (char *)base + (size_t)tensor->offset * quern_dtype_bytes(p->dtype);
    return view;
}

quern_view parameters_view(const quern_parameters *p, const quern_tensor *tensor) {
    return view_at(p, tensor, tensor->role == ROLE_BUFFER ? p->buffers : p->values);
}

quern_view parameters_gradient_view(const quern_parameters *p, const quern_tensor *tensor) {
    return view_at(p, tensor, tensor->wants_gradient ? p->gradients : NULL);
}

quern_view parameters_pending_view(const quern_parameters *p, const quern_tensor *tensor) {
    return view_at(p, tensor, tensor->role == ROLE_BUFFER ? p->pending : NULL);
}
