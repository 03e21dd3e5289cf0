#include "linear_activated.h"

#include "../../host/base/size.h"
#include "gelu.h"
#include "rows.h"

/* Where the products' scratch begins, behind gu. */
static bool slope_bytes(const quern_view *y, size_t *bytes) {
    return count_bytes(y->count, cuda_dtype_bytes(y->dtype), bytes) &&
           size_align_to(*bytes, QUERN_SCRATCH_ALIGNMENT, bytes);
}

static linear_layer_desc desc_of(const quern_kernel_plan *plan, const char *op,
                                 linear_activation activation) {
    const quern_kernel_args *args = plan->args;
    const uint32_t wanted = plan->backward ? plan->wanted : 0;
    return (linear_layer_desc){.op = op,
                               .dtype = args->in[0].dtype,
                               .tf32 = args->tf32,
                               .rows = linear_layer_rows(&args->in[0]),
                               .in = args->in[1].dim[1],
                               .out = args->in[1].dim[0],
                               .bias = args->in[2].rank >= 0,
                               .activation = activation,
                               .gelu = activation == LINEAR_GELU ? args->attributes : NULL,
                               .keep_before = activation == LINEAR_GELU && plan->backward,
                               .gx = (wanted & 1) != 0,
                               .gw = (wanted & 2) != 0,
                               .gb = (wanted & 4) != 0,
                               .wide = plan->wide,
                               .alignment = plan->alignment,
                               .bytes_only = plan->bytes_only};
}

quern_status linear_activated_plan(quern_kernel_plan *plan, const char *op,
                                   linear_activation activation) {
    const linear_layer_desc desc = desc_of(plan, op, activation);
    size_t slope = 0;
    linear_layer *l;
    QUERN_TRY(linear_layer_create(&l, plan->args->stream, &desc));
    plan->forward_scratch_bytes = linear_layer_forward_scratch(l);
    plan->saved_bytes = linear_layer_before_bytes(l);
    plan->backward_scratch_bytes = plan->backward ? linear_layer_backward_scratch(l) : 0;
    const bool fits =
        !plan->backward || activation == LINEAR_PLAIN ||
        (slope_bytes(&plan->args->out[0], &slope) &&
         size_add(plan->backward_scratch_bytes, slope, &plan->backward_scratch_bytes));
    if (!fits) {
        linear_layer_destroy(l);
        return cuda_fail(QUERN_SHAPE, "the bytes of its gradient before %s do not fit in 64 bits",
                         activation == LINEAR_RELU ? "relu" : "gelu");
    }
    plan->plan = l;
    return QUERN_OK;
}

void linear_activated_drop(void *plan) { linear_layer_destroy(plan); }

static linear_layer_data data_of(const quern_kernel_args *args) {
    return (linear_layer_data){.x = args->in[0].data,
                               .weight = args->in[1].data,
                               .bias = args->in[2].data,
                               .before = args->saved,
                               .y = args->out[0].data,
                               .scratch = args->scratch,
                               .stream = args->stream};
}

quern_status linear_activated_forward(const quern_kernel_args *args) {
    const linear_layer_data data = data_of(args);
    return linear_layer_forward(args->plan, &data);
}

quern_status linear_activated_backward(const quern_kernel_args *args,
                                       linear_activation activation) {
    const quern_view *gy = &args->grad_out[0];
    const linear_gradients wanted = linear_gradients_of(args, 0);
    linear_layer_data data = data_of(args);
    if (activation == LINEAR_PLAIN)
        return linear_layer_backward(args->plan, &data, gy->data, &wanted);
    size_t slope = 0;
    (void)slope_bytes(&args->out[0], &slope); /* fitted when it was planned */
    data.scratch = (char *)args->scratch + slope;
    if (activation == LINEAR_RELU)
        QUERN_TRY(rows_mask(args->stream, (rows_shape){gy->dtype, 1, gy->count}, args->scratch,
                            gy->data, args->out[0].data));
    else
        QUERN_TRY(gelu_gradients(args->stream, gy->dtype, gy->count, args->attributes, args->saved,
                                 gy->data, args->scratch));
    return linear_layer_backward(args->plan, &data, args->scratch, &wanted);
}
