/* conv2d - cross-correlation of images.
 *   y[n,k,i,j] = b[k] + sum over c, r, s of
 *                w[k,c,r,s] x[n, c, i stride + r dilation - padding, ...]
 *   gx = the same sum read backwards;  gw[k,c,r,s] = sum over n, i, j of gy x;  gb[k] = sum of gy
 * Shapes   x (N, C, H, W), w (K, C / groups, R, S), b (K) or absent, y (N, K, OH, OW).
 * Cost     2 N K OH OW (C / groups) R S flops for y, gx and gw each; the bias a pass over y, its
 * gradient one over gy.
 * Each pass is a cuDNN graph over the images as they lie, row-major or channels last: its strides
 * say so. The weight is row-major either way: an engine that wants channels innermost turns it in
 * its own scratch, and the images too where these are row-major. A gradient that is
 * added to what is there is a graph of its own, with beta = 1. Where the library has no engine that
 * keeps our promises (cudnn_plan.h), or a pointer is not on 16 bytes, or there is no library,
 * conv2d_direct.h computes it.
 * Deterministic: yes where it is asked for: only such engines are taken. */
#include "../../host/base/size.h"
#include "library/algorithm_record.h"
#include "conv2d_direct.h"
#include "library/cudnn_plan.h"
#include "device/device.h"
#include "../layout.h"

#include <stdio.h>

enum { ID_X = 1, ID_WEIGHT, ID_Y, ID_BIAS, ID_BEFORE_BIAS = -1 };

typedef struct conv2d {
    cuda_libraries *libraries;
    conv2d_shape shape;
    bool tf32;
    quern_stream *tune_on; /* while it is planned, where that is for more than its bytes */
    bool bytes_only;
    cudnn_plan *with_bias;                /* forward, the bias in the same graph; NULL: apart */
    cudnn_plan *passes[CONV2D_PASSES][2]; /* overwriting, adding; NULL: directly */
} conv2d;

static conv2d_shape shape_of(const quern_kernel_args *args) {
    const quern_conv2d_desc *desc = args->attributes;
    const int64_t *x = args->in[0].dim, *weight = args->in[1].dim, *y = args->out[0].dim;
    conv2d_shape s = {.dtype = args->in[0].dtype, .n = x[0], .c = x[1], .h = x[2], .w = x[3]};
    s.k = weight[0], s.r = weight[2], s.s = weight[3];
    s.oh = y[2], s.ow = y[3];
    s.groups = desc->groups;
    s.last = layout_is_channels_last(&args->in[0]) && layout_is_channels_last(&args->out[0]);
    for (int i = 0; i < 2; i++) {
        s.stride[i] = desc->stride[i];
        s.padding[i] = desc->padding[i];
        s.dilation[i] = desc->dilation[i];
    }
    return s;
}

static bool type_of(quern_dtype dtype, cudnnDataType_t *stored) {
    switch (dtype) {
    case QUERN_F32: *stored = CUDNN_DATA_FLOAT; return true;
    case QUERN_F64: *stored = CUDNN_DATA_DOUBLE; return true;
    case QUERN_BF16: *stored = CUDNN_DATA_BFLOAT16; return true;
    case QUERN_F16: *stored = CUDNN_DATA_HALF; return true;
    default: return false;
    }
}

static cudnnDataType_t compute_type(quern_dtype dtype) {
    return dtype == QUERN_F64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT;
}

/* Four axes, row-major or with the second innermost. */
static cudnn_node tensor(cudnn_graph *g, int64_t id, cudnnDataType_t type, bool last, int64_t a,
                         int64_t b, int64_t c, int64_t d) {
    cudnn_tensor_desc desc = {
        .id = id, .type = type, .rank = 4, .dim = {a, b, c, d}, .alignment = 16};
    const int64_t stride[2][4] = {{b * c * d, c * d, d, 1}, {b * c * d, 1, d * b, b}};
    for (int i = 0; i < 4; i++) desc.stride[i] = stride[last][i];
    return cudnn_tensor(g, &desc);
}

