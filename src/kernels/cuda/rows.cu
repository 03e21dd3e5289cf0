/* rows.cu - the kernels of rows.h. Cost: rows_finish reads and writes y once, rows_mask reads gy
 * and y and writes once, rows_sum reads gy once. */
#include "rows.h"

#include "map.h"

namespace {

enum { SUM_ROWS = 256, SUM_COLUMNS = 32, SUM_LANES = 8 };

/* Keeps NaN: a broken value must not be hidden. */
template <typename R> __device__ R clamp_at_zero(R x) { return x <= 0 ? (R)0 : x; }

template <typename T>
__global__ void finish_kernel(int64_t count, int64_t columns, T *y, const T *bias, bool relu) {
    for (int64_t i = launch_index(); i < count; i += launch_stride()) {
        real<T> value = (real<T>)y[i];
        if (bias != NULL) value += (real<T>)bias[i % columns];
        y[i] = (T)(relu ? clamp_at_zero(value) : value);
    }
}

struct mask_op : map_op {
    template <typename R> __device__ R operator()(int64_t, R g, R y) const {
        return y <= 0 ? (R)0 : g;
    }
};

/* A block sums SUM_COLUMNS columns over SUM_ROWS rows: SUM_LANES threads a column, each every
 * SUM_LANES-th row, then the lanes in order. */
template <typename T>
__global__ void sum_blocks_kernel(int64_t rows, int64_t columns, int64_t tiles, const T *gy,
                                  real<T> *sums) {
    SHARED(real<T>, lanes, SUM_LANES * SUM_COLUMNS);
    const int64_t row_block = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int lane = (int)threadIdx.x / SUM_COLUMNS, at = (int)threadIdx.x % SUM_COLUMNS;
    const int64_t column = tile * SUM_COLUMNS + at, first = row_block * SUM_ROWS;
    const int64_t stop = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    real<T> sum = 0;
    for (int64_t row = first + lane; row < stop && column < columns; row += SUM_LANES)
        sum += (real<T>)gy[row * columns + column];
    lanes[threadIdx.x] = sum;
    __syncthreads();
    if (lane != 0 || column >= columns) return;
    for (int i = 1; i < SUM_LANES; i++) sum += (real<T>)lanes[i * SUM_COLUMNS + at];
    sums[row_block * columns + column] = sum;
}

template <typename T>
__global__ void sum_finish_kernel(int64_t blocks, int64_t columns, const real<T> *sums, T *to,
                                  bool accumulate) {
    for (int64_t c = launch_index(); c < columns; c += launch_stride()) {
        real<T> sum = 0;
        for (int64_t i = 0; i < blocks; i++) sum += sums[i * columns + c];
        to[c] = (T)(accumulate ? (real<T>)to[c] + sum : sum);
    }
}

int64_t divide_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

} // namespace

quern_status rows_finish(quern_stream *stream, rows_shape shape, void *y, const void *bias,
                         bool relu) {
    const int64_t count = shape.rows * shape.columns;
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return launch(stream, launch_over(count), finish_kernel<T>, count, shape.columns, (T *)y,
                      (const T *)bias, relu);
    });
}

quern_status rows_mask(quern_stream *stream, rows_shape shape, void *to, const void *gy,
                       const void *y) {
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(stream, shape.rows * shape.columns, mask_op(), false, (T *)to, (const T *)gy,
                   (const T *)y);
    });
}

bool rows_sum_scratch(rows_shape shape, size_t *bytes) {
    const size_t each = shape.dtype == QUERN_F64 ? sizeof(double) : sizeof(float);
    int64_t count;
    return !__builtin_mul_overflow(divide_up(shape.rows, SUM_ROWS), shape.columns, &count) &&
           !__builtin_mul_overflow((size_t)count, each, bytes);
}

quern_status rows_sum(quern_stream *stream, rows_shape shape, void *sums, const void *gy,
                      bool accumulate, void *scratch) {
    const int64_t blocks = divide_up(shape.rows, SUM_ROWS);
    const int64_t tiles = divide_up(shape.columns, SUM_COLUMNS);
    return real_dispatch(shape.dtype, [&](auto zero) {
        typedef decltype(zero) T;
        real<T> *parts = (real<T> *)scratch;
        const launch_shape grid = {dim3((unsigned)(blocks * tiles)), dim3(SUM_COLUMNS * SUM_LANES),
                                   0};
        QUERN_TRY(launch(stream, grid, sum_blocks_kernel<T>, shape.rows, shape.columns, tiles,
                         (const T *)gy, parts));
        return launch(stream, launch_over(shape.columns), sum_finish_kernel<T>, blocks,
                      shape.columns, parts, (T *)sums, accumulate);
    });
}
