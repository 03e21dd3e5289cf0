/* copy.h - elements moved as they are, whatever their type: as words of their size. */
#ifndef QUERN_KERNELS_CUDA_COPY_H
#define QUERN_KERNELS_CUDA_COPY_H

#include "walk.h"

struct copy_op : map_op {
    template <typename R> __device__ R operator()(int64_t, R value) const { return value; }
};

/* f(W()) for the unsigned integer of a dtype's size. */
template <typename F> quern_status copy_dispatch(quern_dtype dtype, F f) {
    switch (dtype_bytes(dtype)) {
    case 1: return f(uint8_t());
    case 2: return f(uint16_t());
    case 4: return f(uint32_t());
    default: return f(uint64_t());
    }
}

/* to = from, views of one shape and dtype, or to += from in a real type. */
static inline quern_status copy_view(quern_stream *stream, const quern_view *to,
                                     const quern_view *from, bool add) {
    walk w = walk_axes_of(to);
    walk_axes_add(&w, to);
    walk_axes_add(&w, from);
    walk_axes_close(&w);
    const auto run = [&](auto zero) {
        typedef decltype(zero) T;
        return walk_run(stream, w, copy_op(), add, (T *)to->data, (const T *)from->data);
    };
    return add ? real_dispatch(to->dtype, run) : copy_dispatch(to->dtype, run);
}

/* A plan for ops that copy any dtype forward and add real gradients. */
static inline quern_status copy_plan(quern_kernel_plan *plan) {
    return plan->backward ? real_check(plan->args->in[0].dtype) : QUERN_OK;
}

#endif
