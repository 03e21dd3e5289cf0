/* pair_loss.h - losses that are a sum of value(p, t) over equal shapes.
 *
 * Such a loss's file defines a struct with value(p, t, parameter) and its derivatives slope in p
 * and target_slope in t, each a template over the real type, and parameter(args), the attributes'
 * one number, where there is one; it ends in PAIR_LOSS_KERNEL.
 * Cost: forward reads both once, backward again for each gradient, and writes it.
 * Deterministic: yes, in the order of fold.h. */
#ifndef QUERN_KERNELS_CUDA_PAIR_LOSS_H
#define QUERN_KERNELS_CUDA_PAIR_LOSS_H

#include "fold.h"

struct pair_loss {
    static double parameter(const quern_kernel_args *) { return 0; }
};

template <typename Loss> struct pair_value : map_op {
    double parameter;
    template <typename R> __device__ double operator()(R p, R t) const {
        return (double)Loss::value(p, t, (R)parameter);
    }
};

template <typename Loss, typename T, bool OF_TARGET> struct pair_slope : map_op {
    const T *seed;
    double parameter;
    real<T> g;
    __device__ void load() { g = (real<T>)*seed; }
    template <typename R> __device__ R operator()(int64_t, R p, R t) const {
        return g * (OF_TARGET ? Loss::target_slope(p, t, (R)parameter)
                              : Loss::slope(p, t, (R)parameter));
    }
};

static inline quern_status pair_loss_plan(quern_kernel_plan *plan) {
    plan->forward_scratch_bytes = fold_scratch_bytes(plan->args->in[0].count);
    return real_check(plan->args->in[0].dtype);
}

template <typename Loss> quern_status pair_loss_forward(const quern_kernel_args *args) {
    const quern_view *p = &args->in[0], *t = &args->in[1], *loss = &args->out[0];
    pair_value<Loss> op = {};
    op.parameter = Loss::parameter(args);
    return real_dispatch(p->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return fold_run<FOLD_SUM>(args->stream, fold_all(p->count, 2), op,
                                  fold_into((T *)loss->data, 1, false), args->scratch,
                                  (const T *)p->data, (const T *)t->data);
    });
}

template <typename Loss, typename T, bool OF_TARGET>
quern_status pair_loss_gradient(const quern_kernel_args *args) {
    const quern_view *to = &args->grad_in[OF_TARGET ? 1 : 0];
    if (to->data == NULL) return QUERN_OK;
    pair_slope<Loss, T, OF_TARGET> op = {};
    op.seed = (const T *)args->grad_out[0].data;
    op.parameter = Loss::parameter(args);
    return map(args->stream, to->count, op, args->accumulate[OF_TARGET ? 1 : 0], (T *)to->data,
               (const T *)args->in[0].data, (const T *)args->in[1].data);
}

template <typename Loss> quern_status pair_loss_backward(const quern_kernel_args *args) {
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        QUERN_TRY((pair_loss_gradient<Loss, T, false>(args)));
        return pair_loss_gradient<Loss, T, true>(args);
    });
}

#define PAIR_LOSS_KERNEL(loss)                                                                     \
    { pair_loss_plan, pair_loss_forward<loss>, pair_loss_backward<loss>, NULL }

#endif
