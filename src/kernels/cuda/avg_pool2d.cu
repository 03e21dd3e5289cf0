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

template <typename T>
__global__ void forward_kernel(pool_shape p, int64_t count, const T *x, T *y) {
    typedef real<T> R;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const T *from = x + at / (p.oh * p.ow) * p.h * p.w;
        const pool_span rows = pool_pixels(p, 0, at / p.ow % p.oh);
        const pool_span columns = pool_pixels(p, 1, at % p.ow);
        R sum = 0;
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) sum += (R)from[r * p.w + c];
        y[at] = (T)(sum / window_count<R>(p, rows, columns));
    }
}

template <typename T>
__global__ void backward_kernel(pool_shape p, int64_t count, const T *gy, bool add, T *gx) {
    typedef real<T> R;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const int64_t plane = at / (p.h * p.w), pixel = at % (p.h * p.w);
        const pool_span rows = pool_windows(p, 0, pixel / p.w);
        const pool_span columns = pool_windows(p, 1, pixel % p.w);
        R sum = add ? (R)gx[at] : (R)0;
        for (int64_t i = rows.first; i < rows.stop; i++)
            for (int64_t j = columns.first; j < columns.stop; j++)
                sum += (R)gy[(plane * p.oh + i) * p.ow + j] /
                       window_count<R>(p, pool_pixels(p, 0, i), pool_pixels(p, 1, j));
        gx[at] = (T)sum;
    }
}

quern_status forward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const int64_t count = args->out[0].count;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return launch(args->stream, launch_over(count), forward_kernel<T>, p, count,
                      (const T *)args->in[0].data, (T *)args->out[0].data);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return launch(args->stream, launch_over(gx->count), backward_kernel<T>, p, gx->count,
                      (const T *)args->grad_out[0].data, args->accumulate[0], (T *)gx->data);
    });
}

} // namespace

const quern_kernel quern_cuda_avg_pool2d = {real_plan, forward, backward, NULL};
