/* metric.c - the metrics that ship, built from ops like an application would build its own.
 * A failed builder leaves a NULL tensor and the graph's sticky failure, which create returns. */
#include "../graph/graph.h"
#include <quern/metric.h>
#include <quern/ops.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static quern_metric top_k_metric(quern_graph *graph, quern_tensor *logits, quern_tensor *target,
                                 int32_t k, const char *name) {
    quern_tensor *value =
        quern_top_k_correct(graph, logits, target, &(quern_top_k_correct_desc){.k = k});
    quern_tensor *weight = quern_valid_count(graph, target, &(quern_valid_count_desc){0});
    return (quern_metric){
        .name = name, .kind = QUERN_METRIC_MEAN, .value = value, .weight = weight};
}

quern_metric quern_metric_accuracy(quern_graph *graph, quern_tensor *logits, quern_tensor *target) {
    return top_k_metric(graph, logits, target, 1, "accuracy");
}

quern_metric quern_metric_top_k(quern_graph *graph, quern_tensor *logits, quern_tensor *target,
                                int32_t k) {
    char text[24];
    const char *name = NULL;
    snprintf(text, sizeof text, "top%" PRId32, k);
    if (graph->status == QUERN_OK) {
        const quern_status status = arena_copy_string(&graph->memory, &name, text);
        if (status != QUERN_OK) graph_stick(graph, status);
    }
    return top_k_metric(graph, logits, target, k, name);
}

quern_metric quern_metric_confusion(quern_graph *graph, quern_tensor *logits,
                                    quern_tensor *target) {
    return (quern_metric){
        .name = "confusion",
        .kind = QUERN_METRIC_CONFUSION,
        .value = quern_confusion_matrix(graph, logits, target, &(quern_confusion_matrix_desc){0})};
}

void quern_confusion_class_accuracy(const double *counts, int64_t class_count, double *per_class) {
    for (int64_t c = 0; c < class_count; c++) {
        double row = 0;
        for (int64_t p = 0; p < class_count; p++) row += counts[c * class_count + p];
        per_class[c] = row > 0 ? counts[c * class_count + c] / row : (double)NAN;
    }
}
