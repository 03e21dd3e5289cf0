/* binary.h - the launchers of an op on two broadcasting inputs.
 *
 * An op's file defines a struct with value(a, b), gradient_a(g, a, b, y), the term of ga for one
 * gy = g, and gradient_b likewise, each a template over the real type, and ends in BINARY_KERNEL.
 * What an op's row does not list under "reads" must not matter to its gradients: g stands for it.
 * ga and gb are sums of their terms over the axes that were broadcast (fold.h). Where both are g
 * (binary_passes) they may be one buffer, and gy's: then nothing is launched.
 * Cost: 2 reads and 1 write an element, a gradient as many reads as its term has factors.
 * Deterministic: yes; the order of the sums is fixed by the shapes. */
#ifndef QUERN_KERNELS_CUDA_BINARY_H
#define QUERN_KERNELS_CUDA_BINARY_H

#include "fold.h"

template <typename Op> struct binary_value : map_op {
    template <typename R> __device__ R operator()(int64_t, R a, R b) const {
        return Op::value(a, b);
    }
};

template <typename Op, int INPUT> struct binary_gradient : map_op {
    template <typename R> __device__ R operator()(R g, R a, R b, R y) const {
        return INPUT == 0 ? Op::gradient_a(g, a, b, y) : Op::gradient_b(g, a, b, y);
    }
    template <typename R> __device__ R operator()(int64_t, R g, R a, R b, R y) const {
        return (*this)(g, a, b, y);
    }
};

static inline quern_status binary_plan(quern_kernel_plan *plan) {
    const quern_kernel_args *args = plan->args;
    const int64_t count = args->out[0].count;
    QUERN_TRY(real_check(args->in[0].dtype));
    if (plan->backward && (args->in[0].count != count || args->in[1].count != count))
        plan->backward_scratch_bytes = fold_scratch_bytes(count);
    return QUERN_OK;
}

template <typename Op> quern_status binary_forward(const quern_kernel_args *args) {
    const quern_view *y = &args->out[0], *a = &args->in[0], *b = &args->in[1];
    walk w = walk_axes_of(y);
    walk_axes_add(&w, y);
    walk_axes_add(&w, a);
    walk_axes_add(&w, b);
    walk_axes_sort(&w, 0);
    walk_axes_close(&w);
    return real_dispatch(y->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return walk_run(args->stream, w, binary_value<Op>(), false, (T *)y->data,
                        (const T *)a->data, (const T *)b->data);
    });
}

/* Specialised where ga (INPUT 0) or gb is g itself. */
template <typename Op, int INPUT> constexpr bool binary_passes = false;

/* Whether the gradient is one that lies there already; an empty buffer's address is anybody's. */
template <typename Op, int INPUT> bool binary_is_there(const quern_kernel_args *args) {
    const void *to = args->grad_in[INPUT].data;
    if (!binary_passes<Op, INPUT> || args->accumulate[INPUT] ||
        args->grad_in[INPUT].count != args->grad_out[0].count)
        return false;
    return to == args->grad_out[0].data ||
           (INPUT == 1 && binary_passes<Op, 0> && to == args->grad_in[0].data);
}

template <typename Op, int INPUT> quern_status binary_input(const quern_kernel_args *args) {
    const quern_view *target = &args->grad_in[INPUT], *g = &args->grad_out[0];
    if (target->data == NULL || binary_is_there<Op, INPUT>(args)) return QUERN_OK;
    const quern_view *a = args->in[0].data != NULL ? &args->in[0] : g;
    const quern_view *b = args->in[1].data != NULL ? &args->in[1] : g;
    const quern_view *y = args->out[0].data != NULL ? &args->out[0] : g;
    const bool add = args->accumulate[INPUT];
    walk w = walk_axes_of(g);
    const quern_view *const operands[] = {target, g, a, b, y};
    for (const quern_view *operand : operands) walk_axes_add(&w, operand);
    if (target->count == w.count) walk_axes_sort(&w, 0);
    walk_axes_close(&w);
    return real_dispatch(target->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        const binary_gradient<Op, INPUT> op = {};
        if (target->count == w.count)
            return walk_run(args->stream, w, op, add, (T *)target->data, (const T *)g->data,
                            (const T *)a->data, (const T *)b->data, (const T *)y->data);
        return fold_run<FOLD_SUM>(args->stream, w, op, fold_into((T *)target->data, 1, add),
                                  args->scratch, (const T *)g->data, (const T *)a->data,
                                  (const T *)b->data, (const T *)y->data);
    });
}

template <typename Op> quern_status binary_backward(const quern_kernel_args *args) {
    /* Where ga may overwrite gy (add, sub), ga is gy: gb still finds it. */
    QUERN_TRY((binary_input<Op, 0>(args)));
    return binary_input<Op, 1>(args);
}

#define BINARY_KERNEL(op)                                                                          \
    { binary_plan, binary_forward<op>, binary_backward<op>, NULL }

#endif
