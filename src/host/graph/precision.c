/* precision.c - the pass that decides which values of a program are 16 bits, and inserts the casts.
 *
 * A graph's tensor has up to two forms in a program: itself, F32, and a tensor of the program's own
 * beside it, in BF16 or F16. A node makes one of them, as its op's row says (precision.h), and the
 * other is made when somebody asks for it: by a cast, or, of an alias, by the alias again over the
 * other form of what it looks into. The 16-bit form of a parameter is the copy that lies beside it,
 * whose cast has only a backward pass. Gradients need nothing here: they are those of the casts.
 *
 * An output whose gradient is to be read goes through F32 and back, which changes no value: then
 * its gradient is there, in F32, whole. */
#include "compile.h"

#include "../../kernels/half_bits.h"
#include "../../kernels/kernel.h"

#include <quern/op_desc.h>

/* What there is of a tensor, so far. */
typedef struct forms {
    quern_tensor *half;        /* NULL: not needed yet */
    bool wide_made, half_made; /* in the steps so far */
    bool is_half;              /* its node makes it in 16 bits */
    const planned_node *alias; /* its node, which makes it in either form */
} forms;

typedef struct assignment {
    quern_program *p;
    quern_dtype dtype; /* BF16 or F16 */
    forms *forms;      /* by the graph's tensors */
    planned_node *nodes;
    int32_t node_count, capacity;
} assignment;

const char *quern_precision_name(quern_precision precision) {
#define X(constant, name, dtype) name,
    static const char *const names[] = {QUERN_PRECISION_LIST(X)};
#undef X
    return (unsigned)precision < QUERN_PRECISION_COUNT ? names[precision] : "unknown";
}

quern_dtype precision_dtype(quern_precision precision) {
#define X(constant, name, dtype) dtype,
    static const quern_dtype dtypes[] = {QUERN_PRECISION_LIST(X)};
#undef X
    return dtypes[precision];
}

quern_status precision_check(quern_precision precision, const quern_graph *graph) {
    if ((unsigned)precision >= QUERN_PRECISION_COUNT)
        return quern_fail(QUERN_INVALID, "precision %d is none of f32, tf32, bf16 and f16",
                          (int)precision);
    if (precision == QUERN_PRECISION_F32 || graph->dtype == QUERN_F32) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "precision is %s, but the graph is %s: only an F32 graph can "
                      "be computed with fewer bits",
                      quern_precision_name(precision), quern_dtype_name(graph->dtype));
}

static quern_status half_tensor(assignment *a, const quern_tensor *of, quern_tensor **out) {
    return program_tensor(a->p, out, of, a->dtype, quern_dtype_name(a->dtype));
}

static quern_status cast_append(assignment *a, quern_tensor *from, quern_tensor *to) {
    quern_cast_desc *desc = NULL;
    QUERN_ENSURE(a->node_count < a->capacity);
    QUERN_TRY(arena_allocate(&a->p->memory, &desc, 1, sizeof *desc, "cast"));
    desc->dtype = to->shape.dtype;
    planned_node *n = &a->nodes[a->node_count++];
    QUERN_TRY(program_node(a->p, n, QUERN_OP_ID_cast, desc, from, to));
    n->is_copy = from->role == ROLE_PARAMETER;
    return QUERN_OK;
}

static quern_status alias_append(assignment *a, const planned_node *alias, quern_tensor *from,
                                 quern_tensor *to) {
    QUERN_ENSURE(a->node_count < a->capacity);
    planned_node *n = &a->nodes[a->node_count++];
    *n = *alias;
    QUERN_TRY(program_list(a->p, &n->in, from));
    QUERN_TRY(program_list(a->p, &n->out, to));
    alias_resolve(a->p, n);
    return QUERN_OK;
}

/* The form asked for, made if it is not there. */
static quern_status form_get(assignment *a, quern_tensor *t, bool half, quern_tensor **out) {
    forms *f = &a->forms[t->id];
    if (half && !f->half) QUERN_TRY(half_tensor(a, t, &f->half));
    *out = half ? f->half : t;
    bool *made = half ? &f->half_made : &f->wide_made;
    if (*made) return QUERN_OK;
    *made = true;
    if (!f->alias) return cast_append(a, half ? t : f->half, *out);
    quern_tensor *from = NULL;
    QUERN_TRY(form_get(a, f->alias->in[0], half, &from));
    return alias_append(a, f->alias, from, *out);
}

/* nodes */

static bool is_wide_type(const quern_tensor *t) { return t->shape.dtype == QUERN_F32; }

/* A parameter is there in both forms, and so is every alias of it. */
static bool is_both(const assignment *a, const quern_tensor *t) {
    while (a->forms[t->id].alias) t = a->forms[t->id].alias->in[0];
    return t->role == ROLE_PARAMETER;
}

