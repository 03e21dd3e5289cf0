#include "op_world.h"

#include "half.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "kernels/layout.h"
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define OP_WORLD_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OP_WORLD_ASAN
#endif
#endif
#ifdef OP_WORLD_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Where a program's buffers begin, and no better: a multiple of 64. Only scratch has more. */
enum { BUFFER_SHIFT = 64 };
enum { GUARD = QUERN_SCRATCH_ALIGNMENT, GUARD_BYTE = 0xA5, POISON_BYTE = 0xFF };

static quern_status run_on_cpu(op_world *w, quern_kernel_function function,
                               const quern_kernel_args *args) {
    quern_stream *stream = w->session->stream;
    const quern_status issued = quern_backend_cpu.call(stream, function, args);
    const quern_status done = quern_backend_cpu.stream_wait(stream);
    return issued != QUERN_OK ? issued : done;
}

quern_status session_open(op_session *s, int32_t thread_count) {
    *s = (op_session){
        .host = quern_host_default(), .kernels = quern_backend_cpu.kernels, .run = run_on_cpu};
    const backend_open_desc desc = {.thread_count = thread_count, .host = &s->host};
    QUERN_TRY(quern_backend_cpu.open(&s->device, &desc));
    return quern_backend_cpu.stream_create(s->device, &s->stream, "op test");
}

void session_close(op_session *s) {
    if (s->stream != NULL) quern_backend_cpu.stream_destroy(s->stream);
    if (s->device != NULL) quern_backend_cpu.close(s->device);
    *s = (op_session){0};
}

void *buffer_data(const op_buffer *b) { return b->base + GUARD + b->shift; }

static void buffer_poison(const op_buffer *b) { memset(buffer_data(b), POISON_BYTE, b->bytes); }

size_t buffer_total(const op_buffer *b) {
    return (b->bytes + b->shift + GUARD - 1) / GUARD * GUARD + 2 * GUARD;
}

/* Guard bands that AddressSanitizer, where it looks on, takes a read of for a fault too. */
static void buffer_guard(const op_buffer *b, bool guarded) {
#ifdef OP_WORLD_ASAN
    const size_t first = GUARD + b->shift, last = first + b->bytes;
    if (guarded) {
        ASAN_POISON_MEMORY_REGION(b->base, first);
        ASAN_POISON_MEMORY_REGION(b->base + last, buffer_total(b) - last);
    } else {
        ASAN_UNPOISON_MEMORY_REGION(b->base, buffer_total(b));
    }
#else
    (void)b;
    (void)guarded;
#endif
}

static op_buffer *buffer_add(op_world *w, size_t bytes, size_t shift) {
    op_buffer *b = &w->buffers[w->buffer_count++];
    b->bytes = bytes;
    b->shift = shift;
    b->base = aligned_alloc(GUARD, buffer_total(b));
    if (b->base == NULL) abort();
    memset(b->base, GUARD_BYTE, buffer_total(b));
    buffer_poison(b);
    buffer_guard(b, true);
    return b;
}

static bool buffer_guards_hold(const op_buffer *b) {
    bool hold = true;
    buffer_guard(b, false);
    for (size_t at = 0; at < GUARD + b->shift; at++) hold = hold && b->base[at] == GUARD_BYTE;
    for (size_t at = GUARD + b->shift + b->bytes; at < buffer_total(b); at++)
        hold = hold && b->base[at] == GUARD_BYTE;
    buffer_guard(b, true);
    return hold;
}

void world_guard(const op_world *w, bool guarded) {
    for (int32_t i = 0; i < w->buffer_count; i++) buffer_guard(&w->buffers[i], guarded);
}

bool world_guards_hold(const op_world *w) {
    for (int32_t i = 0; i < w->buffer_count; i++)
        if (!buffer_guards_hold(&w->buffers[i])) return false;
    return true;
}

static void element_write(const quern_view *v, int64_t at, double value) {
    switch ((int)v->dtype) {
    case QUERN_F32: ((float *)v->data)[at] = (float)value; break;
    case QUERN_F64: ((double *)v->data)[at] = value; break;
    case QUERN_F16: ((uint16_t *)v->data)[at] = half_bits((float)value); break;
    case QUERN_BF16: ((uint16_t *)v->data)[at] = bfloat16_bits((float)value); break;
    case QUERN_I32: ((int32_t *)v->data)[at] = (int32_t)value; break;
    case QUERN_I64: ((int64_t *)v->data)[at] = (int64_t)value; break;
    case QUERN_U8: ((uint8_t *)v->data)[at] = (uint8_t)value; break;
    }
}