/* The graph of a pass; y goes to `y_id`, in `y_type`. */
static void build_pass(cudnn_graph *g, const conv2d_shape *s, conv2d_pass pass, bool accumulate,
                       int64_t y_id, cudnnDataType_t type, cudnnDataType_t y_type) {
    static const cudnn_convolution_kind kinds[] = {
        [CONV2D_FORWARD] = CUDNN_CONVOLUTION_FORWARD,
        [CONV2D_DATA] = CUDNN_CONVOLUTION_DATA,
        [CONV2D_FILTER] = CUDNN_CONVOLUTION_FILTER,
    };
    cudnn_convolution_desc window = {.compute = compute_type(s->dtype), .accumulate = accumulate};
    for (int i = 0; i < 2; i++) {
        window.stride[i] = s->stride[i];
        window.padding[i] = s->padding[i];
        window.dilation[i] = s->dilation[i];
    }
    const cudnn_node x = tensor(g, ID_X, type, s->last, s->n, s->c, s->h, s->w);
    const cudnn_node weight = tensor(g, ID_WEIGHT, type, false, s->k, s->c / s->groups, s->r, s->s);
    const cudnn_node y = tensor(g, y_id, y_type, s->last, s->n, s->k, s->oh, s->ow);
    cudnn_convolution(g, kinds[pass], &window, x, weight, y);
    if (y_id == ID_Y) return;
    const cudnn_node bias = tensor(g, ID_BIAS, type, s->last, 1, s->k, 1, 1);
    const cudnn_node sum = tensor(g, ID_Y, type, s->last, s->n, s->k, s->oh, s->ow);
    cudnn_pointwise(g, CUDNN_POINTWISE_ADD, window.compute, y, bias, sum);
}

static cudnn_plan_desc limits_of(const conv2d *c, bool deterministic) {
    const bool full = c->shape.dtype == QUERN_F64 || (c->shape.dtype == QUERN_F32 && !c->tf32);
    return (cudnn_plan_desc){.deterministic = deterministic,
                             .no_tensor_cores = full,
                             .bytes_only = c->bytes_only,
                             .tune_on = c->tune_on};
}

/* The first such convolution is named for all. */
static void tell_no_engine(cuda_libraries *l, const cudnn_graph *g) {
    char why[CUDNN_GRAPH_KEY_BYTES + 64];
    snprintf(why, sizeof why, "it has no engine that may be used for %s", g->key);
    libraries_tell_direct(l, why);
}

static quern_status plan_pass(conv2d *c, conv2d_pass pass, bool accumulate, bool deterministic) {
    cudnnDataType_t type;
    cudnn_graph g;
    const cudnn_plan_desc limits = limits_of(c, deterministic);
    if (!type_of(c->shape.dtype, &type)) return QUERN_OK;
    cudnn_graph_begin(&g, c->libraries, "conv2d");
    build_pass(&g, &c->shape, pass, accumulate, ID_Y, type, type);
    const quern_status status = cudnn_plan_create(&c->passes[pass][accumulate], &g, &limits);
    if (status == QUERN_OK && c->passes[pass][accumulate] == NULL) tell_no_engine(c->libraries, &g);
    cudnn_graph_end(&g);
    return status;
}

/* Only where it is one of the library's first choices: its fall-back is slower than a pass more. */
static quern_status plan_with_bias(conv2d *c, bool deterministic) {
    cudnnDataType_t type;
    cudnn_graph g;
    cudnn_plan_desc limits = limits_of(c, deterministic);
    limits.no_fall_back = true;
    if (!type_of(c->shape.dtype, &type)) return QUERN_OK;
    cudnn_graph_begin(&g, c->libraries, "conv2d");
    build_pass(&g, &c->shape, CONV2D_FORWARD, false, ID_BEFORE_BIAS, type,
               compute_type(c->shape.dtype));
    const quern_status status = cudnn_plan_create(&c->with_bias, &g, &limits);
    cudnn_graph_end(&g);
    return status;
}

static bool is_empty(const conv2d_shape *s) {
    return s->n == 0 || s->oh == 0 || s->ow == 0 || s->h == 0 || s->w == 0;
}

/* One line stands for all convolutions: none has a choice. */
static quern_status record_absence(cuda_libraries *l) {
    char key[192];
    snprintf(key, sizeof key, "cudnn none; %s; conv2d", l->device);
    return algorithm_record_keep(l->record, key, RECORD_NONE);
}

static quern_status plan_passes(conv2d *c, const quern_kernel_plan *plan) {
    const quern_kernel_args *args = plan->args;
    bool there;
    QUERN_TRY(libraries_find_dnn(c->libraries, &there));
    if (!there) return record_absence(c->libraries);
    if (args->in[2].rank >= 0) QUERN_TRY(plan_with_bias(c, args->deterministic));
    if (c->with_bias == NULL) QUERN_TRY(plan_pass(c, CONV2D_FORWARD, false, args->deterministic));
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        if (plan->wanted & 1)
            QUERN_TRY(plan_pass(c, CONV2D_DATA, accumulate != 0, args->deterministic));
        if (plan->wanted & 2)
            QUERN_TRY(plan_pass(c, CONV2D_FILTER, accumulate != 0, args->deterministic));
    }
    return QUERN_OK;
}

