/* linear - y = x W^T + b over the last axis.
 * gx = gy W;  gW = gy^T x;  gb = column sums of gy.
 * Shapes   x (..., in), W (out, in), b (out) or absent, y (..., out); below, rows = all of "...".
 * Cost     2 rows in out flops a product.
 * Deterministic: yes. Products on fixed tiles (gemm.h); a column is summed in blocks of 64 rows, in
 * order, by one thread. */
#ifndef REAL
#include "linear.h"
#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "gemm.h"
#include "real.h"

enum { SUM_ROWS = 64, SUM_COLUMNS = 64 };

typedef struct column_sums {
    const void *gy;
    void *gb;
    int64_t rows, columns;
    bool accumulate;
} column_sums;

#define REAL_FILE "linear.c"
#include "each_real.h"

typedef struct linear_shape {
    quern_dtype dtype;
    int64_t rows, in, out;
} linear_shape;

static linear_shape shape_of(const quern_kernel_args *args) {
    const quern_view *x = &args->in[0], *weight = &args->in[1];
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < x->rank; i++) rows *= x->dim[i];
    return (linear_shape){x->dtype, rows, weight->dim[1], weight->dim[0]};
}

quern_status linear_plan(quern_kernel_plan *plan) {
    const linear_shape s = shape_of(plan->args);
    QUERN_TRY(real_check(plan->args));
    return gemm_check(s.rows, s.out, s.in);
}

void linear_forward(const quern_kernel_args *args, bool relu) {
    const linear_shape s = shape_of(args);
    gemm_parallel(args->stream, &(gemm){.dtype = s.dtype,
                                        .transpose_b = true,
                                        .m = s.rows,
                                        .n = s.out,
                                        .k = s.in,
                                        .a = args->in[0].data,
                                        .a_pitch = s.in,
                                        .b = args->in[1].data,
                                        .b_pitch = s.in,
                                        .c = args->out[0].data,
                                        .c_pitch = s.out,
                                        .bias = args->in[2].data,
                                        .relu = relu});
}

void linear_backward(const quern_kernel_args *args, const void *gy) {
    const linear_shape s = shape_of(args);
    const quern_view *grad = args->grad_in;
    gemm gx = {.dtype = s.dtype, .accumulate = args->accumulate[0], .a = gy, .a_pitch = s.out};
    gx.m = s.rows, gx.n = s.in, gx.k = s.out;
    gx.b = args->in[1].data, gx.b_pitch = s.in;
    gx.c = grad[0].data, gx.c_pitch = s.in;
    if (gx.c != NULL) gemm_parallel(args->stream, &gx);

    gemm gw = {.dtype = s.dtype, .accumulate = args->accumulate[1], .a = gy, .a_pitch = s.out};
    gw.m = s.out, gw.n = s.in, gw.k = s.rows, gw.transpose_a = true;
    gw.b = args->in[0].data, gw.b_pitch = s.in;
    gw.c = grad[1].data, gw.c_pitch = s.in;
    if (gw.c != NULL) gemm_parallel(args->stream, &gw);

    column_sums gb = {gy, grad[2].data, s.rows, s.out, args->accumulate[2]};
    if (gb.gb != NULL)
        quern_cpu_parallel(args->stream, count_divide_up(s.out, SUM_COLUMNS),
                           REAL_PICK(s.dtype, sum_columns), &gb);
}

static quern_status forward(const quern_kernel_args *args) {
    linear_forward(args, false);
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    linear_backward(args, args->grad_out[0].data);
    return QUERN_OK;
}

const quern_kernel quern_cpu_linear = {linear_plan, forward, backward, NULL};

#else

static void REAL_NAME(sum_columns)(void *context, int64_t chunk) {
    const column_sums *s = context;
    const int64_t first = chunk * SUM_COLUMNS, count = smaller(s->columns - first, SUM_COLUMNS);
    const REAL *gy = (const REAL *)s->gy + first;
    REAL *gb = (REAL *)s->gb + first, total[SUM_COLUMNS] = {0};
    for (int64_t row = 0; row < s->rows; row += SUM_ROWS) {
        REAL block[SUM_COLUMNS] = {0};
        const int64_t stop = smaller(row + SUM_ROWS, s->rows);
        for (int64_t i = row; i < stop; i++)
            for (int64_t j = 0; j < count; j++) block[j] += gy[i * s->columns + j];
        for (int64_t j = 0; j < count; j++) total[j] += block[j];
    }
    for (int64_t j = 0; j < count; j++) gb[j] = s->accumulate ? gb[j] + total[j] : total[j];
}

#endif
