/* matmul - y = op(a) op(b) over the last two axes, op = transpose where asked; the leading axes
 * are equal and make a batch of products.
 * Forward  y = op(a) op(b), so
 *   g op(a) = gy op(b)^T, transposed where a is;  g op(b) = op(a)^T gy, transposed where b is.
 * Shapes   y (..., m, n), op(a) (..., m, k), op(b) (..., k, n).   Cost  2 batch m n k flops each.
 * Deterministic: yes, see product.h. */
#include "library/product.h"

typedef struct matmul {
    const quern_host *host;
    bool ta, tb;
    product *forward, *ga, *gb;
} matmul;

/* An operand of a product: which of a, b and gy it is, and whether it is transposed. */
typedef enum matrix { MATRIX_A, MATRIX_B, MATRIX_GY } matrix;
typedef struct operand {
    matrix matrix;
    bool transpose;
} operand;
typedef struct factors {
    operand first, second;
} factors;

static factors factors_of_ga(const matmul *p) {
    if (p->ta) return (factors){{MATRIX_B, p->tb}, {MATRIX_GY, true}};
    return (factors){{MATRIX_GY, false}, {MATRIX_B, !p->tb}};
}

static factors factors_of_gb(const matmul *p) {
    if (p->tb) return (factors){{MATRIX_GY, true}, {MATRIX_A, p->ta}};
    return (factors){{MATRIX_A, !p->ta}, {MATRIX_GY, false}};
}

static const int64_t *last_dims(const quern_kernel_args *args, matrix which) {
    const quern_view *v = which == MATRIX_GY ? &args->out[0] : &args->in[which];
    return v->dim + v->rank - 2;
}

static quern_status plan_product(product **out, const quern_kernel_plan *plan, factors f,
                                 bool wide) {
    const quern_kernel_args *args = plan->args;
    const int64_t *a = last_dims(args, f.first.matrix), *b = last_dims(args, f.second.matrix);
    product_desc d = {.op = "matmul", .dtype = args->in[0].dtype, .batch = 1};
    d.tf32 = args->tf32;
    d.wide = wide;
    d.alignment = plan->alignment, d.bytes_only = plan->bytes_only;
    d.transpose_a = f.first.transpose;
    d.transpose_b = f.second.transpose;
    d.m = a[d.transpose_a ? 1 : 0];
    d.k = a[d.transpose_a ? 0 : 1];
    d.n = b[d.transpose_b ? 0 : 1];
    for (int32_t i = 0; i < args->in[0].rank - 2; i++) d.batch *= args->in[0].dim[i];
    return product_create(out, args->stream, &d);
}

static void drop(void *plan) {
    matmul *p = plan;
    if (p == NULL) return;
    product_destroy(p->gb);
    product_destroy(p->ga);
    product_destroy(p->forward);
    cuda_services()->release(p->host, p, 1, sizeof *p);
}

static quern_status plan_all(matmul *p, const quern_kernel_plan *plan) {
    const factors forward = {{MATRIX_A, p->ta}, {MATRIX_B, p->tb}};
    QUERN_TRY(plan_product(&p->forward, plan, forward, false));
    if (plan->wanted & 1)
        QUERN_TRY(plan_product(&p->ga, plan, factors_of_ga(p), (plan->wide & 1) != 0));
    if (plan->wanted & 2)
        QUERN_TRY(plan_product(&p->gb, plan, factors_of_gb(p), (plan->wide & 2) != 0));
    return QUERN_OK;
}

static quern_status plan(quern_kernel_plan *plan) {
    const quern_matmul_desc *desc = plan->args->attributes;
    const quern_host *host = cuda_device_host(cuda_stream_device(plan->args->stream));
    matmul *p;
    QUERN_TRY(cuda_services()->allocate(host, &p, 1, sizeof *p, "the plan of a product"));
    *p = (matmul){.host = host, .ta = desc->transpose_a, .tb = desc->transpose_b};
    const quern_status status = plan_all(p, plan);
    if (status != QUERN_OK) {
        drop(p);
        return status;
    }
    const size_t ga = product_scratch_bytes(p->ga), gb = product_scratch_bytes(p->gb);
    plan->forward_scratch_bytes = product_scratch_bytes(p->forward);
    plan->backward_scratch_bytes = ga > gb ? ga : gb;
    plan->plan = p;
    return QUERN_OK;
}

static const void *data_of(const quern_kernel_args *args, matrix which) {
    return which == MATRIX_GY ? args->grad_out[0].data : args->in[which].data;
}

static quern_status run(const quern_kernel_args *args, product *p, factors f, void *to,
                        bool accumulate) {
    return product_run(p, &(product_run_desc){.a = data_of(args, f.first.matrix),
                                              .b = data_of(args, f.second.matrix),
                                              .c = to,
                                              .scratch = args->scratch,
                                              .accumulate = accumulate,
                                              .stream = args->stream});
}

static quern_status forward(const quern_kernel_args *args) {
    const matmul *p = args->plan;
    const factors f = {{MATRIX_A, p->ta}, {MATRIX_B, p->tb}};
    return run(args, p->forward, f, args->out[0].data, false);
}

static quern_status backward(const quern_kernel_args *args) {
    const matmul *p = args->plan;
    void *ga = args->grad_in[0].data, *gb = args->grad_in[1].data;
    if (ga != NULL) QUERN_TRY(run(args, p->ga, factors_of_ga(p), ga, args->accumulate[0]));
    if (gb == NULL) return QUERN_OK;
    return run(args, p->gb, factors_of_gb(p), gb, args->accumulate[1]);
}

const quern_kernel quern_cuda_matmul = {plan, forward, backward, drop};
