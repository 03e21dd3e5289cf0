/* conv2d - cross-correlation of images.
 *   y[n,k,i,j] = b[k] + sum over c, r, s of w[k,c,r,s] x[n, c, i stride + r dilation - padding,
 * ...] gx = the same sum read backwards;  gw[k,c,r,s] = sum over n, i, j of gy x;  gb[k] = sum of
 * gy Shapes   x (N, C, H, W), w (K, C / groups, R, S), b (K) or absent, y (N, K, OH, OW). Cost 2 N
 * K OH OW (C / groups) R S flops for y, gx and gw each. Deterministic: yes. Images are cut into
 * chunks by shape; a weight's gradient is summed a chunk at a time and the chunks' sums are added
 * in order. Few channels go through conv2d_lanes.c, everything else through conv2d_product.c. */
#ifndef REAL
#include "conv2d.h"
#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "real.h"

#define REAL_FILE "conv2d.c"
#include "each_real.h"

conv_shape conv_shape_of(const quern_kernel_args *args) {
    const quern_conv2d_desc *desc = args->attributes;
    const int64_t *x = args->in[0].dim, *weight = args->in[1].dim, *y = args->out[0].dim;
    conv_shape s = {.dtype = args->in[0].dtype, .n = x[0], .c = x[1], .h = x[2], .w = x[3]};
    s.k = weight[0], s.r = weight[2], s.s = weight[3];
    s.oh = y[2], s.ow = y[3];
    s.groups = desc->groups;
    for (int i = 0; i < 2; i++) {
        s.stride[i] = desc->stride[i];
        s.padding[i] = desc->padding[i];
        s.dilation[i] = desc->dilation[i];
    }
    return s;
}

bool conv_reserve(size_t *bytes, int64_t count, int64_t each, size_t element_bytes) {
    int64_t elements;
    size_t part;
    return count_multiply(count, each, &elements) && count_bytes(elements, element_bytes, &part) &&
           size_align(part, &part) && size_add(*bytes, part, bytes);
}

static quern_status plan(quern_kernel_plan *plan) {
    QUERN_TRY(real_check(plan->args));
    const conv_shape s = conv_shape_of(plan->args);
    return conv_lanes_suits(&s) ? conv_lanes_plan(plan, &s) : conv_product_plan(plan, &s);
}

static quern_status forward(const quern_kernel_args *args) {
    const conv_shape s = conv_shape_of(args);
    if (conv_lanes_suits(&s))
        conv_lanes_forward(args, &s);
    else
        conv_product_forward(args, &s);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const conv_shape s = conv_shape_of(args);
    if (conv_lanes_suits(&s))
        conv_lanes_backward(args, &s);
    else
        conv_product_backward(args, &s);
    if (args->grad_in[2].data != NULL)
        quern_cpu_parallel(args->stream, s.k, REAL_PICK(s.dtype, sum_channel),
                           (void *)(uintptr_t)args);
    return QUERN_OK;
}

const quern_kernel quern_cpu_conv2d = {plan, forward, backward, NULL};

#else

/* gb[k]: eight lanes over a plane, the planes' sums in order. */
static void REAL_NAME(sum_channel)(void *context, int64_t k) {
    const quern_kernel_args *args = context;
    const quern_view *view = &args->grad_out[0];
    const int64_t channels = view->dim[1], pixels = view->dim[2] * view->dim[3];
    REAL *gb = args->grad_in[2].data, total = 0;
    for (int64_t n = 0; n < view->dim[0]; n++) {
        const REAL *plane = (const REAL *)view->data + (n * channels + k) * pixels;
        REAL lane[8] = {0}, sum = 0;
        int64_t i = 0;
        for (; i + 8 <= pixels; i += 8)
            for (int j = 0; j < 8; j++) lane[j] += plane[i + j];
        for (; i < pixels; i++) sum += plane[i];
        for (int j = 0; j < 8; j++) sum += lane[j];
        total += sum;
    }
    gb[k] = args->accumulate[2] ? gb[k] + total : total;
}

#endif
