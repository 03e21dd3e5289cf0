/* contiguous - y = x, row-major;  gx = gy, through x's strides.
 * Any dtype. Cost: 1 read and 1 write per element; x's innermost axis decides how well it streams.
 * Deterministic: yes, no reduction. */
#include "cpu.h"
#include "walk.h"
#include "../../host/base/report.h"
#include <string.h>

/* Copies row->data[1] to row->data[0], each with its own step. */
#define COPY(name, type)                                                                           \
    static void name(const walk_row *row) {                                                        \
        type *to = row->data[0];                                                                   \
        const type *from = row->data[1];                                                           \
        const int64_t to_step = row->stride[0], step = row->stride[1];                             \
        if (to_step == 1 && step == 1)                                                             \
            memcpy(to, from, (size_t)row->count * sizeof *to);                                     \
        else                                                                                       \
            for (int64_t i = 0; i < row->count; i++) to[i * to_step] = from[i * step];             \
    }
COPY(copy_8, uint8_t)
COPY(copy_16, uint16_t)
COPY(copy_32, uint32_t)
COPY(copy_64, uint64_t)

#define ADD(name, type)                                                                            \
    static void name(const walk_row *row) {                                                        \
        type *to = row->data[0];                                                                   \
        const type *from = row->data[1];                                                           \
        const int64_t to_step = row->stride[0], step = row->stride[1];                             \
        for (int64_t i = 0; i < row->count; i++) to[i * to_step] += from[i * step];                \
    }
ADD(add_f32, float)
ADD(add_f64, double)

static void run(const quern_kernel_args *args, const quern_view *to, const quern_view *from,
                walk_function function) {
    walk w;
    walk_begin(&w, to);
    walk_add(&w, to);
    walk_add(&w, from);
    walk_close(&w);
    walk_run(&w, args->stream, function);
}

static walk_function copy_of(quern_dtype dtype) {
    switch (quern_dtype_bytes(dtype)) {
    case 1: return copy_8;
    case 2: return copy_16;
    case 4: return copy_32;
    default: return copy_64;
    }
}

static quern_status plan(quern_kernel_plan *p) {
    const quern_dtype dtype = p->args->in[0].dtype;
    if (p->backward && dtype != QUERN_F32 && dtype != QUERN_F64)
        return quern_fail(QUERN_UNSUPPORTED, "the CPU adds gradients in F32 and F64, not %s",
                          quern_dtype_name(dtype));
    return QUERN_OK;
}

static quern_status forward(const quern_kernel_args *args) {
    run(args, &args->out[0], &args->in[0], copy_of(args->in[0].dtype));
    return QUERN_OK;
}

static quern_status backward(const quern_kernel_args *args) {
    const quern_view *gx = &args->grad_in[0];
    if (gx->data == NULL) return QUERN_OK;
    const walk_function add = gx->dtype == QUERN_F32 ? add_f32 : add_f64;
    run(args, gx, &args->grad_out[0], args->accumulate[0] ? add : copy_of(gx->dtype));
    return QUERN_OK;
}

const quern_kernel quern_cpu_contiguous = {.plan = plan, .forward = forward, .backward = backward};