static void drop(void *plan) {
    conv2d *c = plan;
    if (c == NULL) return;
    for (int i = 0; i < CONV2D_PASSES; i++)
        for (int k = 0; k < 2; k++) cudnn_plan_destroy(c->passes[i][k]);
    cudnn_plan_destroy(c->with_bias);
    cuda_services()->release(c->libraries->host, c, 1, sizeof *c);
}

static void declare_scratch(const conv2d *c, quern_kernel_plan *plan) {
    plan->forward_scratch_bytes =
        size_larger(cudnn_plan_scratch_bytes(c->with_bias),
                    cudnn_plan_scratch_bytes(c->passes[CONV2D_FORWARD][0]));
    if (!plan->backward) return;
    plan->backward_scratch_bytes = conv2d_sum_scratch(&c->shape);
    for (int i = CONV2D_DATA; i < CONV2D_PASSES; i++)
        for (int k = 0; k < 2; k++)
            plan->backward_scratch_bytes = size_larger(plan->backward_scratch_bytes,
                                                       cudnn_plan_scratch_bytes(c->passes[i][k]));
}

static quern_status plan(quern_kernel_plan *plan) {
    backend_device *device = cuda_stream_device(plan->args->stream);
    cuda_libraries *l;
    conv2d *c;
    QUERN_TRY(libraries_of(&l, plan->args->stream));
    QUERN_TRY(cuda_services()->allocate(l->host, &c, 1, sizeof *c, "the plan of a convolution"));
    *c = (conv2d){.libraries = l, .shape = shape_of(plan->args)};
    c->tf32 = plan->args->tf32 || l->allow_tf32;
    c->bytes_only = plan->bytes_only;
    c->tune_on = plan->bytes_only ? NULL : plan->args->stream;
    int previous;
    quern_status status = device_enter(device, &previous);
    if (status == QUERN_OK && !is_empty(&c->shape)) status = plan_passes(c, plan);
    device_leave(device, previous);
    if (status != QUERN_OK) {
        drop(c);
        return status;
    }
    declare_scratch(c, plan);
    plan->plan = c;
    return QUERN_OK;
}

static bool is_aligned(conv2d_data d, const void *bias) {
    return (((uintptr_t)d.x | (uintptr_t)d.weight | (uintptr_t)d.y | (uintptr_t)bias) & 15) == 0;
}

static quern_status run_plan(const quern_kernel_args *args, cudnn_plan *p, conv2d_data d,
                             void *bias) {
    return cudnn_plan_run(p, &(cudnn_plan_run_desc){.count = bias == NULL ? 3 : 4,
                                                    .ids = {ID_X, ID_WEIGHT, ID_Y, ID_BIAS},
                                                    .pointers = {d.x, d.weight, d.y, bias},
                                                    .scratch = args->scratch,
                                                    .stream = args->stream});
}

static quern_status run_pass(const quern_kernel_args *args, conv2d_pass pass, conv2d_data d,
                             bool accumulate) {
    const conv2d *c = args->plan;
    cudnn_plan *p = c->passes[pass][accumulate];
    if (p != NULL && is_aligned(d, NULL)) return run_plan(args, p, d, NULL);
    return conv2d_direct(args->stream, &c->shape, pass, d, accumulate);
}

static quern_status forward(const quern_kernel_args *args) {
    const conv2d *c = args->plan;
    void *bias = args->in[2].data;
    const conv2d_data d = {args->in[0].data, args->in[1].data, args->out[0].data};
    if (c->with_bias != NULL && is_aligned(d, bias)) return run_plan(args, c->with_bias, d, bias);
    QUERN_TRY(run_pass(args, CONV2D_FORWARD, d, false));
    return bias == NULL ? QUERN_OK : conv2d_add_bias(args->stream, &c->shape, d.y, bias);
}

static quern_status backward(const quern_kernel_args *args) {
    const conv2d *c = args->plan;
    const quern_view *grad = args->grad_in;
    void *gy = args->grad_out[0].data;
    if (grad[0].data != NULL)
        QUERN_TRY(run_pass(args, CONV2D_DATA, (conv2d_data){grad[0].data, args->in[1].data, gy},
                           args->accumulate[0]));
    if (grad[1].data != NULL)
        QUERN_TRY(run_pass(args, CONV2D_FILTER, (conv2d_data){args->in[0].data, grad[1].data, gy},
                           args->accumulate[1]));
    if (grad[2].data == NULL) return QUERN_OK;
    return conv2d_sum_bias(args->stream, &c->shape, grad[2].data, gy, args->accumulate[2],
                           args->scratch);
}

const quern_kernel quern_cuda_conv2d = {plan, forward, backward, drop};
