/* models.h - whole models, written as client code of nn.h: read src/host/models for a pattern. */
#ifndef QUERN_MODELS_H
#define QUERN_MODELS_H

#include <quern/graph.h>

QUERN_BEGIN_C

/* x (B, …) -> logits (B, class_count): dense layers with ReLU between them, "fc1", "fc2", … */
typedef struct quern_mlp_desc {
    int32_t hidden_count; /* default 1 */
    int64_t hidden[8];    /* default 512 each */
    int64_t class_count;  /* default 10 */
} quern_mlp_desc;
QUERN_API quern_tensor *quern_mlp(quern_graph *graph, quern_tensor *x, const quern_mlp_desc *desc);

/* LeNet-5 with ReLU and max-pooling: x (B, C, H, W) -> (B, class_count). conv1 6 of 5x5 (padding 2
 * when H and W are 28), pool, conv2 16 of 5x5, pool, fc1 120, fc2 84, fc3. LeCun et al. 1998. */
typedef struct quern_lenet_desc {
    int64_t class_count; /* default 10 */
} quern_lenet_desc;
QUERN_API quern_tensor *quern_lenet(quern_graph *graph, quern_tensor *x,
                                    const quern_lenet_desc *desc);

QUERN_END_C
#endif
