/* norm - the L2 norm of the flat gradient block, sqrt(sum g^2) / the loss scale that it was
 * computed with, summed in double.
 * Cost     one read of the gradients, 16 bytes at a time.
 * Deterministic: yes. A block sums TASK_NORM_CHUNK elements, each thread its own in order, then
 * the threads as group.h does; the chunks' sums lie in scratch, and one block adds them the same
 * way. NaN and infinity come through. */
#include "group.h"

namespace {

template <int WIDTH, typename T>
__global__ void chunk_kernel(int64_t count, const T *values, double *sums) {
    const int64_t start = (int64_t)blockIdx.x * TASK_NORM_CHUNK, rest = count - start;
    const int64_t length = rest < TASK_NORM_CHUNK ? rest : TASK_NORM_CHUNK;
    const int64_t packed = length / WIDTH * WIDTH;
    double sum = 0;
    group_each<LAUNCH_THREADS, WIDTH>(values + start, packed, [&](int64_t, real<T> value) {
        sum += (double)value * (double)value;
    });
    group_each<LAUNCH_THREADS, 1>(
        values + start + packed, length - packed,
        [&](int64_t, real<T> value) { sum += (double)value * (double)value; });
    sum = group_sum<LAUNCH_THREADS>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void finish_kernel(int64_t count, const double *sums, task_state *state) {
    double sum = 0;
    group_each<LAUNCH_THREADS, 1>(sums, count, [&](int64_t, double part) { sum += part; });
    sum = group_sum<LAUNCH_THREADS>(sum);
    if (threadIdx.x == 0) state->norm = sqrt(sum) / state->seeded;
}

} // namespace

quern_status quern_cuda_task_norm(const quern_kernel_args *args) {
    const task_norm *t = (const task_norm *)args->attributes;
    const int64_t count = t->gradients.count;
    const int64_t chunks = (count + TASK_NORM_CHUNK - 1) / TASK_NORM_CHUNK;
    const launch_shape all = {dim3((unsigned)chunks), dim3(LAUNCH_THREADS), 0};
    double *sums = (double *)args->scratch;
    QUERN_TRY(real_dispatch(t->gradients.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        constexpr int WIDTH = pack_width<T>();
        const T *values = (const T *)t->gradients.data;
        return pack_aligned<WIDTH>(values)
                   ? launch(args->stream, all, chunk_kernel<WIDTH, T>, count, values, sums)
                   : launch(args->stream, all, chunk_kernel<1, T>, count, values, sums);
    }));
    return launch(args->stream, {dim3(1), dim3(LAUNCH_THREADS), 0}, finish_kernel, chunks,
                  (const double *)sums, t->state);
}
