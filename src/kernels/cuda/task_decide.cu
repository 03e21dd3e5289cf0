/* decide - whether this attempt's update is applied, and with which hyper-parameters: decide.h.
 * A fault that a kernel of this stream has found in its data (fault.h) freezes the run too: the
 * host learns of it when it next waits, and until then nothing may be made from such data. */
#include "../decide.h"
#include "task_run.h"

namespace {

struct decide : task_decide {
    const cuda_fault *fault;

    __device__ void run() const {
        if (*(const volatile int32_t *)&fault->code != 0) state->frozen = 1;
        decide_run(this);
    }
};

} // namespace

quern_status quern_cuda_task_decide(const quern_kernel_args *args) {
    return task_run(
        args, decide{*(const task_decide *)args->attributes, cuda_stream_fault(args->stream)});
}
