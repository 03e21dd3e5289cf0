/* seed - scale d(mean loss) / d(loss sum) = scale / W, where backward starts. An empty window is
 * seeded with 0: its update is not applied, and its gradients stay finite. */
#include "task_run.h"

namespace {

template <typename T> struct seed : task_seed {
    __device__ void run() const {
        *(T *)gradient.data = (T)(real<T>)(state->weight == 0 ? 0 : state->scale / state->weight);
        state->seeded = state->scale;
    }
};

} // namespace

quern_status quern_cuda_task_seed(const quern_kernel_args *args) {
    const task_seed *t = (const task_seed *)args->attributes;
    return real_dispatch(t->gradient.dtype,
                         [&](auto zero) { return task_run(args, seed<decltype(zero)>{*t}); });
}
