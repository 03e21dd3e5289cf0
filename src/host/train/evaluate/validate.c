/* validate.c - a fit's evaluation of its sets, one after another with their events, and what is
 * kept of it. Training's sums, counters and random draws do not see it. */
#include "../trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* A resident set has a feed of its own, and its gathers are made for the batches that it has. */
static quern_status resident_prepare(quern_trainer *t, feed *f, const quern_dataset *dataset) {
    const int64_t length = quern_dataset_length(dataset), full = t->desc.batch_size;
    if (f->loader) return QUERN_OK; /* the same set under another name */
    QUERN_TRY(feed_create(t, f,
                          &(feed_desc){.kind = UNIT_EVALUATE,
                                       .dataset = dataset,
                                       .resident = f->resident,
                                       .loader = true,
                                       .slot_count = t->desc.run_ahead + 1}));
    for (const trainer_unit *u = t->units; u; u = u->next) {
        resident_gather *made = NULL;
        if (u->kind == UNIT_EVALUATE && (u->batch_size == full || u->batch_size == length % full))
            QUERN_TRY(gather_prepare(t, f, u, &made));
    }
    return QUERN_OK;
}

static quern_status host_feed_create(quern_trainer *t) {
    if (t->eval_feed.loader) return QUERN_OK;
    return feed_create(t, &t->eval_feed,
                       &(feed_desc){.kind = UNIT_EVALUATE,
                                    .loader = true,
                                    .slot_count = staged_lanes(t, 1) + t->desc.prefetch,
                                    .worker_count = t->desc.worker_count});
}

/* Binding each set once lets the loader take the memory that any of them needs. */
quern_status validate_create(quern_trainer *t) {
    for (int32_t i = t->set_count; i-- > 0;) {
        feed *resident = resident_feed(t, t->sets[i].dataset);
        if (resident) {
            QUERN_TRY(resident_prepare(t, resident, t->sets[i].dataset));
            continue;
        }
        QUERN_TRY(host_feed_create(t));
        QUERN_TRY(eval_feed_bind(t, t->sets[i].dataset));
        if (!loader_can_restart(t->eval_feed.loader))
            return quern_fail(QUERN_UNSUPPORTED,
                              "trainer: the evaluation set %s is a stream that cannot start again, "
                              "but every evaluation reads all of it",
                              t->sets[i].name);
    }
    return QUERN_OK;
}

/* Evaluation is no part of the training time. */
static void time_exclude(quern_trainer *t, int64_t begin_ns) {
    const int64_t spent = trainer_now(t) - begin_ns;
    t->evaluate_ns += spent;
    t->log_evaluate_ns += spent;
}

static quern_status set_validate(quern_trainer *t, int32_t set) {
    const set_pass e = {.dataset = t->sets[set].dataset,
                        .events = t->sets[set].name,
                        .batch_limit = t->desc.eval_batch_limit};
    const int64_t begin = trainer_now(t);
    t->end_eval = false;
    QUERN_TRY(trainer_emit(t, &(emission){.kind = QUERN_EVENT_eval_begin,
                                          .attempts = t->attempts,
                                          .evaluation = e.events}));
    QUERN_TRY(evaluation_run(t, &e, scalars_values(t, set)));
    time_exclude(t, begin);
    return trainer_emit(t, &(emission){.kind = QUERN_EVENT_eval_end,
                                       .attempts = t->attempts,
                                       .evaluation = e.events,
                                       .scalar_count = scalars_eval(t, set, 0)});
}

quern_status trainer_validate(quern_trainer *t) {
    const int64_t values = t->set_count * (int64_t)(t->desc.metric_count + 1);
    for (int64_t i = 0; i < values; i++) t->eval_values[i] = (double)NAN;
    bool whole = true;
    for (int32_t set = 0; set < t->set_count && whole; set++) {
        QUERN_TRY(set_validate(t, set));
        whole = t->evaluated && (!t->stopping || set == t->set_count - 1);
    }
    if (!whole) return QUERN_OK;
    t->evaluated_step = t->step;
    t->evaluated_attempts = t->attempts;
    return QUERN_OK;
}

quern_status trainer_validate_sanity(quern_trainer *t) {
    const int64_t begin = trainer_now(t);
    for (int32_t set = 0; set < t->set_count; set++) {
        const set_pass e = {.dataset = t->sets[set].dataset, .batch_limit = t->desc.sanity_batches};
        const quern_status status = evaluation_run(t, &e, NULL);
        if (status != QUERN_OK)
            return error_prefix(status, "sanity evaluation of %s", t->sets[set].name);
    }
    time_exclude(t, begin);
    return QUERN_OK;
}

quern_status quern_trainer_confusion(const quern_trainer *t, const char *metric, double *counts,
                                     int64_t capacity) {
    if (!t || !metric || !counts)
        return quern_fail(QUERN_INVALID, "confusion: trainer, metric or counts is NULL");
    for (int32_t i = 0; i < t->desc.metric_count; i++) {
        const metric_place *place = &t->eval_places[i];
        if (strcmp(t->desc.metrics[i].name, metric) != 0 ||
            t->desc.metrics[i].kind != QUERN_METRIC_CONFUSION)
            continue;
        if (!t->evaluated)
            return quern_fail(QUERN_INVALID, "confusion: nothing has been evaluated yet");
        if (capacity < place->count)
            return quern_fail(QUERN_INVALID,
                              "confusion: %s has %" PRId64 " counts, room for %" PRId64, metric,
                              place->count, capacity);
        memcpy(counts, t->sums_read + t->train_sum_count + place->first,
               (size_t)place->count * sizeof *counts);
        return QUERN_OK;
    }
    return quern_fail(QUERN_INVALID, "confusion: no confusion metric is named %s", metric);
}
