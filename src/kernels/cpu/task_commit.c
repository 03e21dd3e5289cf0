/* commit - pending state (running statistics) becomes state, when the update was applied: a
 * skipped or frozen attempt leaves it bit-equal. Cost: one read and one write of small views. */
#include "task_value.h"
#include <string.h>

quern_status quern_cpu_task_commit(const quern_kernel_args *args) {
    const task_commit *t = args->attributes;
    if (t->state->applied == 0) return QUERN_OK;
    for (int32_t i = 0; i < t->count; i++) {
        const size_t bytes = (size_t)t->to[i].count * quern_dtype_bytes(t->to[i].dtype);
        if (bytes > 0) memcpy(t->to[i].data, t->from[i].data, bytes);
    }
    return QUERN_OK;
}
