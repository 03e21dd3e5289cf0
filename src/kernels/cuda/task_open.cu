/* open - the microbatch that is computed next: the window's first, or the one behind the last. */
#include "task_run.h"

namespace {

struct open_task : task_open {
    __device__ void run() const { state->run.microbatch = first ? 0 : state->run.microbatch + 1; }
};

} // namespace

quern_status quern_cuda_task_open(const quern_kernel_args *args) {
    return task_run(args, open_task{*(const task_open *)args->attributes});
}
