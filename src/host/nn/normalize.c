/* normalize.c - batch and layer normalisation with their parameters and running statistics.
 *
 * batch_norm's second and third output are the next running statistics, which graph_apply makes
 * the buffers' pending values: an update commits them, a skipped attempt leaves them alone. */
#include "layer.h"

#include <quern/nn.h>
#include <quern/ops.h>

quern_tensor *quern_batch_normalize(quern_graph *graph, quern_tensor *x,
                                    const quern_batch_normalize_desc *desc) {
    layer l;
    char shape[160];
    if (!layer_begin(&l, graph, x, "batch_norm", desc ? desc->name : NULL)) return NULL;
    shape_text(&x->shape, shape, sizeof shape);
    if (x->shape.rank < 2 || x->shape.dim[1] < 1)
        return layer_fail(&l, QUERN_SHAPE, "x %s has no channels on axis 1", shape);
    const int64_t channels = x->shape.dim[1];
    quern_tensor *weight = layer_constant(&l, "weight", channels, 1);
    quern_tensor *bias = layer_constant(&l, "bias", channels, 0);
    quern_tensor *mean = layer_buffer(&l, "running_mean", channels, 0);
    quern_tensor *variance = layer_buffer(&l, "running_var", channels, 1);
    quern_tensor *y =
        quern_batch_norm(graph, x, weight, bias, mean, variance, desc ? &desc->norm : NULL);
    layer_end(&l);
    return y;
}

quern_tensor *quern_layer_normalize(quern_graph *graph, quern_tensor *x,
                                    const quern_layer_normalize_desc *desc) {
    layer l;
    char shape[160];
    if (!layer_begin(&l, graph, x, "layer_norm", desc ? desc->name : NULL)) return NULL;
    shape_text(&x->shape, shape, sizeof shape);
    if (x->shape.rank < 1 || x->shape.dim[x->shape.rank - 1] < 1)
        return layer_fail(&l, QUERN_SHAPE, "x %s has no features on its last axis", shape);
    const int64_t features = x->shape.dim[x->shape.rank - 1];
    quern_tensor *weight = layer_constant(&l, "weight", features, 1);
    quern_tensor *bias = desc && desc->no_bias ? NULL : layer_constant(&l, "bias", features, 0);
    quern_tensor *y = quern_layer_norm(graph, x, weight, bias, desc ? &desc->norm : NULL);
    layer_end(&l);
    return y;
}
