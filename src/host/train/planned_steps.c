/* planned_steps.c - how many updates a run makes when none is skipped: what a schedule stretches
 * over. 0 where nobody can say, as for a stream or a limit of time. */
#include "trainer.h"

#include <inttypes.h>

/* An epoch as its windows take it. */
typedef struct epoch_plan {
    int64_t batches, windows; /* 0: not known */
    int64_t samples;          /* of all windows; under CARRY all, under DROP without the tail */
} epoch_plan;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static epoch_plan epoch_of(const quern_trainer_desc *d) {
    const int64_t length = d->train ? quern_dataset_length(d->train) : -1;
    const int64_t limit = d->train_batch_limit > 0 ? d->train_batch_limit : INT64_MAX;
    epoch_plan e = {.batches = limit, .samples = INT64_MAX};
    if (length > 0) {
        e.batches = d->drop_last ? length / d->batch_size : count_divide_up(length, d->batch_size);
        e.batches = smaller(e.batches, limit);
        e.samples = smaller(e.batches * d->batch_size, length);
    }
    if (e.batches == INT64_MAX) return (epoch_plan){0};
    e.windows = count_divide_up(e.batches, d->accumulate);
    if (d->tail == QUERN_TAIL_DROP && e.batches % d->accumulate != 0) {
        e.windows = e.batches / d->accumulate;
        if (length > 0) e.samples = e.windows * d->accumulate * d->batch_size;
    }
    return e;
}

/* False when they cannot be counted. */
static bool windows_of_epochs(const quern_trainer_desc *d, const epoch_plan *e, int64_t *out) {
    if (d->tail != QUERN_TAIL_CARRY) return count_multiply(d->epoch_count, e->windows, out);
    const bool fits = count_multiply(d->epoch_count, e->batches, out);
    *out /= d->accumulate;
    return fits;
}

/* The window that reaches the limit is the last one, and whole; one that is carried goes on. */
static bool windows_of_samples(const quern_trainer_desc *d, const epoch_plan *e, int64_t *out) {
    const int64_t epochs = d->sample_limit / e->samples, rest = d->sample_limit % e->samples;
    const int64_t batches = count_divide_up(rest, d->batch_size);
    if (d->tail != QUERN_TAIL_CARRY)
        return count_multiply(epochs, e->windows, out) &&
               count_add(*out, count_divide_up(batches, d->accumulate), out);
    const bool fits = count_multiply(epochs, e->batches, out) && count_add(*out, batches, out);
    *out = count_divide_up(*out, d->accumulate);
    return fits;
}

quern_status planned_steps_count(const quern_trainer_desc *d, int64_t *out) {
    const epoch_plan e = epoch_of(d);
    int64_t planned = 0, of_samples = 0;
    if (e.batches > 0 && e.windows == 0)
        return quern_fail(QUERN_INPUT,
                          "trainer: an epoch of %" PRId64 " batches is less than a window of "
                          "%" PRId64 ", and tail DROP leaves nothing",
                          e.batches, d->accumulate);
    if (!windows_of_epochs(d, &e, &planned))
        return quern_fail(QUERN_INVALID, "trainer: epoch_count %" PRId64 " is too large",
                          d->epoch_count);
    if (d->sample_limit > 0 && e.samples > 0 && e.samples < INT64_MAX &&
        windows_of_samples(d, &e, &of_samples) && (planned == 0 || of_samples < planned))
        planned = of_samples;
    if (d->step_limit > 0 && (planned == 0 || d->step_limit < planned)) planned = d->step_limit;
    *out = planned;
    return QUERN_OK;
}
