/* seed - scale d(mean loss) / d(loss sum) = scale / W, where backward starts. An empty window is
 * seeded with 0: its update is not applied, and its gradients stay finite. */
#include "task_value.h"

quern_status quern_cpu_task_seed(const quern_kernel_args *args) {
    const task_seed *t = args->attributes;
    const double seed = t->state->weight == 0 ? 0 : t->state->scale / t->state->weight;
    t->state->seeded = t->state->scale;
    if (t->gradient.dtype == QUERN_F32)
        *(float *)t->gradient.data = (float)seed;
    else
        *(double *)t->gradient.data = seed;
    return QUERN_OK;
}
