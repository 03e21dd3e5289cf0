/* prelu - y = x > 0 ? x : w x;  gx = gy (x > 0 ? 1 : w), gw = sum of (x > 0 ? 0 : gy x).
 * Shapes   x, y (N, C, ...); w (C) along axis 1, or (1) for all. At x = 0 the slope is w.
 * Source: He et al. 2015, equations 1 and 6. Cost, order of sums: binary.h, with w broadcast. */
#include "binary.h"

namespace {

struct op {
    template <typename R> static __device__ R value(R x, R w) { return x > 0 ? x : w * x; }
    template <typename R> static __device__ R gradient_a(R g, R x, R w, R) {
        return x > 0 ? g : w * g;
    }
    template <typename R> static __device__ R gradient_b(R g, R x, R, R) {
        return x > 0 ? (R)0 : g * x;
    }
};

/* The weight, or its gradient, as a view that broadcasts: (C, 1, ..., 1), as many 1s as x has axes
 * after its second. */
quern_view broadcast_weight(const quern_view *weight, const quern_view *x) {
    if (weight->count == 1) return view_with_dims(weight, 0, NULL);
    const int64_t dim[QUERN_RANK_MAX] = {weight->count, 1, 1, 1, 1, 1, 1, 1};
    return view_with_dims(weight, x->rank - 1, dim);
}

quern_status forward(const quern_kernel_args *args) {
    const quern_view in[2] = {args->in[0], broadcast_weight(&args->in[1], &args->in[0])};
    quern_kernel_args local = *args;
    local.in = in;
    return binary_forward<op>(&local);
}

quern_status backward(const quern_kernel_args *args) {
    const quern_view in[2] = {args->in[0], broadcast_weight(&args->in[1], &args->in[0])};
    const quern_view grad_in[2] = {args->grad_in[0],
                                   broadcast_weight(&args->grad_in[1], &args->in[0])};
    quern_kernel_args local = *args;
    local.in = in;
    local.grad_in = grad_in;
    return binary_backward<op>(&local);
}

} // namespace

const quern_kernel quern_cuda_prelu = {binary_plan, forward, backward, NULL};
