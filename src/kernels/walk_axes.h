/* walk_axes.h - the axes of a walk over several views of one shape, for both backends.
 *
 * They have a shape and operands that broadcast to it (stride 0 along an axis they lack). Closing
 * drops axes of size 1 and merges neighbours that every operand steps through evenly, so that over
 * contiguous views one long axis is left. */
#ifndef QUERN_KERNELS_WALK_AXES_H
#define QUERN_KERNELS_WALK_AXES_H

#include <quern/kernel.h>

#include <string.h>

enum { WALK_OPERANDS = 5 };

typedef struct walk_axes {
    int32_t rank, operand_count; /* rank >= 1 once closed */
    int64_t count, dim[QUERN_RANK_MAX];
    int64_t stride[WALK_OPERANDS][QUERN_RANK_MAX]; /* in elements */
} walk_axes;

static inline walk_axes walk_axes_of(const quern_view *shape) {
    walk_axes w;
    memset(&w, 0, sizeof w);
    w.rank = shape->rank;
    w.count = shape->count;
    for (int32_t i = 0; i < shape->rank; i++) w.dim[i] = shape->dim[i];
    return w;
}

/* Aligned at the last axis, as in NumPy. */
static inline void walk_axes_add(walk_axes *w, const quern_view *operand) {
    const int32_t o = w->operand_count++, missing = w->rank - operand->rank;
    for (int32_t i = missing; i < w->rank; i++)
        w->stride[o][i] = operand->dim[i - missing] == 1 ? 0 : operand->stride[i - missing];
}

static inline void walk_axes_swap(walk_axes *w, int32_t a, int32_t b) {
    const int64_t dim = w->dim[a];
    w->dim[a] = w->dim[b];
    w->dim[b] = dim;
    for (int32_t o = 0; o < w->operand_count; o++) {
        const int64_t stride = w->stride[o][a];
        w->stride[o][a] = w->stride[o][b];
        w->stride[o][b] = stride;
    }
}

/* Axes in the order in which this operand steps through its memory: for walks that may be gone
 * through in any order, before they are closed. Row-major ones stay as they are. */
static inline void walk_axes_sort(walk_axes *w, int32_t operand) {
    const int64_t *stride = w->stride[operand];
    for (int32_t i = 1; i < w->rank; i++)
        for (int32_t k = i; k > 0 && stride[k - 1] < stride[k]; k--) walk_axes_swap(w, k - 1, k);
}

static inline bool walk_axes_mergeable(const walk_axes *w, int32_t outer, int32_t inner) {
    for (int32_t o = 0; o < w->operand_count; o++)
        if (w->stride[o][outer] != w->stride[o][inner] * w->dim[inner]) return false;
    return true;
}

static inline void walk_axes_move(walk_axes *w, int32_t to, int32_t from) {
    w->dim[to] = w->dim[from];
    for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][to] = w->stride[o][from];
}

static inline void walk_axes_close(walk_axes *w) {
    int32_t kept = 0;
    for (int32_t i = 0; i < w->rank; i++) {
        if (w->dim[i] == 1) continue;
        walk_axes_move(w, kept, i);
        if (kept > 0 && walk_axes_mergeable(w, kept - 1, kept)) {
            const int64_t merged = w->dim[kept - 1] * w->dim[kept];
            walk_axes_move(w, kept - 1, kept);
            w->dim[kept - 1] = merged;
        } else {
            kept++;
        }
    }
    if (kept == 0) { /* a single element: any stride will do */
        w->dim[0] = 1;
        for (int32_t o = 0; o < w->operand_count; o++) w->stride[o][0] = 1;
        kept = 1;
    }
    w->rank = kept;
}

/* A contiguous view of other dims on the same data. */
static inline quern_view view_with_dims(const quern_view *view, int32_t rank, const int64_t *dim) {
    quern_view out;
    memset(&out, 0, sizeof out);
    out.data = view->data;
    out.count = 1;
    out.rank = rank;
    out.dtype = view->dtype;
    for (int32_t i = rank; i-- > 0;) {
        out.dim[i] = dim[i];
        out.stride[i] = out.count;
        out.count *= dim[i];
    }
    return out;
}

#endif