static double element_read(const quern_view *v, int64_t at) {
    switch ((int)v->dtype) {
    case QUERN_F32: return (double)((const float *)v->data)[at];
    case QUERN_F64: return ((const double *)v->data)[at];
    case QUERN_F16: return (double)half_value(((const uint16_t *)v->data)[at]);
    case QUERN_BF16: return (double)bfloat16_value(((const uint16_t *)v->data)[at]);
    case QUERN_I32: return (double)((const int32_t *)v->data)[at];
    case QUERN_I64: return (double)((const int64_t *)v->data)[at];
    default: return (double)((const uint8_t *)v->data)[at];
    }
}

/* Where element i (row-major) lies. */
static int64_t element_offset(const quern_view *v, int64_t i) {
    int64_t offset = 0;
    for (int32_t axis = v->rank - 1; axis >= 0; axis--) {
        offset += i % v->dim[axis] * v->stride[axis];
        i /= v->dim[axis];
    }
    return offset;
}

void view_read(const quern_view *view, double *to) {
    for (int64_t i = 0; i < view->count; i++) to[i] = element_read(view, element_offset(view, i));
}

void view_write(const quern_view *view, const double *from) {
    for (int64_t i = 0; i < view->count; i++) element_write(view, element_offset(view, i), from[i]);
}

/* data stays NULL. Strided: the first axis runs fastest, every element is followed by a gap. */
static quern_view view_of(const op_tensor *t, quern_dtype real, size_t *bytes) {
    quern_view v = {.rank = t->absent ? -1 : t->rank, .count = t->absent ? 0 : 1};
    v.dtype = t->dtype == QUERN_F32 ? real : t->dtype;
    for (int32_t n = 0; n < v.rank; n++) {
        const int32_t axis = t->strided ? n : v.rank - 1 - n;
        v.dim[axis] = t->dim[axis];
        v.stride[axis] = t->strided ? 2 * v.count : v.count;
        v.count *= t->dim[axis];
    }
    if (t->channels_last && !t->absent) layout_channels_last(&v);
    *bytes = (size_t)(t->strided ? 2 * v.count : v.count) * quern_dtype_bytes(v.dtype);
    return v;
}

static double domain_value(const op_tensor *t, uint32_t bits) {
    const double u = (double)random_uniform(bits & ~1023u), sign = bits & 1 ? 1.0 : -1.0;
    switch (t->domain) {
    case OP_POSITIVE: return 0.5 + 1.5 * u;
    case OP_AWAY_FROM_ZERO: return sign * (0.1 + 1.9 * u);
    case OP_PROBABILITY: return 0.05 + 0.9 * u;
    case OP_INDEX: return (double)(bits % (uint32_t)(t->below > 0 ? t->below : 1));
    default: return 4.0 * u - 2.0;
    }
}

/* Every value is a float, so that both real types see the same inputs. */
static double *make_values(const op_tensor *t, int64_t count, uint32_t purpose) {
    double *values = calloc((size_t)count + 1, sizeof *values);
    if (values == NULL) abort();
    const random_key key = {.seed = 20240229, .purpose = purpose, .attempt = count};
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = random_u32(&key, i);
        double value =
            t->domain == OP_DISTINCT ? (double)(i - count / 2) / 256 : domain_value(t, bits);
        if (t->values != NULL) value = t->values[i];
        values[i] = (double)(float)(value + t->offset);
    }
    for (int64_t i = count - 1; t->domain == OP_DISTINCT && t->values == NULL && i > 0; i--) {
        const int64_t other = random_u32(&key, i) % (i + 1);
        const double value = values[i];
        values[i] = values[other];
        values[other] = value;
    }
    return values;
}

static bool is_real(quern_dtype dtype) {
    return dtype == QUERN_F32 || dtype == QUERN_F64 || dtype == QUERN_F16 || dtype == QUERN_BF16;
}

bool world_differentiable(const op_world *w, int32_t i) {
    const bool index = i == 1 && (w->op->flags & QUERN_OP_INDEX_INPUT1) != 0;
    return !index && w->kernel->backward != NULL && w->in[i].rank >= 0 && is_real(w->in[i].dtype) &&
           !w->c->in[i].no_gradient;
}

/* The bytes of one element, where the session wants views that are aligned for no more. */
static size_t shift_of(const op_world *w, quern_dtype dtype) {
    return w->session->unaligned ? quern_dtype_bytes(dtype) : BUFFER_SHIFT;
}

/* Of an op with FIRST only the first input and output are 16 bits; with WIDE_OUT no output. */
static quern_dtype real_of(const op_world *w, quern_dtype real, int32_t i, bool output) {
    const bool half = real == QUERN_F16 || real == QUERN_BF16;
    const bool wide = (i > 0 && (w->op->flags & QUERN_OP_FIRST) != 0) ||
                      (output && (w->op->flags & QUERN_OP_WIDE_OUT) != 0);
    return half && wide ? QUERN_F32 : real;
}

