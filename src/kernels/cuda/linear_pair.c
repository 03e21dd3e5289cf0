#include "linear_pair.h"

#include "../../host/base/size.h"
#include "gelu.h"
#include "rows.h"

enum { X, WEIGHT, BIAS, NEXT_WEIGHT, NEXT_BIAS };

typedef struct linear_pair {
    const quern_host *host;
    linear_activation activation;
    rows_shape hidden;
    size_t hidden_bytes; /* to a multiple of 64 */
    linear_layer *first, *next;
    product *slope;        /* gu, f' along; NULL: next's gx, then a kernel */
    product *slope_and_gb; /* gb too, of gu's type; NULL: gb comes with gW */
} linear_pair;

static linear_layer_desc first_desc(const quern_kernel_plan *plan, const char *op,
                                    linear_activation activation) {
    const quern_kernel_args *args = plan->args;
    const uint32_t wanted = plan->backward ? plan->wanted : 0;
    return (linear_layer_desc){.op = op,
                               .dtype = args->in[X].dtype,
                               .tf32 = args->tf32,
                               .rows = linear_layer_rows(&args->in[X]),
                               .in = args->in[WEIGHT].dim[1],
                               .out = args->in[WEIGHT].dim[0],
                               .bias = args->in[BIAS].rank >= 0,
                               .activation = activation,
                               .gelu = activation == LINEAR_GELU ? args->attributes : NULL,
                               .keep_before = plan->backward,
                               .gx = (wanted & 1u << X) != 0,
                               .gw = (wanted & 1u << WEIGHT) != 0,
                               .gb = (wanted & 1u << BIAS) != 0,
                               .wide = plan->wide & 7,
                               .alignment = plan->alignment,
                               .bytes_only = plan->bytes_only};
}

static linear_layer_desc next_desc(const quern_kernel_plan *plan, const linear_layer_desc *first,
                                   bool gx) {
    const quern_kernel_args *args = plan->args;
    const uint32_t wanted = plan->backward ? plan->wanted : 0;
    return (linear_layer_desc){.op = first->op,
                               .dtype = first->dtype,
                               .tf32 = first->tf32,
                               .rows = first->rows,
                               .in = first->out,
                               .out = args->in[NEXT_WEIGHT].dim[0],
                               .bias = args->in[NEXT_BIAS].rank >= 0,
                               .gx = gx,
                               .gw = (wanted & 1u << NEXT_WEIGHT) != 0,
                               .gb = (wanted & 1u << NEXT_BIAS) != 0,
                               .wide = plan->wide >> NEXT_WEIGHT << 1,
                               .alignment = plan->alignment,
                               .bytes_only = plan->bytes_only};
}

/* The product gy W2 with f' along, if the library has it and forward leaves what it reads. */
static quern_status plan_slope(linear_pair *p, const quern_kernel_plan *plan,
                               const linear_layer_desc *first) {
    const bool gelu = p->activation == LINEAR_GELU;
    quern_stream *stream = plan->args->stream;
    product_desc d = {.op = first->op, .dtype = first->dtype, .tf32 = first->tf32, .batch = 1};
    d.alignment = first->alignment, d.bytes_only = first->bytes_only;
    d.m = first->rows, d.n = first->out, d.k = plan->args->in[NEXT_WEIGHT].dim[0];
    if (linear_layer_before_bytes(p->first) == 0 || (gelu && !first->gelu->tanh)) return QUERN_OK;
    d.epilogue = gelu ? PRODUCT_DGELU : PRODUCT_DRELU;
    QUERN_TRY(product_create(&p->slope, stream, &d));
    if (p->slope == NULL || !first->gb || (first->wide & 1u << BIAS) != 0) return QUERN_OK;
    d.epilogue = gelu ? PRODUCT_DGELU_BIAS_GRADIENT : PRODUCT_DRELU_BIAS_GRADIENT;
    return product_create(&p->slope_and_gb, stream, &d);
}

static quern_status plan_products(linear_pair *p, const quern_kernel_plan *plan, const char *op) {
    linear_layer_desc first = first_desc(plan, op, p->activation);
    const bool through = first.gx || first.gw || first.gb;
    if (p->activation == LINEAR_RELU) first.keep_before = through;
    p->hidden = (rows_shape){first.dtype, first.rows, first.out};
    QUERN_TRY(linear_layer_create(&p->first, plan->args->stream, &first));
    if (through) QUERN_TRY(plan_slope(p, plan, &first));
    const linear_layer_desc next = next_desc(plan, &first, through && p->slope == NULL);
    return linear_layer_create(&p->next, plan->args->stream, &next);
}

/* Saved, or without a backward pass in scratch: h, then what is before f. */
static bool declare_memory(linear_pair *p, quern_kernel_plan *plan) {
    int64_t count = 0;
    size_t between = 0, forward = size_larger(linear_layer_forward_scratch(p->first),
                                              linear_layer_forward_scratch(p->next));
    if (!count_multiply(p->hidden.rows, p->hidden.columns, &count) ||
        !count_bytes(count, cuda_dtype_bytes(p->hidden.dtype), &p->hidden_bytes) ||
        !size_align_to(p->hidden_bytes, QUERN_SCRATCH_ALIGNMENT, &p->hidden_bytes) ||
        !size_add(p->hidden_bytes, linear_layer_before_bytes(p->first), &between))
        return false;
    plan->saved_bytes = plan->backward ? between : 0;
    plan->forward_scratch_bytes = forward;
    if (!plan->backward) return size_add(p->hidden_bytes, forward, &plan->forward_scratch_bytes);
    const size_t slope =
        size_larger(product_scratch_bytes(p->slope), product_scratch_bytes(p->slope_and_gb));
    const size_t layers = size_larger(linear_layer_backward_scratch(p->first),
                                      linear_layer_backward_scratch(p->next));
    return size_add(p->hidden_bytes, size_larger(slope, layers), &plan->backward_scratch_bytes);
}

