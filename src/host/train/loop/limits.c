/* limits.c - how far a fit runs: to so many more updates, epochs, samples and seconds than there
 * were when it began (begun). The first fit after a resume goes on with the one that was saved, and
 * with what that had begun with. */
#include "../trainer.h"

#include <math.h>

static quern_status check_unread(bool set, const char *field, const char *without) {
    if (!set) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "trainer: %s is set without %s", field, without);
}

static quern_status check_train(const quern_trainer_desc *d) {
    static const char train[] = "a training set";
    if (d->train) return QUERN_OK;
    QUERN_TRY(check_unread(d->epoch_count != 0, "epoch_count", train));
    QUERN_TRY(check_unread(d->sample_limit != 0, "sample_limit", train));
    QUERN_TRY(check_unread(d->seconds_limit != 0, "seconds_limit", train));
    QUERN_TRY(check_unread(d->train_batch_limit != 0, "train_batch_limit", train));
    QUERN_TRY(check_unread(d->evaluate_every != 0, "evaluate_every", train));
    QUERN_TRY(check_unread(d->evaluate_every_epochs != 0, "evaluate_every_epochs", train));
    QUERN_TRY(check_unread(d->sanity_batches != 0, "sanity_batches", train));
    QUERN_TRY(check_unread(d->fast_dev_run, "fast_dev_run", train));
    QUERN_TRY(check_unread(d->overfit_batch, "overfit_batch", train));
    QUERN_TRY(check_unread(d->steps_per_launch != 0, "steps_per_launch", train));
    QUERN_TRY(check_unread(d->stop_file != NULL, "stop_file", train));
    QUERN_TRY(check_unread(d->save.every != 0, "save.every", train));
    return check_unread(d->handle_signals, "handle_signals", train);
}

static quern_status check_sets(const quern_trainer_desc *d) {
    static const char set[] = "an evaluation set";
    if (d->valid || d->evaluation_set_count > 0) return QUERN_OK;
    QUERN_TRY(check_unread(d->evaluate_every != 0, "evaluate_every", set));
    QUERN_TRY(check_unread(d->evaluate_every_epochs != 0, "evaluate_every_epochs", set));
    QUERN_TRY(check_unread(d->eval_batch_limit != 0, "eval_batch_limit", set));
    return check_unread(d->sanity_batches != 0, "sanity_batches", set);
}

quern_status limits_check(const quern_trainer_desc *d) {
    const int64_t most = INT64_C(1) << 40;
    QUERN_TRY(desc_check_range("epoch_count", d->epoch_count, 0, most));
    QUERN_TRY(desc_check_range("step_limit", d->step_limit, 0, most));
    QUERN_TRY(desc_check_range("sample_limit", d->sample_limit, 0, INT64_C(1) << 60));
    QUERN_TRY(desc_check_range("train_batch_limit", d->train_batch_limit, 0, most));
    QUERN_TRY(desc_check_range("eval_batch_limit", d->eval_batch_limit, 0, most));
    QUERN_TRY(desc_check_range("sanity_batches", d->sanity_batches, 0, most));
    QUERN_TRY(desc_check_range("evaluate_every", d->evaluate_every, 0, most));
    QUERN_TRY(desc_check_range("evaluate_every_epochs", d->evaluate_every_epochs, 0, most));
    if (!(d->seconds_limit >= 0) || isinf(d->seconds_limit))
        return quern_fail(QUERN_INVALID, "trainer: seconds_limit is %g, not 0 or a number above",
                          d->seconds_limit);
    if (d->overfit_batch && d->train_batch_limit != 0 && !d->fast_dev_run)
        return quern_fail(QUERN_INVALID, "trainer: train_batch_limit is set, but overfit_batch "
                                         "takes the first window of each epoch");
    QUERN_TRY(check_train(d));
    return check_sets(d);
}

/* One window and one batch of each evaluation set, whatever else is asked for. */
static void fast_dev_run(quern_trainer_desc *d, int64_t window) {
    d->epoch_count = d->step_limit = d->eval_batch_limit = 1;
    d->train_batch_limit = window;
    d->sample_limit = d->sanity_batches = 0;
    d->seconds_limit = 0;
    d->save = (quern_save_desc){0};
}

void limits_fill_defaults(quern_trainer_desc *d) {
    const bool open = d->step_limit > 0 || d->sample_limit > 0 || d->seconds_limit > 0;
    const bool sets = d->valid || d->evaluation_set_count > 0;
    const int64_t window = d->accumulate > 0 ? d->accumulate : 1;
    if (d->epoch_count == 0 && !open && d->train) d->epoch_count = 1;
    if (d->evaluate_every_epochs == 0 && d->evaluate_every == 0 && sets && d->train)
        d->evaluate_every_epochs = 1;
    if (d->overfit_batch) {
        d->no_shuffle = true;
        d->train_batch_limit = window;
    }
    if (d->fast_dev_run) fast_dev_run(d, window);
}

static int64_t target_after(int64_t now, int64_t more) {
    int64_t target = INT64_MAX;
    return more > 0 && count_add(now, more, &target) ? target : INT64_MAX;
}

static int64_t nanoseconds(double seconds) {
    return seconds < 9e9 ? (int64_t)ceil(seconds * 1e9) : INT64_MAX;
}

void limits_start(quern_trainer *t) {
    const quern_trainer_desc *d = &t->desc;
    t->step_target = target_after(t->begun.step, d->step_limit);
    t->epoch_target = target_after(t->begun.epoch, d->epoch_count);
    t->sample_target = target_after(t->begun.samples, d->sample_limit);
    t->time_target_ns = INT64_MAX;
    if (d->seconds_limit > 0)
        t->time_target_ns = target_after(t->begun.train_ns, nanoseconds(d->seconds_limit));
    t->time_over = t->train_ns_before >= t->time_target_ns;
}

void quern_trainer_begun(const quern_trainer *t, int64_t *step, int64_t *epoch) {
    if (step) *step = t ? t->begun.step : 0;
    if (epoch) *epoch = t ? t->begun.epoch : 0;
}

int64_t trainer_fit_ns(const quern_trainer *t) {
    return trainer_now(t) - t->fit_begin_ns - t->evaluate_ns;
}

void limits_look(quern_trainer *t) {
    if (t->time_target_ns == INT64_MAX || t->time_over) return;
    t->time_over = t->train_ns_before + trainer_fit_ns(t) >= t->time_target_ns;
}

/* Of the windows known and those in flight: the one that reaches the limit is the last. */
static int64_t samples_issued(const quern_trainer *t) {
    int64_t samples = t->samples;
    for (int32_t i = 1; i <= t->in_flight_count; i++)
        samples += t->in_flight[(t->attempts_issued - i) % t->lanes].sample_count;
    return samples;
}

bool limits_reached(const quern_trainer *t) {
    return t->step >= t->step_target || t->epoch >= t->epoch_target || t->time_over ||
           (t->sample_target != INT64_MAX && samples_issued(t) >= t->sample_target);
}

quern_stop_reason limits_reason(const quern_trainer *t) {
    if (t->step >= t->step_target) return QUERN_STOPPED_STEPS;
    if (t->epoch >= t->epoch_target) return QUERN_STOPPED_EPOCHS;
    return t->samples >= t->sample_target ? QUERN_STOPPED_SAMPLES : QUERN_STOPPED_TIME;
}
