/* half_kernel.c - the reference for 16-bit storage: a kernel's BF16 and F16 views are widened to
 * F32 in scratch, its F32 kernel runs there, and what it wrote is rounded to nearest even. So a
 * number is F32 while it is computed with, and no sum is kept in 16 bits: what the GPU's kernels
 * promise. Views of other types go through as they are; one op may mix them.
 *
 * Backward runs once for each gradient that is wanted. Then gradients of one buffer (x x) are
 * written one after another, as the program says, each adding to what the one before has rounded.
 * Cost     a pass over each 16-bit view more; backward's products once, its sums once a gradient.
 * Deterministic: as the F32 kernel. */
#include "half_kernel.h"

#include "../../host/base/report.h"
#include "../../host/base/size.h"
#include "../half_bits.h"
#include "cpu.h"

enum { ALIGNMENT = 64 };

typedef struct widened {
    quern_view in[QUERN_INPUT_MAX], grad_in[QUERN_INPUT_MAX];
    quern_view out[QUERN_OUTPUT_MAX], grad_out[QUERN_OUTPUT_MAX];
    quern_kernel_args args; /* of these */
    size_t bytes;           /* of scratch in front of the F32 kernel's own */
    bool any, fits;
} widened;

static quern_view row_major(const quern_view *view, quern_dtype dtype) {
    quern_view out = *view;
    out.dtype = dtype;
    int64_t stride = 1;
    for (int32_t i = view->rank - 1; i >= 0; stride *= out.dim[i--]) out.stride[i] = stride;
    return out;
}

static void widen_views(widened *w, const quern_view *from, int32_t count, char *scratch,
                        quern_view *to) {
    for (int32_t i = 0; from && i < count; i++) {
        size_t bytes = 0;
        to[i] = from[i];
        if (from[i].rank < 0 || !half_is(from[i].dtype)) continue;
        w->any = true;
        to[i] = row_major(&from[i], QUERN_F32);
        if (from[i].data) to[i].data = scratch + w->bytes;
        w->fits = w->fits && count_bytes(from[i].count, sizeof(float), &bytes) &&
                  size_align(bytes, &bytes) && size_add(w->bytes, bytes, &w->bytes);
    }
}

/* The same args with every 16-bit view in scratch. */
static void widen(widened *w, const quern_kernel_args *args, bool backward) {
    w->args = *args;
    w->bytes = 0;
    w->any = false;
    w->fits = true;
    widen_views(w, args->in, args->input_count, args->scratch, w->in);
    widen_views(w, args->out, args->output_count, args->scratch, w->out);
    w->args.in = w->in;
    w->args.out = w->out;
    if (!backward) return;
    /* planned before there are gradients: they are like what they are gradients of */
    const quern_view *grad_out = args->grad_out ? args->grad_out : args->out;
    const quern_view *grad_in = args->grad_in ? args->grad_in : args->in;
    widen_views(w, grad_out, args->output_count, args->scratch, w->grad_out);
    widen_views(w, grad_in, args->input_count, args->scratch, w->grad_in);
    w->args.grad_out = w->grad_out;
    w->args.grad_in = w->grad_in;
}

/* passes over a view */

typedef struct half_pass {
    const quern_view *half, *wide;
    bool dense; /* the 16-bit view is row-major too */
} half_pass;

static int64_t offset_of(const quern_view *view, int64_t index) {
    int64_t offset = 0;
    for (int32_t i = view->rank - 1; i >= 0; index /= view->dim[i--])
        offset += index % view->dim[i] * view->stride[i];
    return offset;
}

static void load_chunk(void *context, int64_t chunk) {
    const half_pass *p = context;
    const cpu_range r = cpu_parallel_range(chunk, p->half->count);
    const uint16_t *from = p->half->data;
    float *to = p->wide->data;
    for (int64_t i = r.start; i < r.end; i++)
        to[i] = half_widen(from[p->dense ? i : offset_of(p->half, i)], p->half->dtype);
}

