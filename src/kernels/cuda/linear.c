/* linear - y = x W^T + b over the last axis.
 * gx = gy W;  gW = gy^T x;  gb = column sums of gy.
 * Shapes   x (..., in), W (out, in), b (out) or absent, y (..., out); below, rows = all of "...".
 * Cost     2 rows in out flops a product; the bias and its gradient ride on products where cuBLASLt
 * has the epilogue, and are a pass over y or gy of their own where not.
 * Deterministic: yes (product.h, rows.h). A bias gradient that has to be added to what is there is
 * never an epilogue's: that can only overwrite. */
#include "linear.h"

#include "rows.h"

typedef struct linear {
    const quern_host *host;
    rows_shape y; /* rows x out */
    bool relu, fused_bias, fused_relu;
    product *forward, *gx, *gw;
    product *gw_and_gb; /* NULL: gb is summed by a kernel */
    size_t sums_bytes;
} linear;

static int64_t row_count(const quern_view *x) {
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < x->rank; i++) rows *= x->dim[i];
    return rows;
}

/* The most that one call may still ride on the product. */
static quern_status plan_forward(linear *l, const quern_kernel_args *args, product_desc *d) {
    const bool bias = args->in[2].rank >= 0;
    d->epilogue = bias && l->relu ? PRODUCT_BIAS_RELU
                  : bias          ? PRODUCT_BIAS
                  : l->relu       ? PRODUCT_RELU
                                  : PRODUCT_PLAIN;
    l->fused_bias = bias;
    l->fused_relu = l->relu;
    QUERN_TRY(product_create(&l->forward, args->stream, d));
    if (l->forward != NULL) return QUERN_OK;
    l->fused_bias = l->fused_relu = false;
    d->epilogue = PRODUCT_PLAIN;
    return product_create(&l->forward, args->stream, d);
}

static quern_status plan_backward(linear *l, const quern_kernel_plan *plan, product_desc d) {
    quern_stream *stream = plan->args->stream;
    const int64_t rows = d.m, out = d.n, in = d.k;
    if (plan->wanted & 1) {
        d.m = rows, d.n = in, d.k = out, d.transpose_b = false;
        QUERN_TRY(product_create(&l->gx, stream, &d));
    }
    d.m = out, d.n = in, d.k = rows, d.transpose_a = true, d.transpose_b = false;
    if (plan->wanted & 2) QUERN_TRY(product_create(&l->gw, stream, &d));
    if ((plan->wanted & 4) == 0) return QUERN_OK;
    d.epilogue = PRODUCT_BIAS_GRADIENT;
    if (plan->wanted & 2) QUERN_TRY(product_create(&l->gw_and_gb, stream, &d));
    l->sums_bytes = rows_sum_scratch(l->y);
    return QUERN_OK;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static quern_status plan_all(linear *l, quern_kernel_plan *plan, const char *op) {
    const quern_kernel_args *args = plan->args;
    const quern_view *x = &args->in[0], *weight = &args->in[1];
    product_desc d = {.op = op, .dtype = x->dtype, .batch = 1, .transpose_b = true};
    d.tf32 = plan->args->tf32;
    d.m = row_count(x), d.n = weight->dim[0], d.k = weight->dim[1];
    l->y = (rows_shape){x->dtype, d.m, d.n};
    QUERN_TRY(plan_forward(l, args, &d));
    plan->forward_scratch_bytes = product_scratch_bytes(l->forward);
    if (!plan->backward) return QUERN_OK;
    d.epilogue = PRODUCT_PLAIN;
    QUERN_TRY(plan_backward(l, plan, d));
    const size_t gw = larger(product_scratch_bytes(l->gw), product_scratch_bytes(l->gw_and_gb));
    plan->backward_scratch_bytes = larger(larger(product_scratch_bytes(l->gx), gw), l->sums_bytes);
    return QUERN_OK;
}

quern_status cuda_linear_plan(quern_kernel_plan *plan, const char *op, bool relu) {
    const quern_host *host = cuda_device_host(cuda_stream_device(plan->args->stream));
    linear *l;
    QUERN_TRY(cuda_services()->allocate(host, &l, 1, sizeof *l, "the plan of a linear layer"));
    l->host = host;
    l->relu = relu;
    const quern_status status = plan_all(l, plan, op);
    if (status == QUERN_OK)
        plan->plan = l;
    else
        cuda_linear_drop(l);
    return status;
}

void cuda_linear_drop(void *plan) {
    linear *l = plan;
    if (l == NULL) return;
    product_destroy(l->gw_and_gb);
    product_destroy(l->gw);
    product_destroy(l->gx);
    product_destroy(l->forward);
    cuda_services()->release(l->host, l, 1, sizeof *l);
}

quern_status cuda_linear_forward(const quern_kernel_args *args) {
    const linear *l = args->plan;
    void *bias = args->in[2].data;
    QUERN_TRY(product_run(l->forward, &(product_run_desc){.a = args->in[0].data,
                                                          .b = args->in[1].data,
                                                          .c = args->out[0].data,
                                                          .bias = l->fused_bias ? bias : NULL,
                                                          .scratch = args->scratch,
                                                          .stream = args->stream}));
    if ((l->fused_bias || bias == NULL) && l->fused_relu == l->relu) return QUERN_OK;
    return rows_finish(args->stream, l->y, args->out[0].data, l->fused_bias ? NULL : bias,
                       l->relu && !l->fused_relu);
}

/* gW, and gb with it when it may be overwritten by an epilogue. */
static quern_status weight_backward(const linear *l, const quern_kernel_args *args, const void *gy,
                                    void *scratch, bool *gb_done) {
    void *gb = args->grad_in[2].data;
    *gb_done = l->gw_and_gb != NULL && gb != NULL && !args->accumulate[2];
    return product_run(*gb_done ? l->gw_and_gb : l->gw,
                       &(product_run_desc){.a = gy,
                                           .b = args->in[0].data,
                                           .c = args->grad_in[1].data,
                                           .bias = *gb_done ? gb : NULL,
                                           .scratch = scratch,
                                           .accumulate = args->accumulate[1],
                                           .stream = args->stream});
}

quern_status cuda_linear_backward(const quern_kernel_args *args, const void *gy, void *scratch) {
    const linear *l = args->plan;
    const quern_view *grad = args->grad_in;
    bool gb_done = false;
    if (grad[0].data != NULL)
        QUERN_TRY(product_run(l->gx, &(product_run_desc){.a = gy,
                                                         .b = args->in[1].data,
                                                         .c = grad[0].data,
                                                         .scratch = scratch,
                                                         .accumulate = args->accumulate[0],
                                                         .stream = args->stream}));
    if (grad[1].data != NULL) QUERN_TRY(weight_backward(l, args, gy, scratch, &gb_done));
    if (grad[2].data == NULL || gb_done) return QUERN_OK;
    return rows_sum(args->stream, l->y, grad[2].data, gy, args->accumulate[2], scratch);
}

static quern_status plan(quern_kernel_plan *plan) {
    return cuda_linear_plan(plan, "linear", false);
}

static quern_status forward(const quern_kernel_args *args) { return cuda_linear_forward(args); }

static quern_status backward(const quern_kernel_args *args) {
    return cuda_linear_backward(args, args->grad_out[0].data, args->scratch);
}

const quern_kernel quern_cuda_linear = {plan, forward, backward, cuda_linear_drop};
