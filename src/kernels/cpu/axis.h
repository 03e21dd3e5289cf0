/* axis.h - a view as (outer, length, inner) around one axis. */
#ifndef QUERN_KERNELS_CPU_AXIS_H
#define QUERN_KERNELS_CPU_AXIS_H

#include "../kernel.h"

typedef struct axis_split {
    int64_t outer, length, inner;
} axis_split;

static inline axis_split axis_split_of(const quern_view *view, int32_t axis) {
    axis_split s = {1, view->rank > 0 ? view->dim[axis] : 1, 1};
    for (int32_t i = 0; i < axis; i++) s.outer *= view->dim[i];
    for (int32_t i = axis + 1; i < view->rank; i++) s.inner *= view->dim[i];
    return s;
}

#endif
