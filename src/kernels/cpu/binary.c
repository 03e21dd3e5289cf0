#include "binary.h"
#include "cpu.h"
#include "real.h"

enum { BLOCK = 256 }; /* terms held on the stack */

/* The walk that makes an input's gradient: target, gy, a, b, y. */
static walk gradient_walk(const quern_kernel_args *args, const quern_view *target) {
    const quern_view *g = &args->grad_out[0], *a = &args->in[0], *b = &args->in[1];
    walk w;
    walk_begin(&w, g);
    walk_add(&w, target);
    walk_add(&w, g);
    walk_add(&w, a->data != NULL ? a : g);
    walk_add(&w, b->data != NULL ? b : g);
    walk_add(&w, args->out[0].data != NULL ? &args->out[0] : g);
    walk_close(&w);
    return w;
}

quern_status binary_plan(quern_kernel_plan *plan) {
    const quern_kernel_args *args = plan->args;
    QUERN_TRY(real_check(args));
    const int64_t count = args->out[0].count;
    if (plan->backward && (args->in[0].count != count || args->in[1].count != count))
        plan->backward_scratch_bytes = reduce_scratch_bytes(count);
    return QUERN_OK;
}

void binary_forward(const quern_kernel_args *args, const binary_op *op) {
    walk w;
    walk_begin(&w, &args->out[0]);
    walk_add(&w, &args->out[0]);
    walk_add(&w, &args->in[0]);
    walk_add(&w, &args->in[1]);
    walk_close(&w);
    walk_run(&w, args->stream, op->forward[args->out[0].dtype == QUERN_F32 ? 0 : 1]);
}

typedef struct term_work {
    const walk *walk;
    walk_function term;
    quern_dtype dtype;
} term_work;

/* Adds the terms of a gradient that was not broadcast: they fit its own shape one to one. */
static void add_chunk(void *context, int64_t chunk) {
    const term_work *work = context;
    const walk *w = work->walk;
    const cpu_range range = cpu_parallel_range(chunk, w->axes.count);
    walk_cursor cursor = {.rank = w->axes.rank, .axis = {0, 1, 2, 3, 4, 5, 6, 7}};
    const int64_t length = w->axes.dim[w->axes.rank - 1];
    double buffer[BLOCK];
    for (int64_t i = range.start; i < range.end;) {
        walk_row row = {.count = cpu_min(cpu_min(BLOCK, length - i % length), range.end - i)};
        walk_seek(w, &cursor, i);
        for (int32_t o = 1; o < w->axes.operand_count; o++) {
            row.data[o] = w->data[o] + cursor.offset[o] * (int64_t)w->bytes[o];
            row.stride[o] = w->axes.stride[o][w->axes.rank - 1];
        }
        row.data[0] = buffer;
        work->term(&row);
        row_add(work->dtype, w->data[0] + i * (int64_t)w->bytes[0], buffer, row.count);
        i += row.count;
    }
}

/* Whether the gradient is one that lies there already; an empty buffer's address is anybody's. */
static bool is_there(const quern_kernel_args *args, const binary_op *op, int32_t input) {
    const void *to = args->grad_in[input].data;
    if (!op->passes[input] || args->accumulate[input] ||
        args->grad_in[input].count != args->grad_out[0].count)
        return false;
    return to == args->grad_out[0].data ||
           (input == 1 && op->passes[0] && to == args->grad_in[0].data);
}

static void input_backward(const quern_kernel_args *args, const binary_op *op, int32_t input) {
    const quern_view *target = &args->grad_in[input];
    if (target->data == NULL || is_there(args, op, input)) return;
    const walk w = gradient_walk(args, target);
    const walk_function term = op->gradient[input][target->dtype == QUERN_F32 ? 0 : 1];
    if (target->count != w.axes.count) {
        reduce_run(&w, args->stream,
                   &(reduce_job){.dtype = target->dtype,
                                 .term = term,
                                 .fold = REDUCE_SUM,
                                 .scale = 1.0,
                                 .accumulate = args->accumulate[input],
                                 .scratch = args->scratch});
    } else if (args->accumulate[input]) {
        term_work work = {&w, term, target->dtype};
        cpu_parallel(args->stream, w.axes.count, add_chunk, &work);
    } else {
        walk_run(&w, args->stream, term);
    }
}

void binary_backward(const quern_kernel_args *args, const binary_op *op) {
    /* Where ga may overwrite gy (add, sub), ga is gy: gb still finds it. */
    input_backward(args, op, 0);
    input_backward(args, op, 1);
}
