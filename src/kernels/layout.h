/* layout.h - how images (N, C, H, W) lie in memory: row-major, or with their channels innermost, as
 * (N, H, W, C) would. The dimensions of a view say nothing of it, its strides do. Where one element
 * is all that two neighbours in an order could be, both layouts are the same memory. */
#ifndef QUERN_KERNELS_LAYOUT_H
#define QUERN_KERNELS_LAYOUT_H

#include <quern/kernel.h>

static inline void layout_channels_last(quern_view *image) {
    const int64_t *dim = image->dim;
    image->stride[0] = dim[2] * dim[3] * dim[1];
    image->stride[1] = 1;
    image->stride[2] = dim[3] * dim[1];
    image->stride[3] = dim[1];
}

static inline bool layout_is_channels_last(const quern_view *view) {
    quern_view image = *view;
    if (view->rank != 4) return false;
    layout_channels_last(&image);
    for (int32_t i = 0; i < 4; i++)
        if (view->stride[i] != image.stride[i]) return false;
    return true;
}

#endif
