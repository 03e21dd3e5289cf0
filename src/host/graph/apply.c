/* apply.c - one node: inputs checked, attributes resolved, shapes inferred, outputs made. */
#include "graph.h"

#include <quern/ops.h>

#include "../../kernels/kernel.h"
#include "../base/random.h"

#include <stdio.h>
#include <string.h>

static quern_status check_inputs(const quern_graph *graph, const quern_op *op,
                                 quern_tensor *const *in, int32_t input_count) {
    if (input_count > op->input_count || input_count < op->input_count - op->optional_count)
        return quern_fail(QUERN_INVALID, "%s: takes %d to %d inputs, not %d", op->name,
                          (int)(op->input_count - op->optional_count), (int)op->input_count,
                          (int)input_count);
    for (int32_t i = 0; i < input_count; i++) {
        if (!in[i] && (i < op->input_count - op->optional_count || op->optional_count > 1))
            return quern_fail(QUERN_INVALID, "%s: input %d is NULL", op->name, (int)i);
        if (in[i] && in[i]->graph != graph)
            return quern_fail(QUERN_INVALID, "%s: input %d (%s) belongs to another graph", op->name,
                              (int)i, in[i]->name);
    }
    return QUERN_OK;
}

/* "fc1.linear" in a scope, else the op and a number: "relu3". */
static void node_name(quern_graph *graph, const quern_op *op, char *out, size_t bytes) {
    char name[512];
    if (graph->scope[0])
        snprintf(name, sizeof name, "%s.%s", graph->scope, op->name);
    else
        snprintf(name, sizeof name, "%s%d", op->name, (int)graph->node_count);
    snprintf(out, bytes, "%s", name);
    for (int32_t n = 2; quern_tensor_find(graph, out); n++)
        snprintf(out, bytes, "%s_%d", name, (int)n);
}

static quern_status infer(const quern_graph *graph, graph_node *node, quern_shape *out) {
    quern_shape in[QUERN_INPUT_MAX];
    for (int32_t i = 0; i < node->input_count; i++)
        in[i] = node->in[i] ? node->in[i]->shape : (quern_shape){.rank = -1};
    const quern_shape_args args = {graph->dtype, node->attributes, node->input_count, in, out};
    const quern_status s = node->op->shape(&args);
    if (s != QUERN_OK) return error_prefix(s, "%s", node->op->name);
    for (int32_t i = 0; i < node->output_count; i++) /* a custom op's rule is the application's */
        if (out[i].rank < 0 || out[i].rank > QUERN_RANK_MAX ||
            (uint32_t)out[i].dtype >= QUERN_DTYPE_COUNT)
            return quern_fail(QUERN_INVALID, "%s: its shape rule gives output %d rank %d, dtype %d",
                              node->op->name, (int)i, (int)out[i].rank, (int)out[i].dtype);
    return QUERN_OK;
}

/* Whether an alias of a contiguous tensor is contiguous itself. */
static bool alias_contiguous(const graph_node *node) {
    const quern_shape *x = &node->in[0]->shape;
    if (!node->in[0]->contiguous) return false;
    if (node->builtin == QUERN_OP_ID_permute) {
        const quern_permute_desc *d = node->attributes;
        for (int32_t i = 0; i < x->rank; i++)
            if (d->order[i] != i) return false;
    } else if (node->builtin == QUERN_OP_ID_slice) {
        const quern_slice_desc *d = node->attributes;
        if (d->start == 0 && d->stop == x->dim[d->axis]) return true;
        for (int32_t i = 0; i < d->axis; i++)
            if (x->dim[i] != 1) return false;
    }
    return true;
}

static quern_status node_build(quern_graph *graph, graph_node **out, const quern_op *op,
                               int32_t builtin, quern_tensor *const *in, int32_t input_count,
                               const void *desc) {
    graph_node *node = NULL;
    char name[600];
    QUERN_TRY(check_inputs(graph, op, in, input_count));
    QUERN_TRY(arena_allocate(&graph->memory, &node, 1, sizeof *node, "node"));
    QUERN_TRY(arena_allocate(&graph->memory, &node->in, input_count, sizeof(quern_tensor *),
                             "node inputs"));
    QUERN_TRY(arena_allocate(&graph->memory, &node->attributes, 1,
                             op->attribute_bytes ? op->attribute_bytes : 1, "attributes"));
    if (desc && op->attribute_bytes) memcpy(node->attributes, desc, op->attribute_bytes);
    node_name(graph, op, name, sizeof name);
    QUERN_TRY(arena_copy_string(&graph->memory, &node->name, name));
    node->op = op;
    node->builtin = builtin;
    node->id = graph->node_count;
    node->purpose = RANDOM_NODE_FIRST + (uint32_t)node->id;
    node->input_count = input_count;
    node->output_count = op->output_count;
    if (input_count > 0) memcpy(node->in, in, (size_t)input_count * sizeof *in);
    quern_shape shapes[QUERN_OUTPUT_MAX] = {{0}};
    QUERN_TRY(infer(graph, node, shapes));
    for (int32_t i = 0; i < op->output_count; i++) {
        if (i > 0) snprintf(name, sizeof name, "%s:%d", node->name, (int)i);
        node->out[i] = graph_value(graph, name, &shapes[i]);
        if (!node->out[i]) return graph_status(graph);
        node->out[i]->producer = node;
        node->out[i]->output = i;
    }
    if (op->flags & QUERN_OP_ALIAS) node->out[0]->contiguous = alias_contiguous(node);
    *graph->nodes_end = node;
    graph->nodes_end = &node->next;
    graph->node_count++;
    *out = node;
    return QUERN_OK;
}

