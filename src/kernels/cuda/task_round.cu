/* round - the parameters' 16-bit copies, from their values: ../rounding.h.
 * Cost     one read of 4 bytes and one write of 2 an element, four elements a thread, and by chance
 *          one block of random numbers for them.
 * Deterministic: yes, elements are independent. */
#include "../rounding.h"
#include "map.h"

namespace {

__global__ void round_kernel(task_round t) {
    const uint64_t seed = t.stochastic ? t.state->run.seed : 0;
    const int64_t update = t.stochastic ? t.state->step : 0;
    const rounding r = rounding_of(t.dtype, t.stochastic, seed, update);
    for (int64_t i = launch_index() * 4; i < t.count; i += launch_stride() * 4)
        rounding_range(&r, t.from, t.to, i, i + 4 < t.count ? i + 4 : t.count);
}

} // namespace

quern_status quern_cuda_task_round(const quern_kernel_args *args) {
    const task_round *t = (const task_round *)args->attributes;
    return launch(args->stream, launch_over((t->count + 3) / 4), round_kernel, *t);
}
