/* open - the microbatch that is computed next: the window's first, or the one behind the last. */
#include "task_value.h"

quern_status quern_cpu_task_open(const quern_kernel_args *args) {
    const task_open *t = args->attributes;
    t->state->run.microbatch = t->first ? 0 : t->state->run.microbatch + 1;
    return QUERN_OK;
}
