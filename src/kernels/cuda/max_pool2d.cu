/* max_pool2d - y = largest x in each window; gx at the place that gave it (the first of equals).
 * Shapes   x (N, C, H, W), y (N, C, OH, OW). Padding counts as minus infinity; a NaN in a window is
 * its result. Saved: the place of each y in its plane, I32.
 * Cost     1 read of x, 1 write of y and of the places; backward as much.
 * Deterministic: yes, every value has one writer, who adds in the order of the windows. */
#include "pool2d.h"

namespace {

template <typename T>
__global__ void forward_kernel(pool_shape p, int64_t count, const T *x, T *y, int32_t *places) {
    typedef real<T> R;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const int64_t plane = at / (p.oh * p.ow);
        const pool_span rows = pool_pixels(p, 0, at / p.ow % p.oh);
        const pool_span columns = pool_pixels(p, 1, at % p.ow);
        const T *from = x + plane * p.h * p.w;
        int64_t best = rows.first * p.w + columns.first;
        R most = (R)from[best];
        for (int64_t r = rows.first; r < rows.stop; r++)
            for (int64_t c = columns.first; c < columns.stop; c++) {
                const R value = (R)from[r * p.w + c];
                if (!(value > most || (value != value && most == most))) continue;
                most = value;
                best = r * p.w + c;
            }
        y[at] = from[best];
        if (places != NULL) places[at] = (int32_t)best;
    }
}

template <typename T>
__global__ void backward_kernel(pool_shape p, int64_t count, const T *gy, const int32_t *places,
                                bool add, T *gx) {
    typedef real<T> R;
    for (int64_t at = launch_index(); at < count; at += launch_stride()) {
        const int64_t plane = at / (p.h * p.w), pixel = at % (p.h * p.w);
        const pool_span rows = pool_windows(p, 0, pixel / p.w);
        const pool_span columns = pool_windows(p, 1, pixel % p.w);
        R sum = add ? (R)gx[at] : (R)0;
        for (int64_t i = rows.first; i < rows.stop; i++)
            for (int64_t j = columns.first; j < columns.stop; j++) {
                const int64_t window = (plane * p.oh + i) * p.ow + j;
                if (places[window] == pixel) sum += (R)gy[window];
            }
        gx[at] = (T)sum;
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
        return launch(args->stream, launch_over(count), forward_kernel<T>, p, count,
                      (const T *)args->in[0].data, (T *)args->out[0].data, (int32_t *)args->saved);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const pool_shape p = pool_shape_of(args);
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return launch(args->stream, launch_over(gx->count), backward_kernel<T>, p, gx->count,
                      (const T *)args->grad_out[0].data, (const int32_t *)args->saved,
                      args->accumulate[0], (T *)gx->data);
    });
}

} // namespace

const quern_kernel quern_cuda_max_pool2d = {plan, forward, backward, NULL};
