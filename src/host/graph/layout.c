/* layout.c - the pass that decides which images of a program have their channels innermost, and
 * inserts the copies between the two layouts.
 *
 * An image (N, C, H, W) has up to two forms in a program: itself, row-major, and a tensor of the
 * program's own beside it, with the same dimensions and other strides (kernels/layout.h). A backend
 * that computes convolutions faster with channels last says so; then each of them takes and makes
 * that form, and what stands between them follows its input, as the flags of its op's row allow:
 * CHANNELS_LAST its first input, ELEMENTWISE any of them. So a chain from a convolution to a pool
 * or to the next convolution copies nothing, an image of the input is turned once, and whatever
 * else reads a value (an alias, an op without the flags, the application) has it row-major, copied
 * when the first of them asks. Gradients need nothing here: they are those of the copies.
 *
 * Where both forms are the same memory (one channel, or one pixel) no copy is made: one is an alias
 * of the other. An output whose gradient is to be read goes through its row-major form, as in
 * precision.c. */
#include "compile.h"

#include "../../kernels/kernel.h"
#include "../../kernels/layout.h"

#include <string.h>

/* What there is of a tensor, so far. */
typedef struct forms {
    quern_tensor *last;        /* NULL: not needed yet */
    bool rows_made, last_made; /* in the steps so far */
    bool is_last;              /* its node makes it channels last */
} forms;

typedef struct assignment {
    quern_program *p;
    forms *forms; /* by tensor, the graph's and precision.c's */
    planned_node *nodes;
    int32_t node_count, capacity;
} assignment;

static bool is_image(const quern_tensor *t) { return t && t->shape.rank == 4; }

static quern_status last_tensor(assignment *a, const quern_tensor *of, quern_tensor **out) {
    QUERN_TRY(program_tensor(a->p, out, of, of->shape.dtype, "NHWC"));
    layout_channels_last(&plan_of(a->p, *out)->view);
    return QUERN_OK;
}

/* One channel, or one pixel. */
static bool is_one_memory(const quern_program *p, const quern_tensor *t) {
    const int64_t *dim = plan_of(p, t)->view.dim;
    return dim[1] == 1 || dim[2] * dim[3] == 1;
}

static quern_status copy_append(assignment *a, quern_tensor *from, quern_tensor *to) {
    quern_program *p = a->p;
    const bool alias = is_one_memory(p, from);
    QUERN_ENSURE(a->node_count < a->capacity);
    planned_node *n = &a->nodes[a->node_count++];
    QUERN_TRY(
        program_node(p, n, alias ? QUERN_OP_ID_reshape : QUERN_OP_ID_contiguous, NULL, from, to));
    if (!alias) return QUERN_OK;
    alias_resolve(p, n);
    if (plan_of(p, to)->output) p->tensors[plan_of(p, to)->root].output = true;
    return QUERN_OK;
}

/* The form asked for, made if it is not there. */
static quern_status form_get(assignment *a, quern_tensor *t, bool last, quern_tensor **out) {
    forms *f = &a->forms[t->id];
    if (last && !f->last) QUERN_TRY(last_tensor(a, t, &f->last));
    *out = last ? f->last : t;
    bool *made = last ? &f->last_made : &f->rows_made;
    if (*made) return QUERN_OK;
    *made = true;
    return copy_append(a, last ? t : f->last, *out);
}

/* nodes */

static bool same_shape(const quern_tensor *x, const quern_tensor *y) {
    return is_image(x) && is_image(y) &&
           memcmp(x->shape.dim, y->shape.dim, 4 * sizeof x->shape.dim[0]) == 0;
}

static bool prefers_last(const quern_program *p, quern_dtype dtype) {
    const bool tf32 = p->desc.precision == QUERN_PRECISION_TF32;
    return p->backend->channels_last(p->graph->device->memory, dtype, tf32);
}

static bool computes_last(const assignment *a, const planned_node *n) {
    if (n->op == graph_op(QUERN_OP_ID_conv2d)) return prefers_last(a->p, n->in[0]->shape.dtype);
    if (n->op->flags & QUERN_OP_CHANNELS_LAST)
        return is_image(n->in[0]) && a->forms[n->in[0]->id].is_last;
    bool any = false;
    if (!(n->op->flags & QUERN_OP_ELEMENTWISE)) return false;
    for (int32_t i = 0; i < n->input_count; i++) {
        if (!same_shape(n->in[i], n->out[0])) return false;
        any |= a->forms[n->in[i]->id].is_last;
    }
    return any;
}

