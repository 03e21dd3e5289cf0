/* accumulate - sums[i] += value[i], in double: a metric over the batches of an evaluation or an
 * epoch. Without a value the constant is added to sums[0]. Deterministic: yes, batches in order. */
#include "task_run.h"

static __global__ void add_kernel(task_accumulate t, int64_t count) {
    for (int64_t i = launch_index(); i < count; i += launch_stride())
        t.sums[i] += t.value.data != NULL ? task_value(t.value, i) : t.constant;
}

quern_status quern_cuda_task_accumulate(const quern_kernel_args *args) {
    const task_accumulate *t = (const task_accumulate *)args->attributes;
    const int64_t count = t->value.data != NULL ? t->value.count : 1;
    return launch(args->stream, launch_over(count), add_kernel, *t, count);
}
