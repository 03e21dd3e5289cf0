/* conv.c - convolution with its weight (K, C / groups, R, S) and bias (K). */
#include "layer.h"

#include "../base/size.h"

#include <inttypes.h>
#include <quern/nn.h>
#include <quern/ops.h>

quern_tensor *quern_conv(quern_graph *graph, quern_tensor *x, const quern_conv_desc *desc) {
    static const quern_conv_desc empty;
    const quern_conv_desc *d = desc ? desc : &empty;
    const int64_t groups = d->conv.groups != 0 ? d->conv.groups : 1;
    layer l;
    char shape[160];
    if (!layer_begin(&l, graph, x, "conv", d->name)) return NULL;
    shape_text(&x->shape, shape, sizeof shape);
    if (d->channels < 1 || d->window[0] < 1 || d->window[1] < 1)
        return layer_fail(&l, QUERN_INVALID,
                          "%" PRId64 " channels of window %d x %d, expected all above 0",
                          d->channels, (int)d->window[0], (int)d->window[1]);
    if (x->shape.rank != 4 || x->shape.dim[1] < 1)
        return layer_fail(&l, QUERN_SHAPE, "x is %s, expected (N, C, H, W)", shape);
    if (groups < 1 || x->shape.dim[1] % groups != 0 || d->channels % groups != 0)
        return layer_fail(&l, QUERN_SHAPE,
                          "%" PRId64 " groups do not divide x %s and %" PRId64 " channels", groups,
                          shape, d->channels);
    const int64_t dim[4] = {d->channels, x->shape.dim[1] / groups, d->window[0], d->window[1]};
    if (!count_multiply(dim[1], dim[2] * dim[3], &l.fan_in)) /* a window is below 2^62 */
        return layer_fail(&l, QUERN_SHAPE, "a window of %d x %d over x %s is too large",
                          (int)d->window[0], (int)d->window[1], shape);
    l.init = d->init;
    quern_tensor *weight = layer_weight(&l, 4, dim);
    quern_tensor *bias = d->no_bias ? NULL : layer_bias(&l, d->channels);
    quern_tensor *y = quern_conv2d(graph, x, weight, bias, &d->conv);
    layer_end(&l);
    return y;
}
