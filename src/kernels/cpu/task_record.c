/* record - the attempt's record goes to the ring that the host reads, and the next window opens:
 * its sums, skip and applied are 0, attempt is one more. Norm and rate stay for who looks. */
#include "task_value.h"

quern_status quern_cpu_task_record(const quern_kernel_args *args) {
    const task_record_args *t = args->attributes;
    task_state *state = t->state;
    t->ring[state->run.attempt % t->ring_count] = (task_record){
        .attempt = state->run.attempt,
        .step = state->step,
        .loss = state->loss,
        .weight = state->weight,
        .samples = state->samples,
        .norm = state->norm,
        .learning_rate = state->learning_rate,
        .scale = state->scale,
        .scale_age = state->scale_age,
        .not_finite = state->not_finite,
        .outcome = state->outcome,
    };
    state->loss = state->weight = state->samples = 0;
    state->skip = state->applied = 0;
    state->run.attempt++;
    state->run.microbatch = 0;
    return QUERN_OK;
}
