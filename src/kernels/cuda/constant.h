/* constant.h - every element of a buffer becomes one number that the host knows. */
#ifndef QUERN_KERNELS_CUDA_CONSTANT_H
#define QUERN_KERNELS_CUDA_CONSTANT_H

#include "map.h"

template <typename R> struct constant_op : map_op {
    R value;
    __device__ R operator()(int64_t) const { return value; }
};

template <typename T>
quern_status constant_fill(quern_stream *stream, T *out, int64_t count, real<T> value) {
    constant_op<real<T>> op = {};
    op.value = value;
    return map(stream, count, op, false, out);
}

#endif
