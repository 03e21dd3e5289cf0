/* nn.h - layers: parameters and ops together, named as PyTorch users expect
 * ("fc1.weight" (out, in); convolutions (K, C/groups, R, S)). Without `name`, the layer is called
 * after its kind and number in the graph: "dense1" (conv1, batch_norm1, layer_norm1). Weight decay
 * leaves biases and the parameters of normalisations alone. */
#ifndef QUERN_NN_H
#define QUERN_NN_H

#include <quern/graph.h>
#include <quern/op_desc.h>

QUERN_BEGIN_C

/* x (…, in) -> (…, units). Weights and biases start as in PyTorch's nn.Linear, uniform in
 * ±1/sqrt(in), unless `init` names another kind for the weights (biases are then zero). */
typedef struct quern_dense_desc {
    int64_t units; /* required */
    const char *name;
    bool no_bias;
    quern_init init;
} quern_dense_desc;
QUERN_API quern_tensor *quern_dense(quern_graph *graph, quern_tensor *x,
                                    const quern_dense_desc *desc);

/* x (N, C, H, W) -> (N, channels, H', W'); starts like PyTorch's nn.Conv2d. */
typedef struct quern_conv_desc {
    int64_t channels;  /* required */
    int32_t window[2]; /* required */
    quern_conv2d_desc conv;
    const char *name;
    bool no_bias;
    quern_init init;
} quern_conv_desc;
QUERN_API quern_tensor *quern_conv(quern_graph *graph, quern_tensor *x,
                                   const quern_conv_desc *desc);

/* Channels are axis 1. Parameters weight, bias; buffers running_mean, running_var. */
typedef struct quern_batch_normalize_desc {
    quern_batch_norm_desc norm;
    const char *name;
} quern_batch_normalize_desc;
QUERN_API quern_tensor *quern_batch_normalize(quern_graph *graph, quern_tensor *x,
                                              const quern_batch_normalize_desc *desc);

typedef struct quern_layer_normalize_desc {
    quern_layer_norm_desc norm;
    const char *name;
    bool no_bias;
} quern_layer_normalize_desc;
QUERN_API quern_tensor *quern_layer_normalize(quern_graph *graph, quern_tensor *x,
                                              const quern_layer_normalize_desc *desc);

/* x (N, …) -> (N, rest): a reshape. */
QUERN_API quern_tensor *quern_flatten(quern_graph *graph, quern_tensor *x);

QUERN_END_C
#endif
