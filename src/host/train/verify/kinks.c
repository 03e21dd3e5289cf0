#include "kinks.h"

#include "../../../kernels/kernel.h"
#include <quern/op_desc.h>

static int64_t signs_count(int64_t count, const double *a, const double *b) {
    int64_t flips = 0;
    for (int64_t i = 0; i < count; i++) flips += (a[i] > 0) != (b[i] > 0);
    return flips;
}

typedef struct image {
    int64_t height, width;
    const quern_max_pool2d_desc *pool;
} image;

/* The first largest element of the window whose corner is at (row, column); -1: all is padding. */
static int64_t window_largest(const image *m, const double *x, int64_t row, int64_t column) {
    int64_t best = -1;
    for (int64_t r = row; r < row + m->pool->window[0]; r++)
        for (int64_t c = column; c < column + m->pool->window[1]; c++) {
            if (r < 0 || c < 0 || r >= m->height || c >= m->width) continue;
            const int64_t at = r * m->width + c;
            if (best < 0 || x[at] > x[best]) best = at;
        }
    return best;
}

static int64_t windows_count(const image *m, const double *a, const double *b) {
    const quern_max_pool2d_desc *d = m->pool;
    int64_t flips = 0;
    for (int64_t r = -d->padding[0]; r + d->window[0] <= m->height + d->padding[0];
         r += d->stride[0])
        for (int64_t c = -d->padding[1]; c + d->window[1] <= m->width + d->padding[1];
             c += d->stride[1])
            flips += window_largest(m, a, r, c) != window_largest(m, b, r, c);
    return flips;
}

static int64_t pool_count(const graph_node *node, const quern_view *view, const double *a,
                          const double *b) {
    const image m = {view->dim[2], view->dim[3], node->attributes};
    const int64_t size = m.height * m.width;
    int64_t flips = 0;
    for (int64_t at = 0; at < view->count; at += size) flips += windows_count(&m, a + at, b + at);
    return flips;
}

int64_t kinks_count(const quern_tensor *tensor, int64_t batch_size, const double *a,
                    const double *b) {
    quern_view view;
    int64_t flips = 0;
    if (shape_view(&tensor->shape, batch_size, &view) != QUERN_OK || view.count == 0) return 0;
    for (const graph_node *n = tensor->graph->nodes; n; n = n->next) {
        if (n->input_count == 0 || n->in[0] != tensor) continue;
        if (n->builtin == QUERN_OP_ID_relu || n->builtin == QUERN_OP_ID_leaky_relu ||
            n->builtin == QUERN_OP_ID_prelu)
            flips += signs_count(view.count, a, b);
        if (n->builtin == QUERN_OP_ID_max_pool2d) flips += pool_count(n, &view, a, b);
    }
    return flips;
}
