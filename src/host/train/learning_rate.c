/* learning_rate.c - the learning rate as an application sees and scales it. The product of all
 * scales lies with the schedule (optimizer.schedule.scale), which is tabulated ahead with it. */
#include "trainer.h"

#include <math.h>

/* Where nothing is in flight, so that "from now on" is the same update for every run_ahead. */
static bool may_scale(quern_event_kind at) {
    return at == QUERN_EVENT_log || at == QUERN_EVENT_eval_end || at == QUERN_EVENT_epoch_end ||
           at == QUERN_EVENT_fit_begin;
}

quern_status quern_trainer_scale_learning_rate(quern_trainer *t, double factor) {
    if (!t) return quern_fail(QUERN_INVALID, "scale learning rate: the trainer is NULL");
    if (t->emitting && !may_scale(t->emitted))
        return quern_fail(QUERN_INVALID,
                          "scale learning rate: not from a callback at %s, only at log, eval_end, "
                          "epoch_end and fit_begin",
                          quern_event_name(t->emitted));
    const double product = t->optimizer.schedule.scale * factor;
    if (!isfinite(factor) || !(factor > 0) || !isfinite(product) || !(product > 0))
        return quern_fail(QUERN_INVALID,
                          "scale learning rate: a factor of %g on a scale of %g, expected both and "
                          "their product above 0 and finite",
                          factor, t->optimizer.schedule.scale);
    if (t->in_flight_count > 0) QUERN_TRY(failure_keep(t, records_drain(t)));
    QUERN_TRY(trainer_wait_stream(t));
    optimizer_rescale(&t->optimizer, product);
    t->activity++; /* what is saved is not this state */
    return QUERN_OK;
}

double quern_trainer_learning_rate(const quern_trainer *t) { return t->last.learning_rate; }
