/* global_avg_pool2d - y = mean of x over H and W; gx = gy / (H W).
 * Shapes   x (N, C, H, W), y (N, C).   Cost  1 read of x; backward 1 write of gx.
 * Deterministic: yes, in the order of fold.h. */
#include "reduce_op.h"

namespace {

/* Over x in the order of its memory: y's does not change by it. */
walk images_walk(const quern_view *x, const quern_view *first, const quern_view *second) {
    walk w = walk_axes_of(x);
    walk_axes_add(&w, first);
    walk_axes_add(&w, second);
    walk_axes_sort(&w, first == x ? 0 : 1);
    walk_axes_close(&w);
    return w;
}

/* y, or its gradient, as (N, C, 1, 1). */
quern_view kept(const quern_view *y) {
    const int64_t dim[4] = {y->dim[0], y->dim[1], 1, 1};
    return view_with_dims(y, 4, dim);
}

struct spread_op : map_op {
    int64_t area;
    template <typename R> __device__ R operator()(int64_t, R g) const { return g / (R)area; }
};

quern_status forward(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0], y = kept(&args->out[0]);
    const double area = (double)x->dim[2] * (double)x->dim[3];
    const walk w = images_walk(x, &y, x);
    return real_dispatch(x->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return fold_run<FOLD_SUM>(args->stream, w, fold_self(),
                                  fold_into((T *)y.data, 1 / area, false), args->scratch,
                                  (const T *)x->data);
    });
}

quern_status backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    const quern_view gy = kept(&args->grad_out[0]);
    spread_op op = {};
    op.area = gx->dim[2] * gx->dim[3];
    const walk w = images_walk(gx, gx, &gy);
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return walk_run(args->stream, w, op, args->accumulate[0], (T *)gx->data,
                        (const T *)gy.data);
    });
}

} // namespace

const quern_kernel quern_cuda_global_avg_pool2d = {reduce_plan, forward, backward, NULL};
