/* select.c - the nodes that a program needs, and what each tensor is. */
#include "compile.h"

#include "../../kernels/kernel.h"

#include <quern/op_desc.h>

#include <string.h>

/* y's strides and offset within x's root. */
static void alias_view(const planned_node *n, const tensor_plan *x, tensor_plan *y) {
    const int32_t kind = n->node->builtin;
    y->root = x->root;
    y->root_offset = x->root_offset;
    y->part_parent = x->part_parent;
    y->part_axis = x->part_axis;
    y->part_start = x->part_start;
    y->part_stop = x->part_stop;
    if (kind == QUERN_OP_ID_permute) {
        const quern_permute_desc *d = n->attributes;
        for (int32_t i = 0; i < y->view.rank; i++) y->view.stride[i] = x->view.stride[d->order[i]];
    } else if (kind == QUERN_OP_ID_slice) {
        const quern_slice_desc *d = n->attributes;
        memcpy(y->view.stride, x->view.stride, sizeof y->view.stride);
        y->root_offset += d->start * x->view.stride[d->axis];
        y->part_parent = x->part_parent == -1 ? n->in[0]->id : -2;
        y->part_axis = d->axis;
        y->part_start = d->start;
        y->part_stop = d->stop;
    }
}

void alias_resolve(quern_program *p, const planned_node *n) {
    alias_view(n, plan_of(p, n->in[0]), plan_of(p, n->out[0]));
}

quern_status tensor_resolve(quern_program *p, const quern_tensor *t) {
    tensor_plan *plan = plan_of(p, t);
    plan->tensor = t;
    plan->root = t->id;
    plan->part_parent = plan->first_writer = plan->last_writer = -1;
    const quern_status s = shape_view(&t->shape, p->desc.batch_size, &plan->view);
    return s == QUERN_OK ? s : error_prefix(s, "%s", t->name);
}

static quern_status tensors_resolve(quern_program *p) {
    for (const quern_tensor *t = p->graph->tensors; t; t = t->next) QUERN_TRY(tensor_resolve(p, t));
    return QUERN_OK;
}

static void node_fill(planned_node *out, graph_node *n, const quern_program *p) {
    *out = (planned_node){
        .node = n,
        .op = n->op,
        .kernel =
            n->builtin >= 0 ? p->backend->kernels[n->builtin] : n->op->kernels[p->backend->kind],
        .input_count = n->input_count,
        .in = n->in,
        .out = n->out,
        .attributes = n->attributes,
        .saved = -1,
    };
}

/* Marks what the targets need, walking the nodes backwards; fills p->nodes in forward order. */
static quern_status nodes_select(quern_program *p) {
    graph_node **all = NULL;
    int32_t count = 0, kept = 0;
    QUERN_TRY(arena_allocate(&p->memory, &all, p->graph->node_count, sizeof *all, "nodes"));
    QUERN_TRY(
        arena_allocate(&p->memory, &p->nodes, p->graph->node_count, sizeof *p->nodes, "nodes"));
    for (graph_node *n = p->graph->nodes; n; n = n->next) all[count++] = n;
    for (int32_t i = count - 1; i >= 0; i--) {
        bool used = false;
        for (int32_t o = 0; o < all[i]->output_count; o++) used |= plan_of(p, all[i]->out[o])->used;
        for (int32_t in = 0; used && in < all[i]->input_count; in++)
            if (all[i]->in[in]) plan_of(p, all[i]->in[in])->used = true;
        if (!used) all[i] = NULL;
    }
    for (int32_t i = 0; i < count; i++)
        if (all[i]) node_fill(&p->nodes[kept++], all[i], p);
    p->node_count = kept;
    return QUERN_OK;
}

static quern_status target_mark(quern_program *p, const quern_tensor *tensor, const char *what) {
    if (!tensor) return QUERN_OK;
    if (tensor->graph != p->graph)
        return quern_fail(QUERN_INVALID, "program: %s %s belongs to another graph", what,
                          tensor->name);
    plan_of(p, tensor)->used = plan_of(p, tensor)->output = true;
    return QUERN_OK;
}

static quern_status targets_mark(quern_program *p) {
    const quern_program_desc *d = &p->desc;
    QUERN_TRY(target_mark(p, d->loss, "loss"));
    QUERN_TRY(target_mark(p, d->loss_weight, "loss weight"));
    for (int32_t i = 0; i < d->output_count; i++) {
        if (!d->outputs[i]) return quern_fail(QUERN_INVALID, "program: output %d is NULL", (int)i);
        QUERN_TRY(target_mark(p, d->outputs[i], "output"));
    }
    const quern_tensor *scalars[] = {d->loss, d->loss_weight};
    for (int i = 0; i < 2; i++) {
        char shape[160];
        if (!scalars[i] || plan_of(p, scalars[i])->view.count == 1) continue;
        shape_text(&scalars[i]->shape, shape, sizeof shape);
        return quern_fail(QUERN_SHAPE, "program: %s %s must be one number, is %s",
                          i ? "loss weight" : "loss", scalars[i]->name, shape);
    }
    return QUERN_OK;
}

quern_status program_select(quern_program *p) {
    p->tensor_count = p->graph_tensor_count = p->graph->tensor_count;
    QUERN_TRY(arena_allocate(&p->memory, &p->tensors, p->tensor_count, sizeof *p->tensors,
                             "tensors of the program"));
    QUERN_TRY(tensors_resolve(p));
    QUERN_TRY(targets_mark(p));
    QUERN_TRY(nodes_select(p));
    for (int32_t i = 0; i < p->node_count; i++) {
        const planned_node *n = &p->nodes[i];
        if (n->op->flags & QUERN_OP_ALIAS) {
            alias_resolve(p, n);
            /* an alias that is read after forward keeps its root's memory alive */
            if (plan_of(p, n->out[0])->output)
                p->tensors[plan_of(p, n->out[0])->root].output = true;
        } else if (!n->kernel || !n->kernel->forward) {
            return quern_fail(QUERN_UNSUPPORTED, "%s (%s) has no kernel on the %s backend",
                              n->node->name, n->op->name, p->backend->name);
        }
    }
    return QUERN_OK;
}
