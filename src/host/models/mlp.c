/* mlp.c - dense layers with ReLU between them: "fc1", "fc2", … Client code of quern/nn.h. */
#include <quern/models.h>

#include "../graph/graph.h"

#include <quern/nn.h>
#include <quern/ops.h>
#include <stdio.h>

enum { HIDDEN_MAX = 8, HIDDEN_DEFAULT = 512, CLASS_DEFAULT = 10 };

static quern_tensor *fully_connected(quern_graph *graph, quern_tensor *x, int32_t number,
                                     int64_t units) {
    char name[16];
    snprintf(name, sizeof name, "fc%d", (int)number);
    return quern_dense(graph, x, &(quern_dense_desc){.units = units, .name = name});
}

quern_tensor *quern_mlp(quern_graph *graph, quern_tensor *x, const quern_mlp_desc *desc) {
    const quern_mlp_desc d = desc ? *desc : (quern_mlp_desc){0};
    const int32_t hidden_count = d.hidden_count != 0 ? d.hidden_count : 1;
    if (!graph || graph->status != QUERN_OK) return NULL;
    if (x && quern_tensor_shape(x).rank > 2) x = quern_flatten(graph, x);
    if (hidden_count < 0 || hidden_count > HIDDEN_MAX)
        return graph_stick(graph,
                           quern_fail(QUERN_INVALID, "mlp: %d hidden layers, expected 1 to %d",
                                      (int)hidden_count, HIDDEN_MAX));
    for (int32_t i = 0; i < hidden_count; i++) {
        const int64_t units = d.hidden[i] != 0 ? d.hidden[i] : HIDDEN_DEFAULT;
        x = quern_relu(graph, fully_connected(graph, x, i + 1, units));
    }
    const int64_t class_count = d.class_count != 0 ? d.class_count : CLASS_DEFAULT;
    return fully_connected(graph, x, hidden_count + 1, class_count);
}
