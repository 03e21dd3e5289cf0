/* add_layer_norm - sum = a + b, y = layer_norm(sum): a residual and the norm behind it, as the two
 * ops that it stands for, one after the other. With gx of layer_norm at x = sum and gsum, what
 * reaches the sum from elsewhere:  ga = gb = gsum + gx.
 * Shapes   a, b, sum, y (..., C), w (C), bias (C) or absent.   Saved: as layer_norm.
 * Cost     of both. gsum + gx is made where ga lies, or gb, and in scratch where both are added to;
 *          nothing is copied where ga lies over gsum and gb is ga.
 * Deterministic, and in every type the bits of the two apart: as add and layer_norm. */
#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "cpu.h"

#include <string.h>

/* The two kernels' arguments. */
typedef struct parts {
    quern_view in[3], grad_in[3]; /* of the norm: sum, weight, bias */
    bool accumulate[3];
    quern_view gradient; /* of the sum, from everywhere */
    quern_kernel_args add, norm;
} parts;

static void parts_make(parts *p, const quern_kernel_args *args) {
    p->in[0] = args->out[0];
    p->in[1] = args->in[2];
    p->in[2] = args->in[3];
    p->gradient = args->out[0];
    p->add = p->norm = *args;
    p->add.input_count = 2;
    p->add.output_count = p->norm.output_count = 1;
    p->norm.input_count = 3;
    p->norm.in = p->in;
    p->norm.out = &args->out[1];
    p->add.grad_in = p->add.grad_out = p->norm.grad_in = p->norm.grad_out = NULL;
}

static bool gradient_bytes(const quern_kernel_args *args, size_t *out) {
    const quern_view *sum = &args->out[0];
    return count_bytes(sum->count, quern_dtype_bytes(sum->dtype), out) && size_align(*out, out);
}

static quern_status plan(quern_kernel_plan *plan) {
    parts p;
    size_t bytes = 0;
    parts_make(&p, plan->args);
    const uint32_t operands = plan->wanted & 3;
    quern_kernel_plan add = {.args = &p.add, .backward = plan->backward, .wanted = operands};
    quern_kernel_plan norm = {.args = &p.norm,
                              .backward = plan->backward,
                              .wanted = plan->wanted >> 2 << 1 | (operands != 0)};
    QUERN_TRY(cpu_kernels[QUERN_OP_ID_add]->plan(&add));
    QUERN_TRY(cpu_kernels[QUERN_OP_ID_layer_norm]->plan(&norm));
    plan->saved_bytes = norm.saved_bytes;
    plan->forward_scratch_bytes =
        size_larger(add.forward_scratch_bytes, norm.forward_scratch_bytes);
    if (!plan->backward) return QUERN_OK;
    if (gradient_bytes(plan->args, &bytes) &&
        size_add(bytes, size_larger(add.backward_scratch_bytes, norm.backward_scratch_bytes),
                 &plan->backward_scratch_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the sum's gradient has more bytes than fit");
}

static quern_status forward(const quern_kernel_args *args) {
    parts p;
    parts_make(&p, args);
    QUERN_TRY(cpu_kernels[QUERN_OP_ID_add]->forward(&p.add));
    return cpu_kernels[QUERN_OP_ID_layer_norm]->forward(&p.norm);
}

/* The first operand's gradient that is not added to; else scratch. */
static void *gradient_place(const quern_kernel_args *args) {
    for (int i = 0; i < 2; i++)
        if (args->grad_in[i].data != NULL && !args->accumulate[i]) return args->grad_in[i].data;
    return args->scratch;
}

/* The norm's part; without a gradient of y its parameters have none. */
static quern_status norm_backward(parts *p, const quern_kernel_args *args) {
    p->norm.grad_in = p->grad_in;
    p->norm.grad_out = &args->grad_out[1];
    p->norm.accumulate = p->accumulate;
    for (int i = 1; i < 3; i++) {
        p->grad_in[i] = args->grad_in[1 + i];
        p->accumulate[i] = args->accumulate[1 + i];
    }
    if (args->grad_out[1].data != NULL)
        return cpu_kernels[QUERN_OP_ID_layer_norm]->backward(&p->norm);
    for (int i = 1; i < 3; i++) {
        const quern_view *g = &p->grad_in[i];
        if (g->data != NULL && !p->accumulate[i])
            memset(g->data, 0, (size_t)g->count * quern_dtype_bytes(g->dtype));
    }
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    parts p;
    size_t bytes = 0;
    parts_make(&p, args);
    (void)gradient_bytes(args, &bytes); /* fitted when it was planned */
    p.add.scratch = p.norm.scratch = (char *)args->scratch + bytes;
    const quern_view *gsum = &args->grad_out[0];
    const bool wanted = args->grad_in[0].data != NULL || args->grad_in[1].data != NULL;
    p.gradient.data = wanted ? gradient_place(args) : NULL;
    p.grad_in[0] = p.gradient;
    p.accumulate[0] = gsum->data != NULL;
    if (wanted && gsum->data != NULL && gsum->data != p.gradient.data)
        memcpy(p.gradient.data, gsum->data, (size_t)gsum->count * quern_dtype_bytes(gsum->dtype));
    QUERN_TRY(norm_backward(&p, args));
    if (!wanted) return QUERN_OK;
    p.add.grad_in = args->grad_in;
    p.add.grad_out = &p.gradient;
    return cpu_kernels[QUERN_OP_ID_add]->backward(&p.add);
}

const quern_kernel quern_cpu_add_layer_norm = {plan, forward, backward, NULL};
