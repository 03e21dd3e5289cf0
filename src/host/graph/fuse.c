/* fuse.c - neighbouring nodes become one, where a row of the table below matches: the second node
 * reads the first's output as its first input, and nobody else reads it; or others may, because the
 * fused node has it as its first output, and they stand behind it. The fused node has the first's
 * inputs, then the second's others; at most one of the two has attributes. It stands where the
 * second stood: what else that reads is there.
 *
 * Rows are applied one after another, each to all nodes: an activation joins the layer before it
 * before two layers become one. Fused and unfused give the same answer; a test says so. */
#include "compile.h"

#include "../../kernels/kernel.h"

typedef struct fusion {
    int32_t first, second, fused;
    bool keeps; /* the first's output: a sum, of which only whole operands are added so */
} fusion;

static const fusion fusions[] = {
    {QUERN_OP_ID_linear, QUERN_OP_ID_relu, QUERN_OP_ID_linear_relu, false},
    {QUERN_OP_ID_linear, QUERN_OP_ID_gelu, QUERN_OP_ID_linear_gelu, false},
    {QUERN_OP_ID_linear_relu, QUERN_OP_ID_linear, QUERN_OP_ID_linear_relu_linear, false},
    {QUERN_OP_ID_linear_gelu, QUERN_OP_ID_linear, QUERN_OP_ID_linear_gelu_linear, false},
    {QUERN_OP_ID_add, QUERN_OP_ID_layer_norm, QUERN_OP_ID_add_layer_norm, true},
};

static int32_t consumer_count(const quern_program *p, const quern_tensor *t) {
    int32_t count = plan_of(p, t)->output ? 1 : 0;
    for (int32_t i = 0; i < p->node_count; i++)
        for (int32_t k = 0; p->nodes[i].op && k < p->nodes[i].input_count; k++)
            count += p->nodes[i].in[k] == t;
    return count;
}

static planned_node *producer_of(quern_program *p, const quern_tensor *t) {
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].op && p->nodes[i].out[0] == t) return &p->nodes[i];
    return NULL;
}

static quern_status inputs_join(quern_program *p, planned_node *fused, const planned_node *second) {
    quern_tensor **in = NULL;
    const int32_t count = fused->input_count + second->input_count - 1;
    QUERN_ENSURE(count <= QUERN_INPUT_MAX);
    QUERN_TRY(arena_allocate(&p->memory, &in, count, sizeof *in, "fused inputs"));
    for (int32_t i = 0; i < count; i++)
        in[i] = i < fused->input_count ? fused->in[i] : second->in[i - fused->input_count + 1];
    fused->in = in;
    fused->input_count = count;
    return QUERN_OK;
}

static bool same_dims(const quern_tensor *a, const quern_tensor *b) {
    bool same = a->shape.rank == b->shape.rank;
    for (int32_t i = 0; same && i < a->shape.rank; i++) same = a->shape.dim[i] == b->shape.dim[i];
    return same;
}

static int32_t root_of(const quern_program *p, const quern_tensor *t) {
    return t ? plan_of(p, t)->root : -1;
}

/* Whether no operand's gradient is one that the other's, or the norm's weight's, is added to: the
 * operands' are made in one go. */
static bool apart(const quern_program *p, const planned_node *first, const planned_node *second) {
    const int32_t a = root_of(p, first->in[0]), b = root_of(p, first->in[1]);
    for (int32_t k = 1; k < second->input_count; k++)
        if (root_of(p, second->in[k]) == a || root_of(p, second->in[k]) == b) return false;
    return a != b;
}

/* Whether the sum that `first` makes can be made where `second` stands, and no one is to read its
 * gradient: what the norm adds to that goes to the operands at once. */
static bool can_keep(const quern_program *p, const planned_node *first,
                     const planned_node *second) {
    const quern_tensor *sum = first->out[0];
    if (p->desc.output_gradients && plan_of(p, sum)->output) return false;
    for (const planned_node *n = first + 1; n <= second; n++)
        for (int32_t k = n == second; n->op && k < n->input_count; k++)
            if (n->in[k] == sum) return false;
    return same_dims(first->in[0], sum) && same_dims(first->in[1], sum) && apart(p, first, second);
}

static quern_status outputs_join(quern_program *p, planned_node *fused, quern_tensor *y) {
    quern_tensor **out = NULL;
    QUERN_TRY(arena_allocate(&p->memory, &out, 2, sizeof *out, "fused outputs"));
    out[0] = fused->out[0];
    out[1] = y;
    fused->out = out;
    return QUERN_OK;
}

static quern_status fuse_into(quern_program *p, const fusion *row, planned_node *second) {
    if (second->op != graph_op(row->second) || !second->in[0]) return QUERN_OK;
    planned_node *first = producer_of(p, second->in[0]);
    if (!first || first->op != graph_op(row->first) ||
        !(row->keeps ? can_keep(p, first, second) : consumer_count(p, first->out[0]) == 1))
        return QUERN_OK;
    planned_node fused = *first;
    QUERN_TRY(inputs_join(p, &fused, second));
    fused.op = graph_op(row->fused);
    fused.kernel = p->backend->kernels[row->fused];
    if (row->keeps) {
        QUERN_TRY(outputs_join(p, &fused, second->out[0]));
        fused.of_first = first->input_count;
    } else {
        plan_of(p, first->out[0])->used = false;
        fused.out = second->out;
    }
    if (second->op->attribute_bytes > 0) fused.attributes = second->attributes;
    first->op = NULL; /* gone */
    *second = fused;
    return QUERN_OK;
}

quern_status program_fuse(quern_program *p) {
    int32_t kept = 0;
    for (size_t row = 0; row < sizeof fusions / sizeof *fusions; row++)
        for (int32_t i = 0; i < p->node_count; i++)
            if (p->nodes[i].op) QUERN_TRY(fuse_into(p, &fusions[row], &p->nodes[i]));
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].op) p->nodes[kept++] = p->nodes[i];
    p->node_count = kept;
    return QUERN_OK;
}
