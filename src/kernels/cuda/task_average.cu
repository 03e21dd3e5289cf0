/* average - the exponential moving average of the parameters, after an update that was applied:
 *   average = decay average + (1 - decay) value, as average + (1 - decay) (value - average)
 * so that what does not move is its own average to the last bit, whatever 1 - decay rounds to.
 * With warm-up decay is at most (1 + n) / (10 + n) at update n = 1, 2, … (TensorFlow's
 * ExponentialMovingAverage with num_updates). A skipped or frozen attempt changes nothing.
 * Cost     two reads and one write an element.
 * Deterministic: yes, elements are independent. */
#include "../average.h"
#include "task_run.h"

namespace {

struct average_op : map_op {
    const task_state *state;
    double decay, rest;
    bool warmup, applied;

    __device__ void load() {
        applied = state->applied != 0;
        rest = average_rest(decay, warmup, (double)state->step);
    }
    template <typename R> __device__ R operator()(int64_t, R average, R value) const {
        return applied ? average + (R)rest * (value - average) : average;
    }
};

} // namespace

quern_status quern_cuda_task_average(const quern_kernel_args *args) {
    const task_average *t = (const task_average *)args->attributes;
    average_op op = {};
    op.state = t->state;
    op.decay = t->decay;
    op.warmup = t->warmup;
    return real_dispatch(t->values.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        T *average = (T *)t->average.data;
        return map(args->stream, t->values.count, op, false, average, (const T *)average,
                   (const T *)t->values.data);
    });
}
