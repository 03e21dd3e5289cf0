/* scalars.c - the named numbers that log, eval_end and epoch_end hand out. The names are made once;
 * the values lie in one array of the trainer, valid during the event. */
#include "trainer.h"

#include <math.h>
#include <stdio.h>

static quern_status name_make(quern_trainer *t, const char **out, const char *set,
                              const char *metric) {
    char text[256];
    snprintf(text, sizeof text, "%s/%.200s", set, metric);
    return arena_copy_string(&t->memory, out, text);
}

/* The ring of the longest moving mean, and a place for each sum. */
static quern_status sums_create(quern_trainer *t) {
    for (int32_t i = 0; i < t->desc.metric_count; i++)
        if (t->desc.metrics[i].window > t->recent.capacity)
            t->recent.capacity = t->desc.metrics[i].window;
    QUERN_TRY(arena_allocate(&t->memory, &t->recent.losses, t->recent.capacity,
                             sizeof *t->recent.losses, "moving loss"));
    QUERN_TRY(arena_allocate(&t->memory, &t->log_metrics, t->train_sum_count,
                             sizeof *t->log_metrics, "metric sums"));
    return arena_allocate(&t->memory, &t->epoch_metrics, t->train_sum_count,
                          sizeof *t->epoch_metrics, "metric sums");
}

quern_status scalars_create(quern_trainer *t) {
    const int32_t count = t->desc.metric_count;
    QUERN_TRY(sums_create(t));
    QUERN_TRY(arena_allocate(&t->memory, &t->names, 2 * (int64_t)count, sizeof *t->names, "names"));
    QUERN_TRY(arena_allocate(&t->memory, &t->scalars, 2 * (int64_t)count + 4, sizeof *t->scalars,
                             "scalars"));
    for (int32_t i = 0; i < count; i++) {
        QUERN_TRY(name_make(t, &t->names[i], "train", t->desc.metrics[i].name));
        QUERN_TRY(name_make(t, &t->names[count + i], "val", t->desc.metrics[i].name));
        t->eval_values[i + 1] = (double)NAN;
    }
    t->eval_values[0] = t->last.norm = t->last.learning_rate = (double)NAN;
    return QUERN_OK;
}

int32_t scalars_train(quern_trainer *t, const loss_sums *sums, const double *metrics, bool device) {
    int32_t count = 0;
    t->scalars[count++] = (quern_scalar){"train/loss", sums->loss / sums->weight};
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_metric *m = &t->desc.metrics[i];
        const metric_place *place = &t->train_places[i];
        if (!metric_in_training(m)) continue;
        const double value =
            place->count > 0 ? metric_value(m, metrics + place->first) : loss_statistic(t, m, sums);
        t->scalars[count++] = (quern_scalar){t->names[i], value};
    }
    if (!device) return count;
    t->scalars[count++] = (quern_scalar){"train/learning_rate", t->last.learning_rate};
    t->scalars[count++] = (quern_scalar){"train/gradient_norm", t->last.norm};
    return count;
}

int32_t scalars_eval(quern_trainer *t, int32_t at) {
    t->scalars[at++] = (quern_scalar){"val/loss", t->eval_values[0]};
    for (int32_t i = 0; i < t->desc.metric_count; i++)
        if (metric_in_evaluation(&t->desc.metrics[i]))
            t->scalars[at++] =
                (quern_scalar){t->names[t->desc.metric_count + i], t->eval_values[i + 1]};
    return at;
}
