/* initialize.c - the public quern_parameters: created with every value drawn, read and written.
 *
 * Values are drawn on the host in pieces of STAGE elements and copied to the device, so that the
 * bits do not depend on the backend and the host needs little memory for it. */
#include "initialize.h"

#include "../device/teardown.h"
#include "../graph/parameters.h"
#include "draw.h"

#include <string.h>

enum { STAGE = 16384 };

static quern_device *device_of(const quern_parameters *p) { return p->graph->device; }

static quern_stream *stream_of(const quern_parameters *p) {
    return p->stream ? p->stream : device_of(p)->stream;
}

typedef struct stage {
    float f32[STAGE];
    double f64[STAGE];
} stage;

/* Draws elements [start, start + count) and copies them to `base`, the tensor's first element. */
static quern_status fill_piece(const quern_parameters *p, const draw *d, stage *s, void *base,
                               int64_t start, int64_t count) {
    const size_t element = quern_dtype_bytes(p->dtype);
    const void *from = s->f32;
    draw_values(d, start, count, s->f32);
    if (p->dtype == QUERN_F64) {
        for (int64_t i = 0; i < count; i++) s->f64[i] = (double)s->f32[i];
        from = s->f64;
    }
    QUERN_TRY(device_of(p)->backend->copy(stream_of(p), (char *)base + (size_t)start * element,
                                          from, (size_t)count * element));
    return device_wait_stream(device_of(p), stream_of(p));
}

static quern_status fill_tensor(const quern_parameters *p, const quern_tensor *t, stage *s) {
    const draw d = draw_of(&t->parameter->init, &t->shape, t->parameter->name, device_of(p)->seed);
    const quern_view value = parameters_view(p, t), pending = parameters_pending_view(p, t);
    for (int64_t start = 0; start < value.count; start += STAGE) {
        const int64_t count = value.count - start < STAGE ? value.count - start : STAGE;
        QUERN_TRY(fill_piece(p, &d, s, value.data, start, count));
        if (pending.data) QUERN_TRY(fill_piece(p, &d, s, pending.data, start, count));
    }
    return QUERN_OK;
}

quern_status parameters_initialize(quern_parameters *p) {
    p->stale = true;
    stage *s = NULL;
    quern_status status = QUERN_OK;
    QUERN_TRY(memory_allocate(p->graph->host, &s, 1, sizeof *s, "starting values"));
    for (const quern_tensor *t = p->graph->tensors; t && status == QUERN_OK; t = t->next)
        if (t->parameter) status = fill_tensor(p, t, s);
    memory_release(p->graph->host, s, 1, sizeof *s);
    return status;
}

quern_status quern_parameters_create(quern_parameters **out, quern_graph *graph,
                                     const quern_parameters_desc *desc) {
    quern_parameters *p = NULL;
    if (!out) return quern_fail(QUERN_INVALID, "parameters: out is NULL");
    *out = NULL;
    if (!graph) return quern_fail(QUERN_INVALID, "parameters: graph is NULL");
    QUERN_TRY(graph_status(graph));
    QUERN_TRY(memory_allocate(graph->host, &p, 1, sizeof *p, "parameters"));
    p->graph = graph;
    quern_status status = parameters_plan(p, graph, desc ? desc->precision : QUERN_PRECISION_F32);
    p->stochastic = desc && desc->stochastic_rounding;
    if (status == QUERN_OK && p->stochastic && p->copy_dtype == QUERN_F32)
        status = quern_fail(QUERN_INVALID,
                            "parameters: stochastic_rounding is set, but precision "
                            "is %s: there are no 16-bit copies to be rounded",
                            quern_precision_name(desc->precision));
    if (status == QUERN_OK) status = parameters_allocate(p, desc && desc->gradients);
    if (status == QUERN_OK) status = parameters_initialize(p);
    if (status == QUERN_OK) {
        *out = p;
        return QUERN_OK;
    }
    error_text reason;
    error_save(&reason);
    quern_parameters_destroy(p);
    error_restore(&reason);
    return status;
}

