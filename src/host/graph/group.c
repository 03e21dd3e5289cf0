/* group.c - what is said of parameters after they were made. */
#include "graph.h"
#include "../base/report.h"

#include <math.h>
#include <string.h>

static bool is_under(const char *name, const char *scope) {
    const size_t length = scope ? strlen(scope) : 0;
    if (!scope) return true;
    return strncmp(name, scope, length) == 0 && (name[length] == '.' || name[length] == 0);
}

static quern_status scale(float *value, float by, const quern_tensor *tensor, const char *field) {
    const float factor = by != 0 ? by : signbit(by) ? 0 : 1, product = *value * factor;
    if (!(factor >= 0) || !(product >= 0) || isinf(product))
        return quern_fail(QUERN_INVALID, "group: %s %g times the %g of %s", field, (double)by,
                          (double)*value, tensor->name);
    *value = product;
    return QUERN_OK;
}

static quern_status apply(quern_graph *graph, const char *scope, const quern_group_desc *desc) {
    bool any = false;
    if (!desc) return quern_fail(QUERN_INVALID, "group: desc is NULL");
    if (graph->sealed)
        return quern_fail(QUERN_INVALID, "group %s: the graph's parameters exist already",
                          scope ? scope : "");
    for (quern_tensor *t = graph->tensors; t; t = t->next) {
        if (t->role != ROLE_PARAMETER || !is_under(t->name, scope)) continue;
        quern_parameter_desc *p = t->parameter;
        QUERN_TRY(
            scale(&p->learning_rate_scale, desc->learning_rate_scale, t, "learning_rate_scale"));
        QUERN_TRY(scale(&p->weight_decay_scale, desc->weight_decay_scale, t, "weight_decay_scale"));
        p->frozen = p->frozen || desc->frozen;
        t->wants_gradient = !p->frozen;
        any = true;
    }
    if (any) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "group: there is no parameter under \"%s\"",
                      scope ? scope : "");
}

void quern_group(quern_graph *graph, const char *scope, const quern_group_desc *desc) {
    if (!graph || graph->status != QUERN_OK) return;
    const quern_status status = apply(graph, scope, desc);
    if (status != QUERN_OK) graph_stick(graph, status);
}
