/* decide - whether this attempt's update is applied, and with which hyper-parameters: decide.h. */
#include "../decide.h"
#include "task_value.h"

quern_status quern_cpu_task_decide(const quern_kernel_args *args) {
    decide_run(args->attributes);
    return QUERN_OK;
}
