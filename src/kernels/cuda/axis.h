/* axis.h - a view as (outer, length, inner) around one axis, a row being the `length` elements of
 * one outer and inner position, and which threads work on a row. */
#ifndef QUERN_KERNELS_CUDA_AXIS_H
#define QUERN_KERNELS_CUDA_AXIS_H

#include "group.h"

struct axis_split {
    int64_t outer, length, inner;
};

static inline axis_split axis_split_of(const quern_view *view, int32_t axis) {
    axis_split s = {1, view->rank > 0 ? view->dim[axis] : 1, 1};
    for (int32_t i = 0; i < axis; i++) s.outer *= view->dim[i];
    for (int32_t i = axis + 1; i < view->rank; i++) s.inner *= view->dim[i];
    return s;
}

static inline __device__ int64_t axis_rows(const axis_split &s) { return s.outer * s.inner; }

/* Where a row begins; its elements are s.inner apart. */
static inline __device__ int64_t axis_row_start(const axis_split &s, int64_t row) {
    return row / s.inner * s.length * s.inner + row % s.inner;
}

/* f(group) with the threads that a row gets as a constant: one where neighbouring rows are
 * neighbours in memory, else a warp or a block. */
template <typename F> quern_status axis_dispatch(const axis_split &s, F f) {
    if (s.inner > 1) return f(group_constant<1>());
    if (s.length <= GROUP_SHORT_ROW) return f(group_constant<GROUP_WARP>());
    return f(group_constant<LAUNCH_THREADS>());
}

#endif
