#include "linear_layer.h"

#include "../../host/base/size.h"
#include "gelu.h"
#include "rows.h"

struct linear_layer {
    const quern_host *host;
    linear_layer_desc desc;
    quern_gelu_desc gelu;
    rows_shape y; /* rows x out */
    bool fused_bias, fused_activation;
    product *forward, *gx, *gw;
    product *gw_and_gb; /* NULL: gb is summed by a kernel */
    size_t backward_scratch_bytes;
};

int64_t linear_layer_rows(const quern_view *x) {
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < x->rank; i++) rows *= x->dim[i];
    return rows;
}

static quern_status try_forward(linear_layer *l, quern_stream *stream, const product_desc *like,
                                product_epilogue epilogue) {
    product_desc d = *like;
    d.epilogue = epilogue;
    return product_create(&l->forward, stream, &d);
}

/* f with the bias, which may be absent. */
static product_epilogue epilogue_of(const linear_layer_desc *d) {
    if (d->activation == LINEAR_RELU && d->keep_before)
        return d->bias ? PRODUCT_BIAS_RELU_AUX : PRODUCT_RELU_AUX;
    if (d->activation == LINEAR_RELU) return d->bias ? PRODUCT_BIAS_RELU : PRODUCT_RELU;
    if (d->activation == LINEAR_PLAIN) return d->bias ? PRODUCT_BIAS : PRODUCT_PLAIN;
    if (d->keep_before) return d->bias ? PRODUCT_BIAS_GELU_AUX : PRODUCT_GELU_AUX;
    return d->bias ? PRODUCT_BIAS_GELU : PRODUCT_GELU;
}

/* The most that one call may still ride on the product. */
static quern_status plan_forward(linear_layer *l, quern_stream *stream, const product_desc *like) {
    const linear_layer_desc *d = &l->desc;
    l->fused_bias = d->bias;
    l->fused_activation = d->activation != LINEAR_PLAIN;
    if (d->activation != LINEAR_GELU || l->gelu.tanh)
        QUERN_TRY(try_forward(l, stream, like, epilogue_of(d)));
    if (l->forward == NULL && d->activation == LINEAR_RELU && d->keep_before) {
        l->desc.keep_before = false; /* y says as much */
        QUERN_TRY(try_forward(l, stream, like, epilogue_of(d)));
    }
    if (l->forward != NULL) return QUERN_OK;
    l->fused_activation = false;
    if (d->bias && d->activation == LINEAR_GELU)
        QUERN_TRY(try_forward(l, stream, like, PRODUCT_BIAS));
    if (l->forward != NULL) return QUERN_OK;
    l->fused_bias = false;
    return try_forward(l, stream, like, PRODUCT_PLAIN);
}

/* Whether the gradient of x, W or b is F32 beside 16 bits. */
static bool is_wide(const linear_layer *l, int which) { return (l->desc.wide >> which & 1) != 0; }

static quern_status plan_backward(linear_layer *l, quern_stream *stream, const product_desc *like) {
    const linear_layer_desc *want = &l->desc;
    product_desc d = *like;
    d.epilogue = PRODUCT_PLAIN;
    d.transpose_b = false;
    if (want->gx) {
        d.m = want->rows, d.n = want->in, d.k = want->out, d.wide = is_wide(l, 0);
        QUERN_TRY(product_create(&l->gx, stream, &d));
    }
    d.m = want->out, d.n = want->in, d.k = want->rows, d.transpose_a = true, d.wide = is_wide(l, 1);
    if (want->gw) QUERN_TRY(product_create(&l->gw, stream, &d));
    d.epilogue = PRODUCT_BIAS_GRADIENT;
    if (want->gw && want->gb && is_wide(l, 1) == is_wide(l, 2))
        QUERN_TRY(product_create(&l->gw_and_gb, stream, &d));
    const size_t gw =
        size_larger(product_scratch_bytes(l->gw), product_scratch_bytes(l->gw_and_gb));
    const size_t sums = want->gb ? rows_sum_scratch(l->y) : 0;
    l->backward_scratch_bytes = size_larger(size_larger(product_scratch_bytes(l->gx), gw), sums);
    return QUERN_OK;
}

static quern_status plan_all(linear_layer *l, quern_stream *stream) {
    const linear_layer_desc *d = &l->desc;
    const product_desc like = {.op = d->op,
                               .dtype = d->dtype,
                               .tf32 = d->tf32,
                               .transpose_b = true,
                               .m = d->rows,
                               .n = d->out,
                               .k = d->in,
                               .batch = 1,
                               .alignment = d->alignment,
                               .bytes_only = d->bytes_only};
    l->y = (rows_shape){d->dtype, d->rows, d->out};
    QUERN_TRY(plan_forward(l, stream, &like));
    return plan_backward(l, stream, &like);
}

