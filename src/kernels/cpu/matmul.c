/* matmul - y = op(a) op(b) over the last two axes, op = transpose where asked; the leading axes
 * are equal and make a batch of products.
 * Forward  y = op(a) op(b), so
 *   g op(a) = gy op(b)^T, transposed where a is;  g op(b) = op(a)^T gy, transposed where b is.
 * Shapes   y (..., m, n), op(a) (..., m, k), op(b) (..., k, n).   Cost  2 batch m n k flops each.
 * Deterministic: yes, see gemm.h. */
#include "../../host/base/report.h"
#include "gemm.h"
#include "real.h"

typedef struct matmul_shape {
    int64_t batch, m, n, k;
    bool ta, tb;
} matmul_shape;

static matmul_shape shape_of(const quern_kernel_args *args) {
    const quern_matmul_desc *desc = args->attributes;
    const int32_t rank = args->in[0].rank;
    const int64_t *a = args->in[0].dim + rank - 2, *b = args->in[1].dim + rank - 2;
    matmul_shape s = {.batch = 1, .ta = desc->transpose_a, .tb = desc->transpose_b};
    s.m = a[s.ta ? 1 : 0];
    s.k = a[s.ta ? 0 : 1];
    s.n = b[s.tb ? 0 : 1];
    for (int32_t i = 0; i < rank - 2; i++) s.batch *= args->in[0].dim[i];
    return s;
}

static quern_status plan(quern_kernel_plan *plan) {
    const matmul_shape s = shape_of(plan->args);
    QUERN_TRY(real_check(plan->args));
    return gemm_check(s.m, s.n, s.k);
}

/* A stored matrix of each product of the batch. */
typedef struct operand {
    const void *data;
    int64_t rows, columns;
    bool transpose;
} operand;

static void multiply(const quern_kernel_args *args, int64_t batch, operand a, operand b, void *c,
                     bool accumulate) {
    gemm g = {.dtype = args->in[0].dtype, .batch = batch, .accumulate = accumulate, .c = c};
    if (batch == 0 || c == NULL) return;
    g.m = a.transpose ? a.columns : a.rows;
    g.k = a.transpose ? a.rows : a.columns;
    g.n = b.transpose ? b.rows : b.columns;
    g.a = a.data, g.a_pitch = a.columns, g.a_step = a.rows * a.columns, g.transpose_a = a.transpose;
    g.b = b.data, g.b_pitch = b.columns, g.b_step = b.rows * b.columns, g.transpose_b = b.transpose;
    g.c_pitch = g.n, g.c_step = g.m * g.n;
    gemm_parallel(args->stream, &g);
}

static operand operand_a(const quern_kernel_args *args, matmul_shape s) {
    return (operand){args->in[0].data, s.ta ? s.k : s.m, s.ta ? s.m : s.k, s.ta};
}

static operand operand_b(const quern_kernel_args *args, matmul_shape s) {
    return (operand){args->in[1].data, s.tb ? s.n : s.k, s.tb ? s.k : s.n, s.tb};
}

static operand transposed(operand o) {
    o.transpose = !o.transpose;
    return o;
}

static quern_status forward(const quern_kernel_args *args) {
    const matmul_shape s = shape_of(args);
    multiply(args, s.batch, operand_a(args, s), operand_b(args, s), args->out[0].data, false);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const matmul_shape s = shape_of(args);
    const operand a = operand_a(args, s), b = operand_b(args, s);
    const operand gy = {args->grad_out[0].data, s.m, s.n, false};
    void *ga = args->grad_in[0].data, *gb = args->grad_in[1].data;
    if (s.ta)
        multiply(args, s.batch, b, transposed(gy), ga, args->accumulate[0]);
    else
        multiply(args, s.batch, gy, transposed(b), ga, args->accumulate[0]);
    if (s.tb)
        multiply(args, s.batch, transposed(gy), a, gb, args->accumulate[1]);
    else
        multiply(args, s.batch, transposed(a), gy, gb, args->accumulate[1]);
    return QUERN_OK;
}

const quern_kernel quern_cpu_matmul = {plan, forward, backward, NULL};
