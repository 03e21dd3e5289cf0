/* accumulate - sums[i] += value[i], in double: a metric over the batches of an evaluation or an
 * epoch. Without a value the constant is added to sums[0]. Deterministic: yes, batches in order. */
#include "task_value.h"

quern_status quern_cpu_task_accumulate(const quern_kernel_args *args) {
    const task_accumulate *t = args->attributes;
    if (!t->value.data) t->sums[0] += t->constant;
    for (int64_t i = 0; t->value.data && i < t->value.count; i++)
        t->sums[i] += task_value(&t->value, i);
    return QUERN_OK;
}
