/* metric_kind.c - the kinds of metrics: what each reads, its sums, its value, and the statistics of
 * the loss over attempts. */
#include "../trainer.h"

#include <math.h>
#include <stdio.h>

enum { DEFAULT_WINDOW = 100, R2_SUMS = 4 };

static bool is_weighted(quern_metric_kind kind) {
    return kind == QUERN_METRIC_MEAN || kind == QUERN_METRIC_PERPLEXITY;
}

static bool has_value(quern_metric_kind kind) {
    return is_weighted(kind) || kind == QUERN_METRIC_R2 || kind == QUERN_METRIC_CONFUSION;
}

static const char *kind_name(quern_metric_kind kind) {
    static const char *const names[QUERN_METRIC_KIND_COUNT] = {
        [QUERN_METRIC_MEAN] = "a mean",
        [QUERN_METRIC_PERPLEXITY] = "a perplexity",
        [QUERN_METRIC_R2] = "an R2",
        [QUERN_METRIC_CONFUSION] = "a confusion matrix",
        [QUERN_METRIC_LOSS_MIN] = "a loss minimum",
        [QUERN_METRIC_LOSS_MAX] = "a loss maximum",
        [QUERN_METRIC_LOSS_DEVIATION] = "a loss deviation",
        [QUERN_METRIC_LOSS_MOVING] = "a moving loss",
        [QUERN_METRIC_HOST] = "a host metric",
    };
    return names[kind];
}

static quern_status check_tensor(const quern_graph *graph, const quern_metric *metric,
                                 const quern_tensor *tensor, const char *what) {
    if (!tensor)
        return quern_fail(QUERN_INVALID, "trainer: the %s of metric %s is NULL", what,
                          metric->name);
    if (tensor->graph == graph) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "trainer: the %s of metric %s belongs to another graph", what,
                      metric->name);
}

static quern_status fail_shape(const quern_metric *metric, const quern_tensor *tensor,
                               const char *what, const char *expected) {
    char text[128];
    shape_text(&tensor->shape, text, sizeof text);
    return quern_fail(QUERN_SHAPE, "trainer: the %s of metric %s is %s, not %s", what, metric->name,
                      text, expected);
}

static quern_status check_shapes(const quern_graph *graph, const quern_metric *metric) {
    QUERN_TRY(check_tensor(graph, metric, metric->value, "value"));
    const quern_shape *shape = &metric->value->shape;
    if (metric->kind == QUERN_METRIC_CONFUSION) {
        if (shape->rank == 2 && shape->dim[0] > 0 && shape->dim[0] == shape->dim[1])
            return QUERN_OK;
        return fail_shape(metric, metric->value, "value", "(C, C)");
    }
    if (metric->kind == QUERN_METRIC_R2) {
        if (shape->rank == 1 && shape->dim[0] == R2_SUMS) return QUERN_OK;
        return fail_shape(metric, metric->value, "value", "(4), the regression_sums");
    }
    if (shape->rank != 0) return fail_shape(metric, metric->value, "value", "a scalar ()");
    if (!metric->weight) return QUERN_OK;
    QUERN_TRY(check_tensor(graph, metric, metric->weight, "weight"));
    if (metric->weight->shape.rank == 0) return QUERN_OK;
    return fail_shape(metric, metric->weight, "weight", "a scalar ()");
}

static bool host_is_set(const quern_host_metric *host) {
    return host->self || host->tensor_count || host->reset || host->add || host->result;
}

static quern_status check_unread(const quern_metric *metric) {
    const struct {
        const char *name;
        bool set, read;
    } fields[] = {
        {"value", metric->value != NULL, has_value(metric->kind)},
        {"weight", metric->weight != NULL, is_weighted(metric->kind)},
        {"window", metric->window != 0, metric->kind == QUERN_METRIC_LOSS_MOVING},
        {"host", host_is_set(&metric->host), metric->kind == QUERN_METRIC_HOST},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].set && !fields[i].read)
            return quern_fail(QUERN_INVALID, "trainer: metric %s is %s, which does not read %s",
                              metric->name, kind_name(metric->kind), fields[i].name);
    return QUERN_OK;
}

static quern_status check_host(const quern_graph *graph, const quern_metric *metric) {
    const quern_host_metric *host = &metric->host;
    if (host->tensor_count < 1 || host->tensor_count > QUERN_HOST_METRIC_TENSORS)
        return quern_fail(QUERN_INVALID, "trainer: metric %s reads %d tensors, expected 1 to %d",
                          metric->name, (int)host->tensor_count, QUERN_HOST_METRIC_TENSORS);
    if (!host->add || !host->result)
        return quern_fail(QUERN_INVALID, "trainer: metric %s has no function %s", metric->name,
                          host->add ? "result" : "add");
    for (int32_t i = 0; i < host->tensor_count; i++) {
        QUERN_TRY(check_tensor(graph, metric, host->tensors[i], "tensor"));
        if (!host->tensors[i]->contiguous)
            return quern_fail(QUERN_INVALID,
                              "trainer: metric %s reads %s, which is strided; use "
                              "quern_contiguous() of it",
                              metric->name, host->tensors[i]->name);
    }
    return QUERN_OK;
}

