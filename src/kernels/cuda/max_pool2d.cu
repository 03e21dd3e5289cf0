/* max_pool2d - y = largest x in each window; gx at the place that gave it (the first of equals).
 * Shapes   x (N, C, H, W), y (N, C, OH, OW). Padding counts as minus infinity; a NaN in a window is
 * its result. Saved: the place of each y in its plane, I32, lying as y does.
 * Cost     1 read of x, 1 write of y and of the places; backward as much.
 * Deterministic: yes, every value has one writer, who adds in the order of the windows. */
#include "pool2d.h"

namespace {

template <int WIDTH, typename T>
__global__ void forward_kernel(pool_shape p, int64_t count, const T *x, T *y, int32_t *places) {
    typedef real<T> R;
    for (int64_t i = launch_index(); i < count / WIDTH; i += launch_stride()) {
        const pool_place at = pool_place_of<WIDTH>(p, i, p.oh, p.ow);
        const pool_span rows = pool_pixels(p, 0, at.row), columns = pool_pixels(p, 1, at.column);
        const T *image = x + pool_offset(p, at, p.h, p.w, 0, 0);
        R most[WIDTH], value[WIDTH];
        int32_t best[WIDTH];
        pool_read(image + (rows.first * p.w + columns.first) * p.channels, most);
        for (int j = 0; j < WIDTH; j++) best[j] = (int32_t)(rows.first * p.w + columns.first);
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) {
                pool_read(image + (r * p.w + c) * p.channels, value);
                for (int j = 0; j < WIDTH; j++) {
                    const bool nan = value[j] != value[j] && most[j] == most[j];
                    if (!(value[j] > most[j] || nan)) continue;
                    most[j] = value[j];
                    best[j] = (int32_t)(r * p.w + c);
                }
            }
        pool_write(y + i * WIDTH, most);
        if (places != NULL) pool_write(places + i * WIDTH, best);
    }
}

template <int WIDTH, typename T>
__global__ void backward_kernel(pool_shape p, int64_t count, const T *gy, const int32_t *places,
                                bool add, T *gx) {
    for (int64_t i = launch_index(); i < count / WIDTH; i += launch_stride()) {
        const pool_place at = pool_place_of<WIDTH>(p, i, p.h, p.w);
        const pool_span rows = pool_windows(p, 0, at.row), columns = pool_windows(p, 1, at.column);
        const int32_t pixel = (int32_t)(at.row * p.w + at.column);
        real<T> sum[WIDTH], g[WIDTH];
        pool_begin(add, gx + i * WIDTH, sum);
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) {
                const int64_t window = pool_offset(p, at, p.oh, p.ow, r, c);
                const pack<WIDTH, int32_t> place = pack_load<WIDTH>(places + window);
                pool_read(gy + window, g);
                for (int j = 0; j < WIDTH; j++) sum[j] += place.at[j] == pixel ? g[j] : 0;
            }
        pool_write(gx + i * WIDTH, sum);
    }
}

quern_status plan(quern_kernel_plan *plan) {
    const quern_view *x = &plan->args->in[0];
    QUERN_TRY(real_check(x->dtype));
    if (x->dim[3] > 0 && x->dim[2] > INT32_MAX / x->dim[3])
        return cuda_fail(QUERN_UNSUPPORTED, "a plane has more than 2147483647 pixels");
    if (!plan->backward) return QUERN_OK;
    return bytes_of(plan->args->out[0].count, sizeof(int32_t), &plan->saved_bytes);
}

quern_status forward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const int64_t count = args->out[0].count;
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const T *x = (const T *)args->in[0].data;
        T *y = (T *)args->out[0].data;
        int32_t *places = (int32_t *)args->saved;
        return pool_dispatch(
            p,
            [&](auto width) {
                constexpr int WIDTH = decltype(width)::value;
                return launch(args->stream, launch_over(count / WIDTH), forward_kernel<WIDTH, T>, p,
                              count, x, y, places);
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
                              backward_kernel<WIDTH, T>, p, view->count, gy,
                              (const int32_t *)args->saved, args->accumulate[0], gx);
            },
            gy, gx);
    });
}

} // namespace

const quern_kernel quern_cuda_max_pool2d = {plan, forward, backward, NULL};
