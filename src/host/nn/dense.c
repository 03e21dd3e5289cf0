/* dense.c - y = x W^T + b, and the reshape that comes before it. */
#include "layer.h"

#include "../base/size.h"

#include <inttypes.h>
#include <quern/nn.h>
#include <quern/ops.h>

quern_tensor *quern_dense(quern_graph *graph, quern_tensor *x, const quern_dense_desc *desc) {
    static const quern_dense_desc empty;
    const quern_dense_desc *d = desc ? desc : &empty;
    layer l;
    char shape[160];
    if (!layer_begin(&l, graph, x, "dense", d->name)) return NULL;
    shape_text(&x->shape, shape, sizeof shape);
    if (d->units < 1)
        return layer_fail(&l, QUERN_INVALID, "units is %" PRId64 ", expected above 0", d->units);
    if (x->shape.rank < 1 || x->shape.dim[x->shape.rank - 1] < 1)
        return layer_fail(&l, QUERN_SHAPE, "x %s has no features on its last axis", shape);
    l.fan_in = x->shape.dim[x->shape.rank - 1];
    l.init = d->init;
    quern_tensor *weight = layer_weight(&l, 2, (const int64_t[]){d->units, l.fan_in});
    quern_tensor *bias = d->no_bias ? NULL : layer_bias(&l, d->units);
    quern_tensor *y = quern_linear(graph, x, weight, bias);
    layer_end(&l);
    return y;
}

quern_tensor *quern_flatten(quern_graph *graph, quern_tensor *x) {
    if (!graph || graph->status != QUERN_OK) return NULL;
    if (!x) return graph_stick(graph, quern_fail(QUERN_INVALID, "flatten: x is NULL"));
    quern_reshape_desc d = {.rank = 2, .dim = {x->shape.dim[0], 1}};
    bool fits = x->shape.rank >= 1;
    for (int32_t i = 1; i < x->shape.rank; i++)
        fits = fits && x->shape.dim[i] >= 0 && count_multiply(d.dim[1], x->shape.dim[i], &d.dim[1]);
    if (fits) return quern_reshape(graph, x, &d);
    char shape[160];
    shape_text(&x->shape, shape, sizeof shape);
    return graph_stick(graph, quern_fail(QUERN_SHAPE,
                                         "flatten: %s %s, expected the batch on the first axis "
                                         "and numbers on the others",
                                         x->name, shape));
}