quern_status metric_check(const quern_graph *graph, const quern_metric *metric) {
    if (!metric->name || !metric->name[0])
        return quern_fail(QUERN_INVALID, "trainer: a metric has no name");
    if ((unsigned)metric->kind >= QUERN_METRIC_KIND_COUNT)
        return quern_fail(QUERN_INVALID, "trainer: metric %s has the unknown kind %d", metric->name,
                          (int)metric->kind);
    QUERN_TRY(check_unread(metric));
    if (metric->window < 0 || metric->window > QUERN_LOSS_WINDOW_MAX)
        return quern_fail(QUERN_INVALID, "trainer: metric %s has a window of %d, expected 1 to %d",
                          metric->name, (int)metric->window, QUERN_LOSS_WINDOW_MAX);
    if (has_value(metric->kind)) return check_shapes(graph, metric);
    return metric->kind == QUERN_METRIC_HOST ? check_host(graph, metric) : QUERN_OK;
}

void metric_fill_defaults(quern_metric *metric) {
    if (metric->kind == QUERN_METRIC_LOSS_MOVING && metric->window == 0)
        metric->window = DEFAULT_WINDOW;
}

int64_t metric_sum_count(const quern_metric *metric) {
    if (is_weighted(metric->kind)) return 2;
    if (metric->kind == QUERN_METRIC_R2) return R2_SUMS;
    if (metric->kind != QUERN_METRIC_CONFUSION) return 0;
    return metric->value->shape.dim[0] * metric->value->shape.dim[1];
}

bool metric_is_weighted(const quern_metric *metric) { return is_weighted(metric->kind); }

bool metric_in_training(const quern_metric *metric) {
    return metric->kind != QUERN_METRIC_CONFUSION && metric->kind != QUERN_METRIC_HOST;
}

bool metric_in_evaluation(const quern_metric *metric) {
    return is_weighted(metric->kind) || metric->kind == QUERN_METRIC_R2 ||
           metric->kind == QUERN_METRIC_HOST;
}

/* Targets that are all equal leave nothing but rounding of their squares' sum. */
static double r2_value(const double *sums) {
    const double squares = sums[2], deviations = squares - sums[1] * sums[1] / sums[3];
    if (!(deviations > 1e-14 * squares)) return (double)NAN;
    return 1 - sums[0] / deviations;
}

double metric_value(const quern_metric *metric, const double *sums) {
    switch (metric->kind) {
    case QUERN_METRIC_MEAN: return sums[0] / sums[1];
    case QUERN_METRIC_PERPLEXITY: return exp(sums[0] / sums[1]);
    case QUERN_METRIC_R2: return r2_value(sums);
    default: return (double)NAN;
    }
}

/* --- statistics of the loss --- */

/* Once not a number, always: it must show. */
static double extreme(double so_far, double x, bool larger) {
    if (isnan(so_far) || isnan(x)) return (double)NAN;
    return (x > so_far) == larger ? x : so_far;
}

/* Welford 1962: no squares of large numbers are subtracted. */
void loss_sums_measure(loss_sums *sums, double loss, double weight) {
    const double x = loss / weight;
    const bool first = sums->measured++ == 0;
    sums->low = first ? x : extreme(sums->low, x, false);
    sums->high = first ? x : extreme(sums->high, x, true);
    const double off = x - sums->mean;
    sums->mean += off / (double)sums->measured;
    sums->spread += off * (x - sums->mean);
}

static double moving_mean(const loss_window *recent, int64_t window) {
    double loss = 0, weight = 0;
    const int64_t count = window < recent->seen ? window : recent->seen;
    for (int64_t i = recent->seen - count; i < recent->seen; i++) {
        loss += recent->losses[i % recent->capacity][0];
        weight += recent->losses[i % recent->capacity][1];
    }
    return loss / weight;
}

double loss_statistic(const quern_trainer *t, const quern_metric *metric, const loss_sums *sums) {
    if (metric->kind == QUERN_METRIC_LOSS_MOVING) return moving_mean(&t->recent, metric->window);
    if (sums->measured == 0) return (double)NAN;
    switch (metric->kind) {
    case QUERN_METRIC_LOSS_MIN: return sums->low;
    case QUERN_METRIC_LOSS_MAX: return sums->high;
    case QUERN_METRIC_LOSS_DEVIATION: return sqrt(sums->spread / (double)sums->measured);
    default: return (double)NAN;
    }
}