static quern_dtype wide_of(quern_dtype real) {
    return real == QUERN_F16 || real == QUERN_BF16 ? QUERN_F32 : real;
}

static void make_views(op_world *w, quern_dtype real) {
    const bool gradient = w->kernel->backward != NULL;
    size_t bytes = 0;
    for (int32_t i = 0; i < w->input_count; i++) {
        w->in[i] = w->grad_in[i] = view_of(&w->c->in[i], real_of(w, real, i, false), &bytes);
        w->values[i] = make_values(&w->c->in[i], w->in[i].count, (uint32_t)i + 1);
        const size_t shift = shift_of(w, w->in[i].dtype);
        if (w->in[i].rank >= 0) w->in[i].data = buffer_data(buffer_add(w, bytes, shift));
        if (!world_differentiable(w, i)) continue;
        if ((w->session->wide >> i & 1) != 0 && (w->op->flags & QUERN_OP_GRAD_WIDE) != 0)
            w->grad_in[i] = view_of(&w->c->in[i], wide_of(real), &bytes);
        w->grad_in[i].data = buffer_data(buffer_add(w, bytes, shift_of(w, w->grad_in[i].dtype)));
    }
    for (int32_t i = 0; i < w->output_count; i++) {
        const op_tensor any = {.domain = OP_ANY};
        w->out[i] = w->grad_out[i] = view_of(&w->c->out[i], real_of(w, real, i, true), &bytes);
        w->weights[i] = make_values(&any, w->out[i].count, (uint32_t)i + 101);
        const size_t shift = shift_of(w, w->out[i].dtype);
        w->out[i].data = buffer_data(buffer_add(w, bytes, shift));
        if (gradient && !w->c->out[i].no_gradient && is_real(w->out[i].dtype))
            w->grad_out[i].data = buffer_data(buffer_add(w, bytes, shift));
    }
}

static void hide(quern_view *to, const quern_view *from, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].data = NULL;
    }
}

static quern_status plan_kernel(op_world *w) {
    quern_view in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX], grad_out[QUERN_OUTPUT_MAX];
    quern_view grad_in[QUERN_INPUT_MAX];
    quern_kernel_args args = w->args;
    hide(in, w->in, w->input_count);
    hide(out, w->out, w->output_count);
    hide(grad_in, w->grad_in, w->input_count);
    hide(grad_out, w->grad_out, w->output_count);
    args.in = in;
    args.out = out;
    args.grad_in = grad_in;
    args.grad_out = grad_out;
    w->plan = (quern_kernel_plan){.args = &args, .alignment = w->session->unaligned ? 0 : 16};
    for (int32_t i = 0; i < w->input_count; i++)
        if (world_differentiable(w, i)) {
            w->plan.backward = true;
            w->plan.wanted |= UINT32_C(1) << i;
            if (grad_in[i].dtype != in[i].dtype) w->plan.wide |= UINT32_C(1) << i;
        }
    const quern_status status = w->kernel->plan == NULL ? QUERN_OK : w->kernel->plan(&w->plan);
    w->plan.args = NULL;
    return status;
}

quern_status op_world_create(op_world *w, quern_op_id op, const op_case *c, quern_dtype real,
                             const op_session *session) {
    *w = (op_world){.c = c, .op = graph_op((int32_t)op), .session = session};
    w->kernel = session->kernels[op];
    w->input_count = c->input_count > 0 ? c->input_count : w->op->input_count;
    w->output_count = c->output_count > 0 ? c->output_count : w->op->output_count;
    w->run = (quern_run){.seed = 7, .attempt = 3, .microbatch = 1};
    make_views(w, real);
    w->args = (quern_kernel_args){.attributes = c->attributes,
                                  .input_count = w->input_count,
                                  .output_count = w->output_count,
                                  .in = w->in,
                                  .out = w->out,
                                  .run = &w->run,
                                  .purpose = 300,
                                  .training = !c->evaluation,
                                  .deterministic = true,
                                  .tf32 = w->c->tf32,
                                  .stream = session->stream};
    QUERN_TRY(plan_kernel(w));
    const size_t forward = w->plan.forward_scratch_bytes, backward = w->plan.backward_scratch_bytes;
    w->saved = buffer_add(w, w->plan.saved_bytes, BUFFER_SHIFT);
    w->scratch = buffer_add(w, forward > backward ? forward : backward, 0);
    w->args.saved = w->plan.saved_bytes > 0 ? buffer_data(w->saved) : NULL;
    w->args.scratch = buffer_data(w->scratch);
    w->args.plan = w->plan.plan;
    return QUERN_OK;
}

