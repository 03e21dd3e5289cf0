/* layer.c - scopes, numbers and starting values of layers. */
#include "layer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Whether `scope.layer.weight` exists: every kind of layer that is numbered has a weight. */
static bool layer_exists(quern_graph *graph, const char *name) {
    char weight[sizeof graph->scope + 64];
    const int length = snprintf(weight, sizeof weight, "%s%s%s.weight", graph->scope,
                                graph->scope[0] ? "." : "", name);
    return length >= 0 && (size_t)length < sizeof weight && quern_tensor_find(graph, weight);
}

bool layer_begin(layer *l, quern_graph *graph, const quern_tensor *x, const char *kind,
                 const char *name) {
    char numbered[48];
    *l = (layer){.graph = graph, .fan_in = 1};
    if (!graph || graph->status != QUERN_OK) return false;
    if (!x) {
        graph_stick(graph, quern_fail(QUERN_INVALID, "%s%s%s: x is NULL", kind, name ? " " : "",
                                      name ? name : ""));
        return false;
    }
    if (!name) {
        for (int32_t i = 1; i == 1 || layer_exists(graph, numbered); i++)
            snprintf(numbered, sizeof numbered, "%s%d", kind, (int)i);
        name = numbered;
    }
    quern_scope_push(graph, name);
    l->scoped = graph->status == QUERN_OK;
    return l->scoped;
}

void layer_end(layer *l) {
    if (l->scoped) quern_scope_pop(l->graph);
}

static quern_init uniform_by_fan(const layer *l) {
    const float bound = (float)(1 / sqrt((double)(l->fan_in > 0 ? l->fan_in : 1)));
    return (quern_init){.kind = QUERN_INIT_UNIFORM, .a = -bound, .b = bound};
}

quern_tensor *layer_weight(const layer *l, int32_t rank, const int64_t *dim) {
    const bool named = l->init.kind != QUERN_INIT_ZERO;
    quern_parameter_desc desc = {
        .name = "weight", .rank = rank, .init = named ? l->init : uniform_by_fan(l)};
    if (l->graph->status != QUERN_OK) return NULL;
    if (!named && (l->init.a != 0 || l->init.b != 0 || l->init.fan_out))
        return graph_stick(l->graph, quern_fail(QUERN_INVALID, "%s: init has values but no kind",
                                                l->graph->scope));
    memcpy(desc.dim, dim, (size_t)rank * sizeof *dim);
    return quern_parameter(l->graph, &desc);
}

quern_tensor *layer_bias(const layer *l, int64_t count) {
    const bool named = l->init.kind != QUERN_INIT_ZERO;
    return quern_parameter(
        l->graph, &(quern_parameter_desc){.name = "bias",
                                          .rank = 1,
                                          .dim = {count},
                                          .init = named ? (quern_init){0} : uniform_by_fan(l),
                                          .weight_decay_scale = QUERN_ZERO});
}

static quern_parameter_desc constant_desc(const char *name, int64_t count, float value) {
    return (quern_parameter_desc){
        .name = name, .rank = 1, .dim = {count}, .init = {.kind = QUERN_INIT_CONSTANT, .a = value}};
}

quern_tensor *layer_constant(const layer *l, const char *name, int64_t count, float value) {
    quern_parameter_desc desc = constant_desc(name, count, value);
    desc.weight_decay_scale = QUERN_ZERO;
    return quern_parameter(l->graph, &desc);
}

quern_tensor *layer_buffer(const layer *l, const char *name, int64_t count, float value) {
    const quern_parameter_desc desc = constant_desc(name, count, value);
    return quern_buffer(l->graph, &desc);
}

quern_tensor *layer_fail(layer *l, quern_status status, const char *format, ...) {
    char reason[512];
    va_list values;
    va_start(values, format);
    vsnprintf(reason, sizeof reason, format, values);
    va_end(values);
    graph_stick(l->graph, quern_fail(status, "%s: %s", l->graph->scope, reason));
    layer_end(l);
    return NULL;
}