void quern_parameters_destroy(quern_parameters *parameters) {
    if (!parameters) return;
    const quern_host *host = parameters->graph->host;
    /* Work issued earlier (the clearing of these blocks, a program's pass) still writes to them. */
    device_wait_last(device_of(parameters), stream_of(parameters));
    parameters_release(parameters);
    memory_release(host, parameters, 1, sizeof *parameters);
}

/* That `tensor` is one of these parameters' and `bytes` its size. */
static quern_status check(const quern_parameters *p, const quern_tensor *tensor, const void *host,
                          size_t bytes, const char *verb) {
    if (!p || !tensor || (!host && bytes > 0))
        return quern_fail(QUERN_INVALID, "parameters %s: %s is NULL", verb,
                          !p        ? "parameters"
                          : !tensor ? "tensor"
                                    : "the host memory");
    if (tensor->graph != p->graph || !tensor->parameter)
        return quern_fail(QUERN_INVALID,
                          "parameters %s: %s is not a parameter or buffer of this graph", verb,
                          tensor->name);
    const size_t expected = (size_t)parameters_view(p, tensor).count * quern_dtype_bytes(p->dtype);
    if (bytes == expected) return QUERN_OK;
    char shape[160];
    shape_text(&tensor->shape, shape, sizeof shape);
    return quern_fail(QUERN_SHAPE, "parameters %s: %s %s %s has %zu bytes, not %zu", verb,
                      tensor->name, quern_dtype_name(p->dtype), shape, expected, bytes);
}

static quern_status copy_and_wait(const quern_parameters *p, void *to, const void *from,
                                  size_t bytes) {
    if (bytes > 0) QUERN_TRY(device_of(p)->backend->copy(stream_of(p), to, from, bytes));
    return device_wait_stream(device_of(p), stream_of(p));
}

quern_status quern_parameters_read(quern_parameters *parameters, const quern_tensor *tensor,
                                   void *to, size_t bytes) {
    QUERN_TRY(check(parameters, tensor, to, bytes, "read"));
    return copy_and_wait(parameters, to, parameters_view(parameters, tensor).data, bytes);
}

quern_status quern_parameters_write(quern_parameters *parameters, const quern_tensor *tensor,
                                    const void *from, size_t bytes) {
    QUERN_TRY(check(parameters, tensor, from, bytes, "write"));
    const quern_view pending = parameters_pending_view(parameters, tensor);
    parameters->stale = true;
    parameters->writes++;
    if (pending.data) QUERN_TRY(copy_and_wait(parameters, pending.data, from, bytes));
    return copy_and_wait(parameters, parameters_view(parameters, tensor).data, from, bytes);
}

/* The gradients as the loss has them, whatever it was scaled by for the backward pass. */
static quern_status unscale(const quern_parameters *p, float *gradient, size_t bytes) {
    double scale = 1;
    if (!p->gradient_scale || p->dtype != QUERN_F32) return QUERN_OK;
    QUERN_TRY(copy_and_wait(p, &scale, p->gradient_scale, sizeof scale));
    const float factor = (float)(1 / scale);
    for (size_t i = 0; factor != 1 && i < bytes / sizeof *gradient; i++) gradient[i] *= factor;
    return QUERN_OK;
}

quern_status quern_parameters_read_gradient(quern_parameters *parameters,
                                            const quern_tensor *tensor, void *to, size_t bytes) {
    QUERN_TRY(check(parameters, tensor, to, bytes, "read_gradient"));
    const quern_view gradient = parameters_gradient_view(parameters, tensor);
    if (!gradient.data && bytes > 0)
        return quern_fail(QUERN_INVALID, "parameters read_gradient: %s has no gradient here",
                          tensor->name);
    QUERN_TRY(copy_and_wait(parameters, to, gradient.data, bytes));
    return unscale(parameters, to, bytes);
}
