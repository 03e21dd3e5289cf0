/* find_learning_rate.c - the range test, on a trainer of its own with fresh parameters.
 *
 * Cost: at most step_count updates, each waited for, because each one's loss is looked at. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"
#include "../../graph/graph.h"
#include <quern/find.h>

#include <inttypes.h>
#include <math.h>

#define SMOOTHING 0.9
#define SMOOTHING_POINTS 10 /* 1 / (1 - SMOOTHING): before them the mean still follows each batch */

typedef struct sweep {
    quern_find_learning_rate_desc desc;
    quern_find_point *points;
    int64_t count;
    double sum, weight, best; /* of the smoothed loss */
} sweep;

static quern_status sweep_resolve(sweep *s, const quern_find_learning_rate_desc *desc) {
    if (desc) s->desc = *desc;
    quern_find_learning_rate_desc *d = &s->desc;
    if (d->lowest == 0) d->lowest = 1e-7;
    if (d->highest == 0) d->highest = 10;
    if (d->step_count == 0) d->step_count = 100;
    if (d->stop_factor == 0) d->stop_factor = 4;
    if (!(d->lowest > 0) || !(d->highest > d->lowest) || isinf(d->highest))
        return quern_fail(QUERN_INVALID, "find learning rate: %g … %g is no range of rates",
                          d->lowest, d->highest);
    if (d->step_count < 3 || d->step_count > INT64_C(1) << 40)
        return quern_fail(QUERN_INVALID,
                          "find learning rate: step_count is %" PRId64 ", not 3 or more",
                          d->step_count);
    if (!(d->stop_factor > 1))
        return quern_fail(QUERN_INVALID, "find learning rate: stop_factor is %g, not above 1",
                          d->stop_factor);
    return QUERN_OK;
}

/* A log that comes for a skipped attempt at an epoch's end belongs to no update. */
static quern_action sweep_log(void *self, const quern_event *event) {
    sweep *s = self;
    const double loss = quern_event_scalar(event, "train/loss");
    if (event->step != s->count + 1 || s->count == s->desc.step_count) return QUERN_CONTINUE;
    if (!isfinite(loss)) return QUERN_STOP;
    s->sum = SMOOTHING * s->sum + loss;
    s->weight = SMOOTHING * s->weight + 1;
    const double smoothed = s->sum / s->weight;
    s->points[s->count++] =
        (quern_find_point){quern_trainer_learning_rate(event->trainer), loss, smoothed};
    if (s->count == 1 || smoothed < s->best) s->best = smoothed;
    return s->best > 0 && smoothed > s->desc.stop_factor * s->best ? QUERN_STOP : QUERN_CONTINUE;
}

static quern_status sweep_run(sweep *s, const quern_trainer_desc *desc) {
    const quern_callback callback = {.name = "range test", .self = s, .log = sweep_log};
    quern_trainer_desc trial = *desc;
    quern_trainer *trainer = NULL;
    trial.valid = NULL;
    trial.evaluation_sets = NULL;
    trial.evaluation_set_count = 0;
    trial.evaluate_every = trial.evaluate_every_epochs = 0;
    trial.eval_batch_limit = trial.sanity_batches = 0;
    trial.metrics = NULL;
    trial.metric_count = 0;
    trial.outputs = NULL;
    trial.output_count = 0;
    trial.callbacks = &callback;
    trial.callback_count = 1;
    trial.epoch_count = 0;
    trial.step_limit = s->desc.step_count;
    trial.sample_limit = 0;
    trial.seconds_limit = 0;
    trial.fast_dev_run = trial.handle_signals = false;
    trial.stop_file = NULL;
    trial.save = (quern_save_desc){0};
    trial.average_decay = 0;
    trial.average_warmup = false;
    trial.not_finite = QUERN_NOT_FINITE_STOP;
    trial.not_finite_limit = 0;
    trial.log_every = 1;
    trial.optimizer.learning_rate = s->desc.lowest;
    trial.optimizer.schedule = (quern_schedule){.kind = QUERN_SCHEDULE_EXPONENTIAL,
                                                .gamma = s->desc.highest / s->desc.lowest,
                                                .period = s->desc.step_count - 1};
    QUERN_TRY(quern_trainer_create(&trainer, &trial));
    const quern_status status = quern_trainer_fit(trainer, NULL);
    error_text text;
    error_save(&text);
    quern_trainer_destroy(trainer);
    error_restore(&text);
    return status == QUERN_NOT_FINITE && s->count > 0 ? QUERN_OK : status;
}

static void sweep_judge(const sweep *s, quern_found_learning_rate *out) {
    const quern_find_point *p = s->points;
    double steepest = 0, lowest = INFINITY;
    int64_t first = s->count / 4 < SMOOTHING_POINTS ? s->count / 4 : SMOOTHING_POINTS;
    if (first < 1) first = 1; /* its slope is that of its neighbours */
    *out = (quern_found_learning_rate){(double)NAN, (double)NAN, s->count};
    for (int64_t i = 0; i < s->count; i++) {
        if (p[i].smoothed < lowest) {
            lowest = p[i].smoothed;
            out->lowest = p[i].learning_rate;
        }
        if (i < first || i == s->count - 1) continue;
        const double slope = p[i + 1].smoothed - p[i - 1].smoothed;
        if (slope < steepest) {
            steepest = slope;
            out->steepest = p[i].learning_rate;
        }
    }
}

static quern_status trainer_check(const quern_trainer_desc *d) {
    if (!d || !d->graph) return quern_fail(QUERN_INVALID, "find learning rate: graph is NULL");
    QUERN_TRY(graph_status(d->graph));
    if (!d->train) return quern_fail(QUERN_INVALID, "find learning rate: there is no training set");
    if (quern_dataset_length(d->train) < 0)
        return quern_fail(QUERN_UNSUPPORTED, "find learning rate: the training set is a stream, "
                                             "whose samples would be gone for the run");
    return QUERN_OK;
}

quern_status quern_find_learning_rate(quern_found_learning_rate *out,
                                      const quern_trainer_desc *trainer,
                                      const quern_find_learning_rate_desc *desc,
                                      quern_find_point *points, int64_t capacity) {
    sweep s = {0};
    *out = (quern_found_learning_rate){(double)NAN, (double)NAN, 0};
    QUERN_TRY(trainer_check(trainer));
    QUERN_TRY(sweep_resolve(&s, desc));
    const quern_host *host = trainer->graph->host;
    QUERN_TRY(memory_allocate(host, &s.points, s.desc.step_count, sizeof *s.points, "points"));
    const quern_status status = sweep_run(&s, trainer);
    if (status == QUERN_OK) sweep_judge(&s, out);
    for (int64_t i = 0; i < s.count && i < capacity && points; i++) points[i] = s.points[i];
    memory_release(host, s.points, s.desc.step_count, sizeof *s.points);
    return status;
}
