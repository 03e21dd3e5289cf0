/* weigh - loss and weight of a microbatch are added to the open window, in double.
 * Without a weight tensor the weight is the number of samples; without a loss tensor (an update
 * from gradients alone) the loss is 0. Deterministic: yes, microbatches come in order. */
#include "task_run.h"

namespace {

struct weigh : task_weigh {
    __device__ void run() const {
        if (loss.data != NULL) state->loss += task_value(loss, 0);
        state->weight += weight.data != NULL ? task_value(weight, 0) : (double)samples;
        state->samples += (double)samples;
    }
};

} // namespace

quern_status quern_cuda_task_weigh(const quern_kernel_args *args) {
    return task_run(args, weigh{*(const task_weigh *)args->attributes});
}
