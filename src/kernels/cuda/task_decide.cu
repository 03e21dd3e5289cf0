/* decide - whether this attempt's update is applied, and with which hyper-parameters.
 * The reasons not to, in order of precedence: the host asked to skip it; an earlier one froze the
 * run; the window is empty; loss, weight, gradient or the schedule's factor is not finite, which
 * freezes the run when it comes too often in a row. Only an applied update moves the step on.
 * Clipping is torch.nn.utils.clip_grad_norm_: min(1, clip / (norm + 1e-6)).
 *
 * A fault that a kernel of this stream has found in its data (fault.h) freezes the run too: the
 * host learns of it when it next waits, and until then nothing may be made from such data. */
#include "task_run.h"

namespace {

__device__ bool is_finite(double x) { return x - x == 0; }

struct decide : task_decide {
    const cuda_fault *fault;

    __device__ double factor() const { return schedule[state->step % schedule_count]; }

    __device__ quern_outcome outcome() const {
        if (state->skip != 0) return QUERN_OUTCOME_SKIPPED;
        if (state->frozen != 0) return QUERN_OUTCOME_FROZEN;
        if (state->weight == 0) return QUERN_OUTCOME_EMPTY;
        if (!is_finite(state->loss) || !is_finite(state->weight) || !is_finite(state->norm) ||
            !is_finite(factor()))
            return QUERN_OUTCOME_NOT_FINITE;
        return QUERN_OUTCOME_APPLIED;
    }

    __device__ quern_hyper hyper() const {
        quern_hyper h = constants;
        h.n = state->step + 1;
        h.learning_rate *= factor();
        h.correct1 = 1 / (1 - pow(h.beta1, (double)h.n));
        h.correct2 = 1 / (1 - pow(h.beta2, (double)h.n));
        h.gradient_scale = 1;
        if (clip_norm > 0 && state->norm + 1e-6 > clip_norm)
            h.gradient_scale = clip_norm / (state->norm + 1e-6);
        return h;
    }

    __device__ void run() const {
        if (fault->code != 0) state->frozen = 1;
        const quern_outcome found = outcome();
        state->outcome = (int32_t)found;
        state->applied = found == QUERN_OUTCOME_APPLIED ? 1 : 0;
        if (found == QUERN_OUTCOME_NOT_FINITE && ++state->not_finite > not_finite_limit)
            state->frozen = 1;
        if (state->applied == 0) return;
        state->not_finite = 0;
        state->hyper = hyper();
        state->learning_rate = state->hyper.learning_rate;
        state->step++;
    }
};

} // namespace

quern_status quern_cuda_task_decide(const quern_kernel_args *args) {
    return task_run(
        args, decide{*(const task_decide *)args->attributes, cuda_stream_fault(args->stream)});
}
