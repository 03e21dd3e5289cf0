/* avg_pool2d - y = mean of x in each window; gx = gy / count, summed over the windows that saw x.
 * Shapes   x (N, C, H, W), y (N, C, OH, OW). Padding counts as zeros, so the count is the window's
 * area; with count_exclude_padding it is the number of pixels inside the image.
 * Cost     1 read of x, 1 write of y; backward as much.
 * Deterministic: yes, every value has one writer, who adds in a fixed order. */
#include "pool2d.h"

namespace {

template <typename R>
__device__ R window_count(const pool_shape &p, pool_span rows, pool_span columns) {
    if (!p.desc.count_exclude_padding) return (R)p.desc.window[0] * (R)p.desc.window[1];
    return (R)((rows.stop - rows.first) * (columns.stop - columns.first));
}

template <int WIDTH, typename T>
__global__ void forward_kernel(pool_shape p, int64_t count, const T *x, T *y) {
    typedef real<T> R;
    for (int64_t i = launch_index(); i < count / WIDTH; i += launch_stride()) {
        const pool_place at = pool_place_of<WIDTH>(p, i, p.oh, p.ow);
        const pool_span rows = pool_pixels(p, 0, at.row), columns = pool_pixels(p, 1, at.column);
        R sum[WIDTH] = {}, value[WIDTH];
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) {
                pool_read(x + pool_offset(p, at, p.h, p.w, r, c), value);
                for (int j = 0; j < WIDTH; j++) sum[j] += value[j];
            }
        for (int j = 0; j < WIDTH; j++) sum[j] /= window_count<R>(p, rows, columns);
        pool_write(y + i * WIDTH, sum);
    }
}

template <int WIDTH, typename T>
__global__ void backward_kernel(pool_shape p, int64_t count, const T *gy, bool add, T *gx) {
    typedef real<T> R;
    for (int64_t i = launch_index(); i < count / WIDTH; i += launch_stride()) {
        const pool_place at = pool_place_of<WIDTH>(p, i, p.h, p.w);
        const pool_span rows = pool_windows(p, 0, at.row), columns = pool_windows(p, 1, at.column);
        R sum[WIDTH], g[WIDTH];
        pool_begin(add, gx + i * WIDTH, sum);
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) {
                const R seen = window_count<R>(p, pool_pixels(p, 0, r), pool_pixels(p, 1, c));
                pool_read(gy + pool_offset(p, at, p.oh, p.ow, r, c), g);
                for (int j = 0; j < WIDTH; j++) sum[j] += g[j] / seen;
            }
        pool_write(gx + i * WIDTH, sum);
    }
}

quern_status forward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const int64_t count = args->out[0].count;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *x = (const T *)args->in[0].data;
        T *y = (T *)args->out[0].data;
        return pool_dispatch(
            p,
            [&](auto width) {
                constexpr int WIDTH = decltype(width)::value;
                return launch(args->stream, launch_over(count / WIDTH), forward_kernel<WIDTH, T>, p,
                              count, x, y);
            },
            x, y);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const quern_view *view = &args->grad_in[0];
    if (view->data == NULL) return QUERN_OK;
    return real_dispatch(view->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *gy = (const T *)args->grad_out[0].data;
        T *gx = (T *)view->data;
        return pool_dispatch(
            p,
            [&](auto width) {
                constexpr int WIDTH = decltype(width)::value;
                return launch(args->stream, launch_over(view->count / WIDTH),
                              backward_kernel<WIDTH, T>, p, view->count, gy, args->accumulate[0],
                              gx);
            },
            gy, gx);
    });
}

} // namespace

const quern_kernel quern_cuda_avg_pool2d = {real_plan, forward, backward, NULL};
