/* lenet.c - LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998) with ReLU and max-pooling, as it is
 * commonly trained today. Client code of quern/nn.h.
 *   conv1 6 of 5x5, pool 2, conv2 16 of 5x5, pool 2, fc1 120, fc2 84, fc3
 * MNIST's 28x28 gets the padding of 2 that made its 32x32 images; 61,706 parameters then. */
#include <quern/models.h>

#include "../graph/graph.h"

#include <quern/nn.h>
#include <quern/ops.h>

static quern_tensor *conv_block(quern_graph *graph, quern_tensor *x, const char *name,
                                int64_t channels, int32_t padding) {
    x = quern_conv(graph, x,
                   &(quern_conv_desc){.channels = channels,
                                      .window = {5, 5},
                                      .conv = {.padding = {padding, padding}},
                                      .name = name});
    return quern_max_pool2d(graph, quern_relu(graph, x), &(quern_pool2d_desc){.window = {2, 2}});
}

quern_tensor *quern_lenet(quern_graph *graph, quern_tensor *x, const quern_lenet_desc *desc) {
    const int64_t class_count = desc && desc->class_count != 0 ? desc->class_count : 10;
    if (!graph || graph->status != QUERN_OK) return NULL;
    if (!x || x->shape.rank != 4) {
        char shape[160] = "NULL";
        if (x) shape_text(&x->shape, shape, sizeof shape);
        return graph_stick(graph,
                           quern_fail(QUERN_SHAPE, "lenet: x is %s, expected (B, C, H, W)", shape));
    }
    const bool small = x->shape.dim[2] == 28 && x->shape.dim[3] == 28;
    x = conv_block(graph, x, "conv1", 6, small ? 2 : 0);
    x = conv_block(graph, x, "conv2", 16, 0);
    x = quern_flatten(graph, x);
    x = quern_relu(graph, quern_dense(graph, x, &(quern_dense_desc){.units = 120, .name = "fc1"}));
    x = quern_relu(graph, quern_dense(graph, x, &(quern_dense_desc){.units = 84, .name = "fc2"}));
    return quern_dense(graph, x, &(quern_dense_desc){.units = class_count, .name = "fc3"});
}