/* What is there in both forms decides nothing. */
static bool follows(const assignment *a, const planned_node *n) {
    bool any = false;
    for (int32_t i = 0; i < n->input_count; i++) {
        const quern_tensor *t = n->in[i];
        if (!t || !is_wide_type(t) || is_both(a, t)) continue;
        if (i > 0 && (n->op->flags & QUERN_OP_FIRST)) break;
        if (!a->forms[t->id].is_half) return false;
        any = true;
    }
    return any;
}

static bool computes_half(const assignment *a, const planned_node *n) {
    if (n->op->flags & QUERN_OP_HALF) return true;
    return (n->op->flags & QUERN_OP_FOLLOWS) && follows(a, n);
}

static quern_status inputs_take(assignment *a, planned_node *n, bool half) {
    quern_tensor **in = NULL;
    const bool first = (n->op->flags & QUERN_OP_FIRST) != 0;
    QUERN_TRY(arena_allocate(&a->p->memory, &in, n->input_count, sizeof *in, "16-bit values"));
    for (int32_t i = 0; i < n->input_count; i++)
        if (n->in[i])
            QUERN_TRY(
                form_get(a, n->in[i], half && is_wide_type(n->in[i]) && !(first && i > 0), &in[i]));
    n->in = in;
    return QUERN_OK;
}

static quern_status outputs_make(assignment *a, planned_node *n, bool half) {
    quern_tensor **out = NULL;
    const int32_t count = n->op->output_count;
    const bool first = (n->op->flags & QUERN_OP_FIRST) != 0;
    if (n->op->flags & QUERN_OP_WIDE_OUT) half = false;
    QUERN_TRY(arena_allocate(&a->p->memory, &out, count, sizeof *out, "16-bit values"));
    for (int32_t o = 0; o < count; o++) {
        forms *f = &a->forms[n->out[o]->id];
        f->is_half = half && is_wide_type(n->out[o]) && !(first && o > 0);
        out[o] = n->out[o];
        if (f->is_half) {
            QUERN_TRY(half_tensor(a, n->out[o], &f->half));
            out[o] = f->half;
            f->half_made = true;
        } else {
            f->wide_made = true;
        }
    }
    n->out = out;
    return QUERN_OK;
}

static quern_status output_pass(assignment *a, quern_tensor *t) {
    forms *f = &a->forms[t->id];
    quern_tensor *wide = NULL;
    if (!f->is_half || !a->p->desc.output_gradients || !plan_of(a->p, t)->output) return QUERN_OK;
    QUERN_TRY(form_get(a, t, false, &wide));
    f->half = NULL;
    f->half_made = false;
    return QUERN_OK;
}

static quern_status node_assign(assignment *a, const planned_node *given) {
    planned_node n = *given;
    if (n.op->flags & QUERN_OP_ALIAS) {
        forms *f = &a->forms[n.out[0]->id];
        f->alias = given;
        f->is_half = a->forms[n.in[0]->id].is_half;
        return QUERN_OK;
    }
    const bool half = computes_half(a, given);
    QUERN_TRY(inputs_take(a, &n, half));
    QUERN_TRY(outputs_make(a, &n, half));
    QUERN_ENSURE(a->node_count < a->capacity);
    a->nodes[a->node_count++] = n;
    for (int32_t o = 0; o < n.op->output_count; o++) QUERN_TRY(output_pass(a, given->out[o]));
    return QUERN_OK;
}

/* Two more tensors for each of the graph's: an output that passes through F32 has two of them. */
static quern_status assignment_begin(assignment *a) {
    quern_program *p = a->p;
    QUERN_TRY(arena_allocate(&p->memory, &a->forms, p->tensor_count, sizeof *a->forms, "forms"));
    QUERN_TRY(program_grow_tensors(p, 3));
    a->capacity = p->node_count + 3 * p->tensor_count;
    QUERN_TRY(arena_allocate(&p->memory, &a->nodes, a->capacity, sizeof *a->nodes, "nodes"));
    for (const quern_tensor *t = p->graph->tensors; t; t = t->next)
        a->forms[t->id].wide_made = t->role != ROLE_VALUE;
    return QUERN_OK;
}

quern_status program_assign_precision(quern_program *p) {
    assignment a = {.p = p, .dtype = precision_dtype(p->desc.precision)};
    quern_tensor *wide = NULL;
    if (!half_is(a.dtype)) return QUERN_OK;
    QUERN_TRY(assignment_begin(&a));
    for (int32_t i = 0; i < p->node_count; i++) QUERN_TRY(node_assign(&a, &p->nodes[i]));
    for (quern_tensor *t = p->graph->tensors; t; t = t->next)
        if (plan_of(p, t)->output) QUERN_TRY(form_get(&a, t, false, &wide));
    p->nodes = a.nodes;
    p->node_count = a.node_count;
    return QUERN_OK;
}