static void store_chunk(void *context, int64_t chunk) {
    const half_pass *p = context;
    const cpu_range r = cpu_parallel_range(chunk, p->half->count);
    const float *from = p->wide->data;
    uint16_t *to = p->half->data;
    for (int64_t i = r.start; i < r.end; i++)
        to[p->dense ? i : offset_of(p->half, i)] = half_round(from[i], p->half->dtype);
}

static void pass_run(quern_stream *stream, const quern_view *half, const quern_view *wide,
                     cpu_body body) {
    if (half->rank < 0 || !half_is(half->dtype) || !half->data) return;
    half_pass p = {half, wide, true};
    const quern_view dense = row_major(half, half->dtype);
    for (int32_t i = 0; i < half->rank; i++)
        p.dense &= half->dim[i] <= 1 || half->stride[i] == dense.stride[i];
    cpu_parallel(stream, half->count, body, &p);
}

static void views_run(quern_stream *stream, const quern_view *half, const quern_view *wide,
                      int32_t count, cpu_body body) {
    for (int32_t i = 0; i < count; i++) pass_run(stream, &half[i], &wide[i], body);
}

static void scratch_shift(widened *w) { w->args.scratch = (char *)w->args.scratch + w->bytes; }

/* the kernel */

quern_status half_plan(quern_kernel_plan *plan, const quern_kernel *wide) {
    const quern_kernel_args *args = plan->args;
    widened forward, backward;
    widen(&forward, args, false);
    if (!forward.any) return wide->plan ? wide->plan(plan) : QUERN_OK;
    widen(&backward, args, true);
    plan->args = &forward.args;
    const quern_status status = wide->plan ? wide->plan(plan) : QUERN_OK;
    plan->args = args;
    QUERN_TRY(status);
    if (!plan->backward) backward.bytes = 0;
    if (forward.fits && backward.fits &&
        size_add(plan->forward_scratch_bytes, forward.bytes, &plan->forward_scratch_bytes) &&
        size_add(plan->backward_scratch_bytes, backward.bytes, &plan->backward_scratch_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "the bytes of its values in F32 do not fit");
}

quern_status half_forward(const quern_kernel_args *args, const quern_kernel *wide) {
    widened w;
    widen(&w, args, false);
    if (!w.any) return wide->forward(args);
    scratch_shift(&w);
    views_run(args->stream, args->in, w.in, args->input_count, load_chunk);
    QUERN_TRY(wide->forward(&w.args));
    views_run(args->stream, args->out, w.out, args->output_count, store_chunk);
    return QUERN_OK;
}

/* The gradient of input i alone. */
static quern_status gradient_run(const quern_kernel_args *args, widened *w, int32_t i,
                                 const quern_kernel *wide) {
    quern_view only[QUERN_INPUT_MAX];
    for (int32_t k = 0; k < args->input_count; k++) {
        only[k] = w->grad_in[k];
        if (k != i) only[k].data = NULL;
    }
    w->args.grad_in = only;
    if (args->accumulate[i]) pass_run(args->stream, &args->grad_in[i], &only[i], load_chunk);
    QUERN_TRY(wide->backward(&w->args));
    pass_run(args->stream, &args->grad_in[i], &only[i], store_chunk);
    return QUERN_OK;
}

quern_status half_backward(const quern_kernel_args *args, const quern_kernel *wide) {
    widened w;
    widen(&w, args, true);
    if (!w.any) return wide->backward(args);
    scratch_shift(&w);
    views_run(args->stream, args->in, w.in, args->input_count, load_chunk);
    views_run(args->stream, args->out, w.out, args->output_count, load_chunk);
    views_run(args->stream, args->grad_out, w.grad_out, args->output_count, load_chunk);
    for (int32_t i = 0; i < args->input_count; i++)
        if (args->grad_in[i].rank >= 0 && args->grad_in[i].data)
            QUERN_TRY(gradient_run(args, &w, i, wide));
    return QUERN_OK;
}
