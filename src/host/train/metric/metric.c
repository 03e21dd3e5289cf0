/* metric.c - the metrics that ship, built from ops like an application would build its own.
 * A failed builder leaves a NULL tensor and the graph's sticky failure, which create returns. */
#include "../../graph/graph.h"
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
    snprintf(text, sizeof text, "top%" PRId32, k == 0 ? 1 : k);
    if (graph && graph->status == QUERN_OK) {
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

quern_metric quern_metric_perplexity(quern_tensor *loss) {
    return (quern_metric){.name = "perplexity",
                          .kind = QUERN_METRIC_PERPLEXITY,
                          .value = loss,
                          .weight = quern_loss_weight(loss)};
}

static quern_metric loss_metric(const char *name, quern_tensor *loss) {
    return (quern_metric){
        .name = name, .kind = QUERN_METRIC_MEAN, .value = loss, .weight = quern_loss_weight(loss)};
}

quern_metric quern_metric_mse(quern_graph *graph, quern_tensor *prediction, quern_tensor *target) {
    return loss_metric("mse", quern_mse(graph, prediction, target));
}

quern_metric quern_metric_mae(quern_graph *graph, quern_tensor *prediction, quern_tensor *target) {
    return loss_metric("mae", quern_l1(graph, prediction, target));
}

quern_metric quern_metric_r2(quern_graph *graph, quern_tensor *prediction, quern_tensor *target) {
    return (quern_metric){.name = "r2",
                          .kind = QUERN_METRIC_R2,
                          .value = quern_regression_sums(graph, prediction, target)};
}

/* --- from a confusion matrix --- */

static double row_sum(const double *counts, int64_t class_count, int64_t row) {
    double sum = 0;
    for (int64_t p = 0; p < class_count; p++) sum += counts[row * class_count + p];
    return sum;
}

static double column_sum(const double *counts, int64_t class_count, int64_t column) {
    double sum = 0;
    for (int64_t c = 0; c < class_count; c++) sum += counts[c * class_count + column];
    return sum;
}

/* 0 of 0 is not a number. */
static double share(double part, double whole) { return whole > 0 ? part / whole : (double)NAN; }

void quern_confusion_class_accuracy(const double *counts, int64_t class_count, double *per_class) {
    for (int64_t c = 0; c < class_count; c++)
        per_class[c] = share(counts[c * class_count + c], row_sum(counts, class_count, c));
}

void quern_confusion_normalize(const double *counts, int64_t class_count, double *shares) {
    for (int64_t c = 0; c < class_count; c++) {
        const double whole = row_sum(counts, class_count, c);
        for (int64_t p = 0; p < class_count; p++)
            shares[c * class_count + p] = share(counts[c * class_count + p], whole);
    }
}

static void add_unless_nan(double x, double *sum, int64_t *count) {
    if (isnan(x)) return;
    *sum += x;
    (*count)++;
}

quern_class_score quern_confusion_scores(const double *counts, int64_t class_count,
                                         quern_class_score *per_class) {
    quern_class_score sum = {0};
    int64_t precisions = 0, recalls = 0, f1s = 0;
    for (int64_t c = 0; c < class_count; c++) {
        const double right = counts[c * class_count + c];
        const double occurred = row_sum(counts, class_count, c);
        const double predicted = column_sum(counts, class_count, c);
        const quern_class_score score = {.precision = share(right, predicted),
                                         .recall = share(right, occurred),
                                         .f1 = share(2 * right, predicted + occurred),
                                         .support = occurred};
        add_unless_nan(score.precision, &sum.precision, &precisions);
        add_unless_nan(score.recall, &sum.recall, &recalls);
        add_unless_nan(score.f1, &sum.f1, &f1s);
        sum.support += occurred;
        if (per_class) per_class[c] = score;
    }
    return (quern_class_score){.precision = share(sum.precision, (double)precisions),
                               .recall = share(sum.recall, (double)recalls),
                               .f1 = share(sum.f1, (double)f1s),
                               .support = sum.support};
}
