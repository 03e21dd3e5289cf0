/* scalars.c - the named numbers that log, eval_end and epoch_end hand out. The names are made once;
 * the values lie in one array of the trainer, valid during the event. */
#include "../precision.h"
#include "../trainer.h"

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

/* Loss, then metrics: of training, then of each set. */
static quern_status names_create(quern_trainer *t) {
    const int64_t of_set = t->desc.metric_count + 1;
    QUERN_TRY(arena_allocate(&t->memory, &t->names, (t->set_count + 1) * of_set, sizeof *t->names,
                             "names"));
    for (int32_t set = 0; set <= t->set_count; set++) {
        const char *name = set == 0 ? "train" : t->sets[set - 1].name;
        const char **names = t->names + set * of_set;
        QUERN_TRY(name_make(t, &names[0], name, "loss"));
        for (int32_t i = 0; i < t->desc.metric_count; i++)
            QUERN_TRY(name_make(t, &names[i + 1], name, t->desc.metrics[i].name));
    }
    return QUERN_OK;
}

quern_status scalars_create(quern_trainer *t) {
    const int64_t of_set = t->desc.metric_count + 1;
    QUERN_TRY(sums_create(t));
    QUERN_TRY(names_create(t));
    QUERN_TRY(arena_allocate(&t->memory, &t->scalars, (t->set_count + 1) * of_set + 3,
                             sizeof *t->scalars, "scalars"));
    QUERN_TRY(arena_allocate(&t->memory, &t->eval_values, (t->set_count + 1) * of_set,
                             sizeof *t->eval_values, "values of evaluations"));
    scalars_forget(t);
    return QUERN_OK;
}

void scalars_forget(quern_trainer *t) {
    const int64_t count = (t->set_count + 1) * (int64_t)(t->desc.metric_count + 1);
    for (int64_t i = 0; i < count; i++) t->eval_values[i] = (double)NAN;
    t->last.norm = t->last.learning_rate = (double)NAN;
    t->last.scale = loss_scale_is_on(&t->desc) ? t->desc.loss_scale.initial : 1;
    t->last.scale_age = 0;
}

int32_t scalars_train(quern_trainer *t, const loss_sums *sums, const double *metrics, bool device) {
    int32_t count = 0;
    t->scalars[count++] = (quern_scalar){t->names[0], sums->loss / sums->weight};
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const quern_metric *m = &t->desc.metrics[i];
        const metric_place *place = &t->train_places[i];
        if (!metric_in_training(m)) continue;
        const double value =
            place->count > 0 ? metric_value(m, metrics + place->first) : loss_statistic(t, m, sums);
        t->scalars[count++] = (quern_scalar){t->names[i + 1], value};
    }
    if (!device) return count;
    t->scalars[count++] = (quern_scalar){"train/learning_rate", t->last.learning_rate};
    t->scalars[count++] = (quern_scalar){"train/gradient_norm", t->last.norm};
    if (loss_scale_is_on(&t->desc))
        t->scalars[count++] = (quern_scalar){"train/loss_scale", t->last.scale};
    return count;
}

double *scalars_values(const quern_trainer *t, int32_t set) {
    return t->eval_values + (int64_t)set * (t->desc.metric_count + 1);
}

int32_t scalars_eval(quern_trainer *t, int32_t set, int32_t at) {
    const char *const *names = t->names + (int64_t)(set + 1) * (t->desc.metric_count + 1);
    const double *values = scalars_values(t, set);
    t->scalars[at++] = (quern_scalar){names[0], values[0]};
    for (int32_t i = 0; i < t->desc.metric_count; i++)
        if (metric_in_evaluation(&t->desc.metrics[i]))
            t->scalars[at++] = (quern_scalar){names[i + 1], values[i + 1]};
    return at;
}

int32_t scalars_eval_all(quern_trainer *t, int32_t at) {
    for (int32_t set = 0; set < t->set_count; set++) at = scalars_eval(t, set, at);
    return at;
}
