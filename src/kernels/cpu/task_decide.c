/* decide - whether this attempt's update is applied, and with which hyper-parameters.
 * The reasons not to, in order of precedence: an earlier one froze the run (then even one that was
 * to be skipped is taken back, and its data comes again); the host asked to skip it; the window is
 * empty; loss, weight, gradient or the schedule's factor is not finite, which freezes the run when
 * it comes too often in a row. Only an applied update moves the step on.
 * Clipping is torch.nn.utils.clip_grad_norm_: min(1, clip / (norm + 1e-6)). */
#include "task_value.h"
#include <math.h>

static double factor_of(const task_decide *t) {
    return t->schedule[t->state->step % t->schedule_count];
}

static quern_outcome outcome_of(const task_decide *t) {
    const task_state *state = t->state;
    if (state->frozen) return QUERN_OUTCOME_FROZEN;
    if (state->skip) return QUERN_OUTCOME_SKIPPED;
    if (state->weight == 0) return QUERN_OUTCOME_EMPTY;
    if (!isfinite(state->loss) || !isfinite(state->weight) || !isfinite(state->norm) ||
        !isfinite(factor_of(t)))
        return QUERN_OUTCOME_NOT_FINITE;
    return QUERN_OUTCOME_APPLIED;
}

static quern_hyper hyper_of(const task_decide *t) {
    const task_state *state = t->state;
    quern_hyper h = t->constants;
    h.n = state->step + 1;
    h.learning_rate *= factor_of(t);
    h.correct1 = 1 / (1 - pow(h.beta1, (double)h.n));
    h.correct2 = 1 / (1 - pow(h.beta2, (double)h.n));
    h.gradient_scale = 1;
    if (t->clip_norm > 0 && state->norm + 1e-6 > t->clip_norm)
        h.gradient_scale = t->clip_norm / (state->norm + 1e-6);
    return h;
}

quern_status quern_cpu_task_decide(const quern_kernel_args *args) {
    const task_decide *t = args->attributes;
    task_state *state = t->state;
    const quern_outcome outcome = outcome_of(t);
    state->outcome = (int32_t)outcome;
    state->applied = outcome == QUERN_OUTCOME_APPLIED;
    if (outcome == QUERN_OUTCOME_NOT_FINITE && ++state->not_finite > t->not_finite_limit)
        state->frozen = 1;
    if (!state->applied) return QUERN_OK;
    state->not_finite = 0;
    state->hyper = hyper_of(t);
    state->learning_rate = state->hyper.learning_rate;
    state->step++;
    return QUERN_OK;
}
