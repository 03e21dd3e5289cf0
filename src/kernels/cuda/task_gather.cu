/* gather - a batch of a data set in device memory becomes the inputs: shuffled, converted,
 * normalised, cropped and flipped, bit by bit as a loader does it.
 *
 * Two kinds of launches: one block finds out which batch it is, and for each row the sample and
 * its random draws; then, for each field, a row of the grid writes a row of the input. The batch is
 * read once, from host memory: a microsecond, where every block would spend it again.
 * Cost: one read and one write per element. Deterministic: yes, each element on its own, and
 * compiled without fused multiply-adds (CMakeLists.txt), which would round once less. */
#include "../sampler.h"
#include "launch.h"

namespace {

constexpr int64_t GATHER_GRID_ROWS = LAUNCH_BLOCKS < 65535 ? LAUNCH_BLOCKS : 65535;

__global__ void pick_kernel(task_gather t, task_pick *picks) {
    SHARED(int64_t, batch, 2);
    if (threadIdx.x == 0) {
        const volatile task_batch *at = gather_batch(&t);
        batch[0] = at->epoch;
        batch[1] = at->first_position;
        if (t.advance) t.run->attempt++;
    }
    __syncthreads();
    const int64_t epoch = batch[0], first = batch[1];
    const sampler order = sampler_of_epoch(t.length, t.shuffle, t.seed, epoch);
    for (int64_t row = threadIdx.x; row < t.sample_count; row += blockDim.x) {
        const int64_t sample = sampler_index(&order, first + row);
        picks[row] = {sample, field_draw_of(t.seed, epoch, sample)};
    }
}

__device__ float normalised(float x, float scale, float mean, float deviation) {
    return field_normalise_float(x, scale, mean, deviation);
}

__device__ double normalised(double x, double scale, double mean, double deviation) {
    return field_normalise_double(x, scale, mean, deviation);
}

/* An integer input takes its values as they are: field plans have no arithmetic for it. */
template <typename TO> __device__ TO arithmetic(const field_plan &, int64_t, TO x) { return x; }

template <typename TO> __device__ TO real_arithmetic(const field_plan &p, int64_t at, TO x) {
    if (!p.normalise) return p.arithmetic ? x * (TO)p.scale : x;
    const int64_t channel = at / (p.height * p.width);
    return normalised(x, (TO)p.scale, (TO)p.mean[channel], (TO)p.deviation[channel]);
}
template <> __device__ float arithmetic(const field_plan &p, int64_t at, float x) {
    return real_arithmetic(p, at, x);
}
template <> __device__ double arithmetic(const field_plan &p, int64_t at, double x) {
    return real_arithmetic(p, at, x);
}

template <typename FROM, typename TO>
__global__ void field_kernel(field_plan p, int64_t rows, const task_pick *picks, const FROM *from,
                             TO *to) {
    const bool augmented = field_is_augmented(&p);
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const field_augmentation g = field_augmentation_of(&p, &picks[row].draw);
        const FROM *sample = from + picks[row].sample * p.count;
        for (int64_t at = launch_index(); at < p.count; at += launch_stride()) {
            const int64_t source = augmented ? field_source(&p, &g, at) : at;
            const FROM x = source < 0 ? (FROM)0 : sample[source];
            to[row * p.count + at] = arithmetic(p, at, (TO)x);
        }
    }
}

template <typename FROM, typename TO>
quern_status field_launch(const quern_kernel_args *args, const task_field *f, int64_t rows) {
    launch_shape shape = launch_over(f->plan.count);
    shape.grid.y = (unsigned)(rows < GATHER_GRID_ROWS ? rows : GATHER_GRID_ROWS);
    return launch(args->stream, shape, field_kernel<FROM, TO>, f->plan, rows,
                  (const task_pick *)args->scratch, (const FROM *)f->from, (TO *)f->to);
}

template <typename FROM>
quern_status field_to(const quern_kernel_args *args, const task_field *f, int64_t rows) {
    switch ((int)f->plan.to) {
    case QUERN_F32: return field_launch<FROM, float>(args, f, rows);
    case QUERN_F64: return field_launch<FROM, double>(args, f, rows);
    case QUERN_I32: return field_launch<FROM, int32_t>(args, f, rows);
    case QUERN_I64: return field_launch<FROM, int64_t>(args, f, rows);
    default: return field_launch<FROM, uint8_t>(args, f, rows);
    }
}

quern_status field_write(const quern_kernel_args *args, const task_field *f, int64_t rows) {
    switch ((int)f->plan.from) {
    case QUERN_F32: return field_to<float>(args, f, rows);
    case QUERN_F64: return field_to<double>(args, f, rows);
    case QUERN_I32: return field_to<int32_t>(args, f, rows);
    case QUERN_I64: return field_to<int64_t>(args, f, rows);
    default: return field_to<uint8_t>(args, f, rows);
    }
}

} // namespace

quern_status quern_cuda_task_gather(const quern_kernel_args *args) {
    const task_gather *t = (const task_gather *)args->attributes;
    QUERN_TRY(launch(args->stream, {dim3(1), dim3(LAUNCH_THREADS), 0}, pick_kernel, *t,
                     (task_pick *)args->scratch));
    for (int32_t i = 0; i < t->field_count; i++)
        QUERN_TRY(field_write(args, &t->fields[i], t->sample_count));
    return QUERN_OK;
}
