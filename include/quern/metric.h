/* metric.h - what is measured beside the loss.
 *
 * A metric adds up sums on the device over the samples seen, in double, and is read as one number:
 * a mean weighted exactly, an uneven last batch included. It is reported as train/<name> at log and
 * epoch_end, as val/<name> after an evaluation, and by quern_trainer_evaluate. A literal makes one
 * of any scalar of the graph, one component of a loss for instance:
 *
 *     (quern_metric){ .name = "penalty", .value = penalty, .weight = NULL }
 *
 * value is a *sum* over the batch, as the losses are; weight is what it is divided by. The builders
 * below stick their failure to the graph. A field that is set but that the kind does not read is
 * INVALID. */
#ifndef QUERN_METRIC_H
#define QUERN_METRIC_H

#include <quern/graph.h>

QUERN_BEGIN_C

typedef enum quern_metric_kind {
    QUERN_METRIC_MEAN,       /* sum of value / sum of weight */
    QUERN_METRIC_PERPLEXITY, /* e to the power of that mean */
    QUERN_METRIC_R2,         /* value is quern_regression_sums of prediction and target: 1 - squared
                                residuals / squared deviations of the targets from their mean; NaN
                                where the targets do not differ */
    QUERN_METRIC_CONFUSION,  /* value is (C, C) counts, row = true class; evaluation only, read by
                                quern_trainer_confusion */

    /* Of the attempts' mean losses, training only, on the host, from the records: no value. log
     * tells of the attempts since the last log, epoch_end of the epoch's. */
    QUERN_METRIC_LOSS_MIN,
    QUERN_METRIC_LOSS_MAX,
    QUERN_METRIC_LOSS_DEVIATION, /* root of the mean squared deviation from their mean */
    QUERN_METRIC_LOSS_MOVING,    /* the mean loss of the last `window` attempts, weighted as the
                                    loss is */

    QUERN_METRIC_HOST, /* the application's own function, evaluation only */
    QUERN_METRIC_KIND_COUNT,
} quern_metric_kind;

enum { QUERN_HOST_METRIC_TENSORS = 4, QUERN_LOSS_WINDOW_MAX = 1 << 20 };

/* Called on the thread that evaluates, which waits for the device after each batch. */
typedef struct quern_host_metric {
    void *self;
    quern_tensor *tensors[QUERN_HOST_METRIC_TENSORS]; /* of the graph, contiguous */
    int32_t tensor_count;                             /* 1 … 4 */
    void (*reset)(void *self); /* before the first batch of each evaluation; may be NULL */
    /* The tensors' values of one batch: host memory, row-major, dim[] as of this batch, valid
     * during the call. What is not OK ends the evaluation with that status. */
    quern_status (*add)(void *self, const quern_view *values, int64_t sample_count);
    double (*result)(void *self); /* after the last batch */
} quern_host_metric;

typedef struct quern_metric {
    const char *name; /* "accuracy" */
    quern_metric_kind kind;
    quern_tensor *value;
    quern_tensor *weight; /* MEAN, PERPLEXITY: (); NULL: the number of samples */
    int32_t window;       /* LOSS_MOVING: attempts, up to 2^20; default 100 */
    quern_host_metric host;
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
/* "perplexity": of a loss builder's loss, per sample or valid token */
QUERN_API quern_metric quern_metric_perplexity(quern_tensor *loss);
/* "mse" and "mae": mean squared and mean absolute difference over all elements; "r2" */
QUERN_API quern_metric quern_metric_mse(quern_graph *graph, quern_tensor *prediction,
                                        quern_tensor *target);
QUERN_API quern_metric quern_metric_mae(quern_graph *graph, quern_tensor *prediction,
                                        quern_tensor *target);
QUERN_API quern_metric quern_metric_r2(quern_graph *graph, quern_tensor *prediction,
                                       quern_tensor *target);

/* --- from the counts (C, C) of a confusion matrix, row = true class --- */

/* per_class[c] = counts[c][c] / row sum; NaN for a class that never occurred. */
QUERN_API void quern_confusion_class_accuracy(const double *counts, int64_t class_count,
                                              double *per_class);

/* shares (C, C): each row divided by its sum; NaN for a class that never occurred. */
QUERN_API void quern_confusion_normalize(const double *counts, int64_t class_count, double *shares);

/* scikit-learn's precision_recall_fscore_support with zero_division = nan. */
typedef struct quern_class_score {
    double precision; /* right / predicted as this class; NaN when it was never predicted */
    double recall;    /* right / of this class; NaN when it never occurred */
    double f1;        /* 2 right / (predicted + occurred); NaN when neither */
    double support;   /* how often it occurred */
} quern_class_score;

/* per_class (C) may be NULL. Returns the macro averages: of each number the mean over the classes
 * in which it is not NaN, NaN when it is in all; support is the total. */
QUERN_API quern_class_score quern_confusion_scores(const double *counts, int64_t class_count,
                                                   quern_class_score *per_class);

QUERN_END_C
#endif