quern_status linear_pair_plan(quern_kernel_plan *plan, const char *op,
                              linear_activation activation) {
    const quern_host *host = cuda_device_host(cuda_stream_device(plan->args->stream));
    linear_pair *p;
    QUERN_TRY(cuda_services()->allocate(host, &p, 1, sizeof *p, "the plan of two linear layers"));
    p->host = host;
    p->activation = activation;
    quern_status status = plan_products(p, plan, op);
    if (status == QUERN_OK && !declare_memory(p, plan))
        status = cuda_fail(QUERN_SHAPE, "the bytes between its layers do not fit in 64 bits");
    if (status == QUERN_OK)
        plan->plan = p;
    else
        linear_pair_drop(p);
    return status;
}

void linear_pair_drop(void *plan) {
    linear_pair *p = plan;
    if (p == NULL) return;
    product_destroy(p->slope_and_gb);
    product_destroy(p->slope);
    linear_layer_destroy(p->next);
    linear_layer_destroy(p->first);
    cuda_services()->release(p->host, p, 1, sizeof *p);
}

/* Both layers' arguments. In scratch, h is in front of the products' own. */
static void bind(const linear_pair *p, const quern_kernel_args *args, bool saved,
                 linear_layer_data *first, linear_layer_data *next) {
    char *h = saved ? args->saved : args->scratch;
    *first = (linear_layer_data){.x = args->in[X].data,
                                 .weight = args->in[WEIGHT].data,
                                 .bias = args->in[BIAS].data,
                                 .y = h,
                                 .scratch = args->scratch,
                                 .stream = args->stream};
    if (linear_layer_before_bytes(p->first) > 0) first->before = h + p->hidden_bytes;
    if (!saved) first->scratch = h + p->hidden_bytes;
    *next = (linear_layer_data){.x = h,
                                .weight = args->in[NEXT_WEIGHT].data,
                                .bias = args->in[NEXT_BIAS].data,
                                .y = args->out[0].data,
                                .scratch = first->scratch,
                                .stream = args->stream};
}

quern_status linear_pair_forward(const quern_kernel_args *args) {
    const linear_pair *p = args->plan;
    linear_layer_data first, next;
    bind(p, args, args->saved != NULL, &first, &next);
    QUERN_TRY(linear_layer_forward(p->first, &first));
    return linear_layer_forward(p->next, &next);
}

/* gu into scratch, and gb with it when it may be overwritten by an epilogue. */
static quern_status slope_backward(const linear_pair *p, const quern_kernel_args *args,
                                   const linear_layer_data *first, const linear_layer_data *next,
                                   linear_gradients *wanted) {
    const int64_t count = p->hidden.rows * p->hidden.columns;
    const void *gy = args->grad_out[0].data;
    void *gu = args->scratch;
    if (p->slope != NULL) {
        const bool gb = p->slope_and_gb != NULL && wanted->gb != NULL && !wanted->add_bias;
        QUERN_TRY(product_run(gb ? p->slope_and_gb : p->slope,
                              &(product_run_desc){.a = gy,
                                                  .b = next->weight,
                                                  .c = gu,
                                                  .bias = gb ? wanted->gb : NULL,
                                                  .aux = first->before,
                                                  .scratch = next->scratch,
                                                  .stream = args->stream}));
        if (gb) wanted->gb = NULL; /* done */
        return QUERN_OK;
    }
    QUERN_TRY(linear_layer_backward(p->next, next, gy, &(linear_gradients){.gx = gu}));
    if (p->activation == LINEAR_RELU) return rows_mask(args->stream, p->hidden, gu, gu, first->y);
    return gelu_gradients(args->stream, p->hidden.dtype, count, args->attributes, first->before, gu,
                          gu);
}

/* Gradients are written in the order of the inputs: two of them may be one buffer. So gb is left to
 * gW's product where the two would change places. */
quern_status linear_pair_backward(const quern_kernel_args *args) {
    const linear_pair *p = args->plan;
    linear_layer_data first, next;
    bind(p, args, true, &first, &next);
    first.scratch = next.scratch = (char *)args->scratch + p->hidden_bytes;
    linear_gradients of_first = linear_gradients_of(args, X);
    const linear_gradients of_next = {.gw = args->grad_in[NEXT_WEIGHT].data,
                                      .gb = args->grad_in[NEXT_BIAS].data,
                                      .add_weight = args->accumulate[NEXT_WEIGHT],
                                      .add_bias = args->accumulate[NEXT_BIAS]};
    if (of_first.gx != NULL || of_first.gw != NULL || of_first.gb != NULL) {
        QUERN_TRY(slope_backward(p, args, &first, &next, &of_first));
        QUERN_TRY(linear_layer_backward(p->first, &first, args->scratch, &of_first));
    }
    return linear_layer_backward(p->next, &next, args->grad_out[0].data, &of_next);
}
