/* prelu - y = x > 0 ? x : w x;  gx = gy (x > 0 ? 1 : w), gw = sum of (x > 0 ? 0 : gy x).
 * Shapes   x, y (N, C, ...); w (C) along axis 1, or (1) for all. At x = 0 the slope is w.
 * Source: He et al. 2015, equations 1 and 6. Cost, order of sums: binary.h, with w broadcast. */
#include "binary.h"

#define VALUE(x, w) ((x) > 0 ? (x) : (w) * (x))
#define GRADIENT_A(g, x, w, y) ((x) > 0 ? (g) : (w) * (g))
#define GRADIENT_B(g, x, w, y) ((x) > 0 ? (REAL)0 : (g) * (x))
#define REAL_FILE "binary_rows.h"
#include "each_real.h"

static const binary_op op = BINARY_OP;

/* The weight, or its gradient, as a view that broadcasts: (C, 1, ..., 1), as many 1s as x has axes
 * after its second. */
static quern_view broadcast_weight(const quern_view *weight, const quern_view *x) {
    if (weight->count == 1) return view_with_dims(weight, 0, NULL);
    const int64_t dim[QUERN_RANK_MAX] = {weight->count, 1, 1, 1, 1, 1, 1, 1};
    return view_with_dims(weight, x->rank - 1, dim);
}

static quern_status forward(const quern_kernel_args *args) {
    const quern_view in[2] = {args->in[0], broadcast_weight(&args->in[1], &args->in[0])};
    quern_kernel_args local = *args;
    local.in = in;
    binary_forward(&local, &op);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const quern_view in[2] = {args->in[0], broadcast_weight(&args->in[1], &args->in[0])};
    const quern_view grad_in[2] = {args->grad_in[0],
                                   broadcast_weight(&args->grad_in[1], &args->in[0])};
    quern_kernel_args local = *args;
    local.in = in;
    local.grad_in = grad_in;
    binary_backward(&local, &op);
    return QUERN_OK;
}

const quern_kernel quern_cpu_prelu = {
    .plan = binary_plan, .forward = forward, .backward = backward};