/* Row-major copies of inputs that an op cannot read as they lie. */
static bool make_contiguous(quern_graph *graph, const quern_op *op, quern_tensor **in,
                            int32_t input_count) {
    if (op->flags & QUERN_OP_STRIDED) return true;
    for (int32_t i = 0; i < input_count; i++)
        if (in[i] && !in[i]->contiguous && !(in[i] = quern_contiguous(graph, in[i]))) return false;
    return true;
}

/* A buffer has one next value: two nodes that both renew it would lose the first one's. */
static void attach_pending(quern_graph *graph, quern_tensor *buffer, quern_tensor *next) {
    if (buffer->role != ROLE_BUFFER) return;
    if (buffer->pending)
        graph_stick(
            graph, quern_fail(QUERN_INVALID, "%s: %s already holds the running statistics of %s",
                              next->producer->name, buffer->name, buffer->pending->producer->name));
    else
        buffer->pending = next;
}

/* What belongs to some ops beside their outputs: a loss has a weight, and the running statistics
 * of a batch norm have values that replace them after the update. */
static void attach(quern_graph *graph, graph_node *node) {
    quern_tensor *y = node->out[0];
    const quern_softmax_cross_entropy_desc *d = node->attributes;
    switch (node->builtin) {
    case QUERN_OP_ID_softmax_cross_entropy:
        y->weight = quern_valid_count(
            graph, node->in[1],
            &(quern_valid_count_desc){.ignore = d->ignore, .ignore_index = d->ignore_index});
        break;
    case QUERN_OP_ID_binary_cross_entropy_with_logits:
    case QUERN_OP_ID_mse:
    case QUERN_OP_ID_l1:
    case QUERN_OP_ID_huber:
        y->weight = quern_element_count(graph, node->in[1]); /* does not need the prediction */
        break;
    case QUERN_OP_ID_batch_norm:
        for (int32_t i = 0; i < 2; i++) attach_pending(graph, node->in[3 + i], node->out[1 + i]);
        break;
    default: break;
    }
}

static graph_node *node_add(quern_graph *graph, const quern_op *op, int32_t builtin,
                            quern_tensor *const *in, int32_t input_count, const void *desc) {
    if (!graph || graph->status != QUERN_OK) return NULL;
    quern_tensor *inputs[QUERN_INPUT_MAX];
    if (input_count < 0 || input_count > QUERN_INPUT_MAX || (input_count > 0 && !in)) {
        graph_stick(graph, quern_fail(QUERN_INVALID, "%s: %d inputs%s, at most %d", op->name,
                                      (int)input_count, in ? "" : " in an array that is NULL",
                                      QUERN_INPUT_MAX));
        return NULL;
    }
    if (input_count > 0) memcpy(inputs, in, (size_t)input_count * sizeof *in);
    if (!make_contiguous(graph, op, inputs, input_count)) return NULL;
    graph_node *node = NULL;
    const quern_status s = node_build(graph, &node, op, builtin, inputs, input_count, desc);
    if (s != QUERN_OK) {
        graph_stick(graph, s);
        return NULL;
    }
    return node;
}

quern_tensor *graph_apply(quern_graph *graph, int32_t builtin, quern_tensor *const *in,
                          int32_t input_count, const void *desc) {
    graph_node *node = node_add(graph, graph_op(builtin), builtin, in, input_count, desc);
    if (!node) return NULL;
    attach(graph, node);
    return graph->status == QUERN_OK ? node->out[0] : NULL;
}

static bool custom_usable(const quern_op *op) {
    const bool of_first = (op->flags & (QUERN_OP_INPLACE | QUERN_OP_GRAD_INPLACE |
                                        QUERN_OP_GRAD_ON_INPUT | QUERN_OP_CHANNELS_LAST)) != 0;
    return op->name && op->shape && op->output_count >= 1 && op->output_count <= QUERN_OUTPUT_MAX &&
           !(op->flags & (QUERN_OP_ALIAS | QUERN_OP_FUSED)) &&
           !(of_first && op->input_count - op->optional_count < 1) &&
           !((op->flags & QUERN_OP_GRAD_ALIKE) && op->input_count - op->optional_count < 2);
}

quern_tensor *quern_custom(quern_graph *graph, const quern_op *op, quern_tensor *const *in,
                           int32_t input_count, const void *attributes, quern_tensor **out) {
    const bool usable = op && custom_usable(op);
    if (!usable && graph && graph->status == QUERN_OK)
        graph_stick(graph, quern_fail(QUERN_INVALID,
                                      "custom op: name, shape rule, 1 to %d outputs and, to work "
                                      "in place or CHANNELS_LAST, a first input are needed, two "
                                      "for GRAD_ALIKE",
                                      QUERN_OUTPUT_MAX));
    graph_node *node = usable ? node_add(graph, op, -1, in, input_count, attributes) : NULL;
    for (int32_t i = 0; out && op && i < op->output_count && i < QUERN_OUTPUT_MAX; i++)
        out[i] = node ? node->out[i] : NULL;
    return node ? node->out[0] : NULL;
}
