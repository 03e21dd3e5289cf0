/* weigh - loss and weight of a microbatch are added to the open window, in double.
 * Without a weight tensor the weight is the number of samples; without a loss tensor (an update
 * from gradients alone) the loss is 0. Deterministic: yes, microbatches come in order. */
#include "task_value.h"

quern_status quern_cpu_task_weigh(const quern_kernel_args *args) {
    const task_weigh *t = args->attributes;
    if (t->loss.data) t->state->loss += task_value(&t->loss, 0);
    t->state->weight += t->weight.data ? task_value(&t->weight, 0) : (double)t->samples;
    t->state->samples += (double)t->samples;
    return QUERN_OK;
}
