/* metric.h - what is measured beside the loss: graph outputs reduced to sums on the device.
 *
 * A metric adds up `value` (and `weight`) over the samples seen and is read as their quotient: a
 * mean weighted exactly, an uneven last batch included. A confusion matrix adds up (C, C) counts,
 * from which accuracy per class follows. The builders stick their failure to the graph. */
#ifndef QUERN_METRIC_H
#define QUERN_METRIC_H

#include <quern/graph.h>

QUERN_BEGIN_C

typedef enum quern_metric_kind {
    QUERN_METRIC_MEAN,      /* sum of value / sum of weight: a scalar */
    QUERN_METRIC_CONFUSION, /* value is (C, C) counts, row = true class */
} quern_metric_kind;

typedef struct quern_metric {
    const char *name; /* "accuracy": reported as train/accuracy and val/accuracy */
    quern_metric_kind kind;
    quern_tensor *value;  /* MEAN: (); CONFUSION: (C, C) */
    quern_tensor *weight; /* (); NULL: the number of samples */
} quern_metric;

/* "accuracy": the share of rows whose largest logit is the target's. logits (B, C), target (B). */
QUERN_API quern_metric quern_metric_accuracy(quern_graph *graph, quern_tensor *logits,
                                             quern_tensor *target);
/* "top<k>" */
QUERN_API quern_metric quern_metric_top_k(quern_graph *graph, quern_tensor *logits,
                                          quern_tensor *target, int32_t k);
/* "confusion" */
QUERN_API quern_metric quern_metric_confusion(quern_graph *graph, quern_tensor *logits,
                                              quern_tensor *target);

/* counts (C, C) -> per_class[c] = counts[c][c] / row sum; NaN for a class that never occurred. */
QUERN_API void quern_confusion_class_accuracy(const double *counts, int64_t class_count,
                                              double *per_class);

QUERN_END_C
#endif
