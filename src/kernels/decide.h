/* decide.h - whether an attempt's update is applied, and with which hyper-parameters: the task
 * `decide`, once for both compilers.
 * The reasons not to, in order of precedence: an earlier one froze the run (then even one that was
 * to be skipped is taken back, and its data comes again); the host asked to skip it; the window is
 * empty; loss, weight, gradient or the schedule's factor is not finite, which freezes the run when
 * it comes too often in a row. Only an applied update moves the step on.
 * With a dynamic loss scale (torch.amp.GradScaler) a gradient that is not finite though the loss is
 * has overflowed: that update is skipped too, with a smaller scale, until that is at its minimum;
 * then it is a failure like any other. A scale grows behind so many updates applied in a row.
 * Clipping is torch.nn.utils.clip_grad_norm_: min(1, clip / (norm + 1e-6)). */
#ifndef QUERN_KERNELS_DECIDE_H
#define QUERN_KERNELS_DECIDE_H

#include "../host/base/random.h"
#include "task.h"
#include <math.h>

static inline QUERN_HD double decide_factor(const task_decide *t) {
    return t->schedule[t->state->step % t->schedule_count];
}

static inline QUERN_HD bool decide_is_finite(double x) { return x - x == 0; }

static inline QUERN_HD quern_outcome decide_outcome(const task_decide *t) {
    const task_state *state = t->state;
    if (state->frozen != 0) return QUERN_OUTCOME_FROZEN;
    if (state->skip != 0) return QUERN_OUTCOME_SKIPPED;
    if (state->weight == 0) return QUERN_OUTCOME_EMPTY;
    if (!decide_is_finite(state->loss) || !decide_is_finite(state->weight) ||
        !decide_is_finite(decide_factor(t)))
        return QUERN_OUTCOME_NOT_FINITE;
    if (decide_is_finite(state->norm)) return QUERN_OUTCOME_APPLIED;
    return t->scaler.interval > 0 && state->seeded > t->scaler.minimum ? QUERN_OUTCOME_OVERFLOW
                                                                       : QUERN_OUTCOME_NOT_FINITE;
}

static inline QUERN_HD void decide_scale(const task_decide *t, quern_outcome outcome) {
    task_state *state = t->state;
    if (t->scaler.interval == 0) return;
    if (outcome == QUERN_OUTCOME_APPLIED) {
        if (++state->scale_age < t->scaler.interval) return;
        state->scale *= t->scaler.growth;
        state->scale_age = 0;
    } else if (outcome == QUERN_OUTCOME_OVERFLOW) {
        const double smaller = state->scale * t->scaler.backoff;
        state->scale = smaller > t->scaler.minimum ? smaller : t->scaler.minimum;
        state->scale_age = 0;
    } else if (outcome == QUERN_OUTCOME_NOT_FINITE) {
        state->scale_age = 0;
    }
}

static inline QUERN_HD quern_hyper decide_hyper(const task_decide *t) {
    const task_state *state = t->state;
    quern_hyper h = t->constants;
    h.n = state->step + 1;
    h.learning_rate *= decide_factor(t);
    h.correct1 = 1 / (1 - pow(h.beta1, (double)h.n));
    h.correct2 = 1 / (1 - pow(h.beta2, (double)h.n));
    h.gradient_scale = 1;
    if (t->clip_norm > 0 && state->norm + 1e-6 > t->clip_norm)
        h.gradient_scale = t->clip_norm / (state->norm + 1e-6);
    h.gradient_scale /= state->seeded;
    return h;
}

static inline QUERN_HD void decide_run(const task_decide *t) {
    task_state *state = t->state;
    const quern_outcome outcome = decide_outcome(t);
    state->outcome = (int32_t)outcome;
    state->applied = outcome == QUERN_OUTCOME_APPLIED ? 1 : 0;
    decide_scale(t, outcome);
    if (outcome == QUERN_OUTCOME_NOT_FINITE && ++state->not_finite > t->not_finite_limit)
        state->frozen = 1;
    if (state->applied == 0) return;
    state->not_finite = 0;
    state->hyper = decide_hyper(t);
    state->learning_rate = state->hyper.learning_rate;
    state->step++;
}

#endif
