/* layer.h - what the layers share: their scope and how their parameters start. */
#ifndef QUERN_NN_LAYER_H
#define QUERN_NN_LAYER_H

#include "../graph/graph.h"

/* A layer being built: everything named inside is called "<scope>.<layer>.<name>". */
typedef struct layer {
    quern_graph *graph;
    bool scoped; /* its scope is open */
    int64_t fan_in;
    quern_init init; /* of the weights; kind ZERO: the default, uniform in ±1/sqrt(fan_in) */
} layer;

/* Opens the scope `name`, or `kind` and the first number that is free: "dense1". False when the
 * graph has failed already, or now because x is missing. layer_end closes it in either case. */
bool layer_begin(layer *l, quern_graph *graph, const quern_tensor *x, const char *kind,
                 const char *name);
void layer_end(layer *l);

/* Set fan_in and init first. As in PyTorch's nn.Linear and nn.Conv2d, biases start uniform in
 * ±1/sqrt(fan_in) too, or at zero when init names a kind. Biases have no weight decay. */
quern_tensor *layer_weight(const layer *l, int32_t rank, const int64_t *dim);
quern_tensor *layer_bias(const layer *l, int64_t count);

/* A vector that starts at `value` and is not decayed: a normalisation's scale or shift. */
quern_tensor *layer_constant(const layer *l, const char *name, int64_t count, float value);
quern_tensor *layer_buffer(const layer *l, const char *name, int64_t count, float value);

/* Ends the layer with a failure that names it; returns NULL for the builder to return. */
quern_tensor *layer_fail(layer *l, quern_status status, const char *format, ...) QUERN_PRINTF(3, 4);

#endif
