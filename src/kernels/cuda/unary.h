/* unary.h - the launchers of an op that maps each element by itself.
 *
 * An op's file defines a struct with
 *   attributes                its desc's type, or unary_plain
 *   READS                     what gradient's v is: READS_X, READS_Y, or READS_G for neither
 *   value(x, p)               y for one x
 *   gradient(g, v, p)         gx for one gy = g
 * each a template over the real type, and ends in UNARY_KERNEL.
 * Cost: forward reads 1 and writes 1 value an element, backward reads 2 and writes 1.
 * Deterministic: yes, no reduction. Input and output (gy and gx) may be the same buffer. */
#ifndef QUERN_KERNELS_CUDA_UNARY_H
#define QUERN_KERNELS_CUDA_UNARY_H

#include "function.h"
#include "map.h"

struct unary_plain {};
enum unary_reads { READS_X, READS_Y, READS_G };

template <typename Op> struct unary_value : map_op {
    typename Op::attributes p;
    template <typename R> __device__ R operator()(int64_t, R x) const { return Op::value(x, p); }
};

template <typename Op> struct unary_gradient : map_op {
    typename Op::attributes p;
    template <typename R> __device__ R operator()(int64_t, R g, R v) const {
        return Op::gradient(g, v, p);
    }
};

template <typename Op> void unary_attributes(const quern_kernel_args *args, Op *op) {
    if (args->attributes != NULL) op->p = *(const decltype(op->p) *)args->attributes;
}

template <typename Op> quern_status unary_forward(const quern_kernel_args *args) {
    unary_value<Op> op = {};
    unary_attributes(args, &op);
    return real_dispatch(args->in[0].dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(args->stream, args->out[0].count, op, false, (T *)args->out[0].data,
                   (const T *)args->in[0].data);
    });
}

template <typename Op> quern_status unary_backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0], *gy = &args->grad_out[0];
    const quern_view *read =
        Op::READS == READS_X ? &args->in[0] : (Op::READS == READS_Y ? &args->out[0] : gy);
    if (gx->data == NULL) return QUERN_OK;
    unary_gradient<Op> op = {};
    unary_attributes(args, &op);
    return real_dispatch(gx->dtype, [&](auto zero) {
        typedef decltype(zero) T;
        return map(args->stream, gx->count, op, args->accumulate[0], (T *)gx->data,
                   (const T *)gy->data, (const T *)read->data);
    });
}

#define UNARY_KERNEL(op)                                                                           \
    { real_plan, unary_forward<op>, unary_backward<op>, NULL }

#endif