quern_status linear_layer_create(linear_layer **out, quern_stream *stream,
                                 const linear_layer_desc *desc) {
    const quern_host *host = cuda_device_host(cuda_stream_device(stream));
    linear_layer *l;
    *out = NULL;
    QUERN_TRY(cuda_services()->allocate(host, &l, 1, sizeof *l, "the plan of a linear layer"));
    l->host = host;
    l->desc = *desc;
    if (desc->gelu != NULL) l->gelu = *desc->gelu;
    l->desc.gelu = NULL; /* the caller's */
    const quern_status status = plan_all(l, stream);
    if (status == QUERN_OK)
        *out = l;
    else
        linear_layer_destroy(l);
    return status;
}

void linear_layer_destroy(linear_layer *l) {
    if (l == NULL) return;
    product_destroy(l->gw_and_gb);
    product_destroy(l->gw);
    product_destroy(l->gx);
    product_destroy(l->forward);
    cuda_services()->release(l->host, l, 1, sizeof *l);
}

size_t linear_layer_forward_scratch(const linear_layer *l) {
    return product_scratch_bytes(l->forward);
}

size_t linear_layer_backward_scratch(const linear_layer *l) { return l->backward_scratch_bytes; }

size_t linear_layer_before_bytes(const linear_layer *l) {
    if (!l->desc.keep_before) return 0;
    if (l->fused_activation) return product_aux_bytes(l->forward);
    return (size_t)(l->y.rows * l->y.columns) * cuda_dtype_bytes(l->y.dtype);
}

/* What the product did not take along. */
static quern_status finish(const linear_layer *l, const linear_layer_data *d, void *u) {
    const bool relu = l->desc.activation == LINEAR_RELU;
    void *bias = l->fused_bias ? NULL : d->bias;
    if (bias != NULL || relu) QUERN_TRY(rows_finish(d->stream, l->y, u, bias, relu));
    if (l->desc.activation != LINEAR_GELU) return QUERN_OK;
    return gelu_values(d->stream, l->y.dtype, l->y.rows * l->y.columns, &l->gelu, u, d->y);
}

quern_status linear_layer_forward(const linear_layer *l, const linear_layer_data *d) {
    const bool apart = !l->fused_activation && l->desc.activation == LINEAR_GELU;
    void *u = apart && d->before != NULL ? d->before : d->y;
    QUERN_TRY(product_run(l->forward, &(product_run_desc){.a = d->x,
                                                          .b = d->weight,
                                                          .c = u,
                                                          .bias = l->fused_bias ? d->bias : NULL,
                                                          .aux = d->before,
                                                          .scratch = d->scratch,
                                                          .stream = d->stream}));
    if (l->fused_bias == l->desc.bias &&
        l->fused_activation == (l->desc.activation != LINEAR_PLAIN))
        return QUERN_OK;
    return finish(l, d, u);
}

/* gW, and gb with it when it may be overwritten by an epilogue. */
static quern_status weight_backward(const linear_layer *l, const linear_layer_data *d,
                                    const void *gu, const linear_gradients *wanted, bool *gb_done) {
    *gb_done = l->gw_and_gb != NULL && wanted->gb != NULL && !wanted->add_bias;
    return product_run(*gb_done ? l->gw_and_gb : l->gw,
                       &(product_run_desc){.a = gu,
                                           .b = d->x,
                                           .c = wanted->gw,
                                           .bias = *gb_done ? wanted->gb : NULL,
                                           .scratch = d->scratch,
                                           .accumulate = wanted->add_weight,
                                           .stream = d->stream});
}

quern_status linear_layer_backward(const linear_layer *l, const linear_layer_data *d,
                                   const void *gu, const linear_gradients *wanted) {
    bool gb_done = false;
    if (wanted->gx != NULL)
        QUERN_TRY(product_run(l->gx, &(product_run_desc){.a = gu,
                                                         .b = d->weight,
                                                         .c = wanted->gx,
                                                         .scratch = d->scratch,
                                                         .accumulate = wanted->add_x,
                                                         .stream = d->stream}));
    if (wanted->gw != NULL) QUERN_TRY(weight_backward(l, d, gu, wanted, &gb_done));
    if (wanted->gb == NULL || gb_done) return QUERN_OK;
    return rows_sum(d->stream, l->y, wanted->gb, is_wide(l, 2), gu, wanted->add_bias, d->scratch);
}

linear_gradients linear_gradients_of(const quern_kernel_args *args, int32_t first) {
    const quern_view *grad = &args->grad_in[first];
    const bool *add = &args->accumulate[first];
    return (linear_gradients){grad[0].data, grad[1].data, grad[2].data, add[0], add[1], add[2]};
}
