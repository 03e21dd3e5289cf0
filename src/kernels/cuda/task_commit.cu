/* commit - pending state (running statistics) becomes state, when the update was applied: a
 * skipped or frozen attempt leaves it bit-equal. Cost: one read and one write of small views, a
 * launch for each COMMIT_PAIRS of them. */
#include "task_run.h"

namespace {

constexpr int32_t COMMIT_PAIRS = 32;
constexpr int64_t COMMIT_WORD = sizeof(uint32_t);

struct commit_pairs {
    const task_state *state;
    int32_t count;
    unsigned char *to[COMMIT_PAIRS];
    const unsigned char *from[COMMIT_PAIRS];
    int64_t bytes[COMMIT_PAIRS];
};

/* A row of the grid is a pair; words where both sides have them, then the last bytes. */
__global__ void commit_kernel(commit_pairs p) {
    if (p.state->applied == 0) return;
    unsigned char *to = p.to[blockIdx.y];
    const unsigned char *from = p.from[blockIdx.y];
    const int64_t bytes = p.bytes[blockIdx.y];
    const bool aligned = ((uintptr_t)to | (uintptr_t)from) % COMMIT_WORD == 0;
    const int64_t words = aligned ? bytes / COMMIT_WORD : 0;
    for (int64_t i = launch_index(); i < words; i += launch_stride())
        ((uint32_t *)to)[i] = ((const uint32_t *)from)[i];
    for (int64_t i = words * COMMIT_WORD + launch_index(); i < bytes; i += launch_stride())
        to[i] = from[i];
}

} // namespace

quern_status quern_cuda_task_commit(const quern_kernel_args *args) {
    const task_commit *t = (const task_commit *)args->attributes;
    for (int32_t first = 0; first < t->count; first += COMMIT_PAIRS) {
        commit_pairs p = {};
        int64_t most = 0;
        p.state = t->state;
        p.count = t->count - first < COMMIT_PAIRS ? t->count - first : COMMIT_PAIRS;
        for (int32_t i = 0; i < p.count; i++) {
            const quern_view *to = &t->to[first + i];
            p.to[i] = (unsigned char *)to->data;
            p.from[i] = (const unsigned char *)t->from[first + i].data;
            p.bytes[i] = to->count * (int64_t)dtype_bytes(to->dtype);
            if (p.bytes[i] > most) most = p.bytes[i];
        }
        launch_shape shape = launch_over(most / COMMIT_WORD + 1);
        shape.grid.y = (unsigned)p.count;
        QUERN_TRY(launch(args->stream, shape, commit_kernel, p));
    }
    return QUERN_OK;
}