void op_world_destroy(op_world *w) {
    if (w->kernel != NULL && w->kernel->drop != NULL) w->kernel->drop(w->plan.plan);
    world_guard(w, false);
    for (int32_t i = 0; i < w->buffer_count; i++) {
        if (w->buffers[i].device != NULL) w->session->release(w->session, &w->buffers[i]);
        free(w->buffers[i].base);
    }
    for (int32_t i = 0; i < QUERN_INPUT_MAX; i++) free(w->values[i]);
    for (int32_t i = 0; i < QUERN_OUTPUT_MAX; i++) free(w->weights[i]);
    *w = (op_world){0};
}

static void poison_view(op_world *w, const quern_view *view) {
    for (int32_t i = 0; i < w->buffer_count; i++)
        if (view->data == buffer_data(&w->buffers[i])) buffer_poison(&w->buffers[i]);
}

quern_status op_world_forward(op_world *w) {
    quern_view out[QUERN_OUTPUT_MAX];
    quern_kernel_args args = w->args;
    memcpy(out, w->out, sizeof out);
    for (int32_t i = 0; i < w->output_count; i++) poison_view(w, &out[i]);
    for (int32_t i = 0; i < w->input_count; i++)
        if (w->in[i].data != NULL) view_write(&w->in[i], w->values[i]);
    buffer_poison(w->saved);
    buffer_poison(w->scratch);
    if (w->inplace && (w->op->flags & QUERN_OP_INPLACE) != 0 && out[0].count == w->in[0].count)
        out[0].data = w->in[0].data;
    args.out = out;
    const quern_status status = w->session->run(w, w->kernel->forward, &args);
    if (out[0].data != w->out[0].data)
        memcpy(w->out[0].data, out[0].data, (size_t)out[0].count * quern_dtype_bytes(out[0].dtype));
    return status;
}

/* Only what the op's row says is read stays visible. */
static void show_read(const op_world *w, quern_view *in, quern_view *out) {
    hide(in, w->in, w->input_count);
    hide(out, w->out, w->output_count);
    for (int32_t i = 0; i < w->input_count; i++)
        if ((w->op->backward_reads & QUERN_READS_IN(i)) != 0) in[i].data = w->in[i].data;
    for (int32_t i = 0; i < w->output_count; i++)
        if ((w->op->backward_reads & QUERN_READS_OUT(i)) != 0) out[i].data = w->out[i].data;
}

/* As a program may: a gradient over the output's, over its value, over another. */
static void gradients_overlay(const op_world *w, quern_view *grad_in) {
    if ((w->op->flags & QUERN_OP_GRAD_INPLACE) != 0 && w->grad_out[0].data != NULL &&
        grad_in[0].count == w->grad_out[0].count)
        grad_in[0].data = w->grad_out[0].data;
    if ((w->op->flags & QUERN_OP_GRAD_ON_INPUT) != 0) grad_in[0].data = w->in[0].data;
    if ((w->op->flags & QUERN_OP_GRAD_ALIKE) != 0 && grad_in[1].data != NULL &&
        grad_in[1].count == grad_in[0].count)
        grad_in[1].data = grad_in[0].data;
}

quern_status op_world_backward(op_world *w, uint32_t wanted, bool accumulate) {
    quern_view in[QUERN_INPUT_MAX], out[QUERN_OUTPUT_MAX], grad_in[QUERN_INPUT_MAX];
    quern_kernel_args args = w->args;
    show_read(w, in, out);
    for (int32_t i = 0; i < w->output_count; i++)
        if (w->grad_out[i].data != NULL) view_write(&w->grad_out[i], w->weights[i]);
    for (int32_t i = 0; i < w->input_count; i++) {
        grad_in[i] = w->grad_in[i];
        if ((wanted >> i & 1) == 0) grad_in[i].data = NULL;
        w->accumulate[i] = accumulate;
        if (!accumulate) poison_view(w, &w->grad_in[i]);
    }
    buffer_poison(w->scratch);
    const bool inplace = w->inplace && !accumulate && grad_in[0].data != NULL;
    if (inplace) gradients_overlay(w, grad_in);
    args.in = in;
    args.out = out;
    args.grad_in = grad_in;
    args.grad_out = w->grad_out;
    args.accumulate = w->accumulate;
    const quern_status status = w->session->run(w, w->kernel->backward, &args);
    for (int32_t i = 0; inplace && i < w->input_count; i++)
        if (grad_in[i].data != NULL && grad_in[i].data != w->grad_in[i].data)
            memcpy(w->grad_in[i].data, grad_in[i].data,
                   (size_t)grad_in[i].count * quern_dtype_bytes(grad_in[i].dtype));
    return status;
}
