/* record - the attempt's record goes to the ring that the host reads, and the next window opens:
 * its sums, skip and applied are 0, attempt is one more. Norm and rate stay for who looks. */
#include "task_run.h"

namespace {

struct record : task_record_args {
    __device__ void run() const {
        task_record r = {};
        r.attempt = state->run.attempt;
        r.step = state->step;
        r.loss = state->loss;
        r.weight = state->weight;
        r.samples = state->samples;
        r.norm = state->norm;
        r.learning_rate = state->learning_rate;
        r.scale = state->scale;
        r.scale_age = state->scale_age;
        r.not_finite = state->not_finite;
        r.outcome = state->outcome;
        ring[state->run.attempt % ring_count] = r;
        state->loss = state->weight = state->samples = 0;
        state->skip = state->applied = 0;
        state->run.attempt++;
        state->run.microbatch = 0;
    }
};

} // namespace

quern_status quern_cuda_task_record(const quern_kernel_args *args) {
    return task_run(args, record{*(const task_record_args *)args->attributes});
}