static quern_status inputs_take(assignment *a, planned_node *n, bool last) {
    quern_tensor **in = NULL;
    const bool each = (n->op->flags & QUERN_OP_ELEMENTWISE) != 0;
    QUERN_TRY(arena_allocate(&a->p->memory, &in, n->input_count, sizeof *in, "layouts"));
    for (int32_t i = 0; i < n->input_count; i++)
        if (n->in[i]) QUERN_TRY(form_get(a, n->in[i], last && (each || i == 0), &in[i]));
    n->in = in;
    return QUERN_OK;
}

static quern_status outputs_make(assignment *a, planned_node *n, bool last) {
    quern_tensor **out = NULL;
    const int32_t count = n->op->output_count;
    QUERN_TRY(arena_allocate(&a->p->memory, &out, count, sizeof *out, "layouts"));
    for (int32_t o = 0; o < count; o++) {
        forms *f = &a->forms[n->out[o]->id];
        f->is_last = last && o == 0 && is_image(n->out[o]);
        out[o] = n->out[o];
        if (f->is_last) QUERN_TRY(last_tensor(a, n->out[o], &f->last));
        if (f->is_last) out[o] = f->last;
        *(f->is_last ? &f->last_made : &f->rows_made) = true;
    }
    n->out = out;
    return QUERN_OK;
}

static quern_status output_pass(assignment *a, quern_tensor *t) {
    forms *f = &a->forms[t->id];
    quern_tensor *rows = NULL;
    if (!f->is_last || !a->p->desc.output_gradients || !plan_of(a->p, t)->output) return QUERN_OK;
    QUERN_TRY(form_get(a, t, false, &rows));
    f->last = NULL;
    f->last_made = false;
    return QUERN_OK;
}

static quern_status node_assign(assignment *a, const planned_node *given) {
    planned_node n = *given;
    const bool last = computes_last(a, given);
    QUERN_TRY(inputs_take(a, &n, last));
    QUERN_TRY(outputs_make(a, &n, last));
    QUERN_ENSURE(a->node_count < a->capacity);
    a->nodes[a->node_count++] = n;
    if (n.op->flags & QUERN_OP_ALIAS) alias_resolve(a->p, &n); /* its root may have another now */
    for (int32_t o = 0; o < n.op->output_count; o++) QUERN_TRY(output_pass(a, given->out[o]));
    return QUERN_OK;
}

/* Two more tensors for each: an output that passes through its row-major form has two of them. */
static quern_status assignment_begin(assignment *a) {
    quern_program *p = a->p;
    const int32_t count = p->tensor_count;
    QUERN_TRY(arena_allocate(&p->memory, &a->forms, count, sizeof *a->forms, "layouts"));
    QUERN_TRY(program_grow_tensors(p, 3));
    a->capacity = p->node_count + 3 * count;
    QUERN_TRY(arena_allocate(&p->memory, &a->nodes, a->capacity, sizeof *a->nodes, "nodes"));
    for (int32_t i = 0; i < count; i++)
        a->forms[i].rows_made = p->tensors[i].tensor->role != ROLE_VALUE;
    return QUERN_OK;
}

static bool any_prefers_last(const quern_program *p) {
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].op == graph_op(QUERN_OP_ID_conv2d) &&
            prefers_last(p, p->nodes[i].in[0]->shape.dtype))
            return true;
    return false;
}

quern_status program_assign_layout(quern_program *p) {
    assignment a = {.p = p};
    quern_tensor *rows = NULL;
    if (!any_prefers_last(p)) return QUERN_OK;
    QUERN_TRY(assignment_begin(&a));
    for (int32_t i = 0; i < p->node_count; i++) QUERN_TRY(node_assign(&a, &p->nodes[i]));
    for (quern_tensor *t = p->graph->tensors; t; t = t->next)
        if (plan_of(p, t)->output) QUERN_TRY(form_get(&a, t, false, &rows));
    p->nodes = a.nodes;
    p->node_count = a.node_count;
    return QUERN_OK;
}
