/* trigger.c - what falls due when the count of applied updates becomes a multiple, or a target: the
 * log, an evaluation, a save, the end. Nothing is issued past the earliest attempt at which one
 * could fall, so that each finds the device at exactly that update. */
#include "../trainer.h"

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* every 0: never. */
static int64_t next_multiple(int64_t step, int64_t every) {
    return every > 0 ? (step / every + 1) * every : INT64_MAX;
}

static int64_t save_every(const quern_trainer *t) {
    return t->desc.save.directory ? t->desc.save.every : 0;
}

int64_t trigger_next(const quern_trainer *t) {
    const int64_t log = next_multiple(t->step, t->desc.log_every);
    if (!t->fitting) return log;
    const int64_t evaluation = next_multiple(t->step, t->desc.evaluate_every);
    const int64_t save = next_multiple(t->step, save_every(t));
    return earlier(earlier(log, t->step_target), earlier(evaluation, save));
}

bool trigger_logs(const quern_trainer *t) { return t->step % t->desc.log_every == 0; }

void trigger_applied(quern_trainer *t) {
    const int64_t evaluation = t->desc.evaluate_every, save = save_every(t);
    if (!t->fitting) return;
    if (evaluation > 0 && t->step % evaluation == 0) t->due |= QUERN_REQUEST_EVALUATION;
    if (save > 0 && t->step % save == 0) t->due |= QUERN_REQUEST_SAVE;
}
