/* plan.c - the memory plan: which buffers there are, from which step to which each lives, which
 * may share (in-place), and where each lies in one arena. Greedy by size, lowest gap that fits
 * (Pisarchyk & Lee 2020, "greedy by size for offset calculation"). */
#include "compile.h"

#include "../base/size.h"

static quern_status item_add(quern_program *p, int32_t *out, arena_item item) {
    int64_t capacity = p->item_capacity;
    *out = -1;
    if (item.bytes == 0) return QUERN_OK;
    QUERN_TRY(memory_grow(p->host, &p->items, &capacity, p->item_count, p->item_count + 1,
                          sizeof *p->items, "memory plan"));
    p->item_capacity = (int32_t)capacity;
    item.shares = -1;
    if (!size_align(item.bytes, &item.bytes))
        return quern_fail(QUERN_SHAPE, "%s %s has more bytes than fit", item.what, item.name);
    *out = p->item_count;
    p->items[p->item_count++] = item;
    return QUERN_OK;
}

static void live_until(quern_program *p, int32_t item, int32_t time) {
    if (item >= 0 && p->items[item].last < time) p->items[item].last = time;
}

static size_t view_bytes(const quern_view *view) {
    return (size_t)view->count * quern_dtype_bytes(view->dtype);
}

static bool input_place(quern_program *p, tensor_plan *t) {
    size_t bytes = 0;
    t->value = (place){PLACE_INPUT, -1, p->input_bytes};
    return size_align(view_bytes(&t->view), &bytes) &&
           size_add(p->input_bytes, bytes, &p->input_bytes);
}

/* Where the value of a root lies; arena items begin at the step that makes them. */
static quern_status value_place(quern_program *p, tensor_plan *t, int32_t first) {
    const quern_tensor *tensor = t->tensor;
    const size_t element = quern_dtype_bytes(t->view.dtype);
    switch (tensor->role) {
    case ROLE_INPUT:
        return input_place(p, t)
                   ? QUERN_OK
                   : quern_fail(QUERN_SHAPE, "input %s has more bytes than fit", tensor->name);
    case ROLE_PARAMETER:
        t->value = (place){PLACE_VALUE, -1, (size_t)tensor->offset * element};
        return QUERN_OK;
    case ROLE_BUFFER:
        t->value = (place){PLACE_BUFFER, -1, (size_t)tensor->offset * element};
        return QUERN_OK;
    case ROLE_VALUE: break;
    }
    const int32_t last = t->output ? time_end(p) : first;
    t->value.kind = PLACE_ARENA;
    return item_add(
        p, &t->value.item,
        (arena_item){"value", tensor->name, view_bytes(&t->view), 0, first, last, -1, 64});
}

/* Pending state is written where the commit expects it; evaluation does not make it. */
static void pending_place(quern_program *p) {
    for (const quern_tensor *t = p->graph->tensors; t; t = t->next) {
        if (t->role != ROLE_BUFFER || !t->pending) continue;
        tensor_plan *pending = plan_of(p, t->pending);
        const size_t offset = (size_t)t->offset * quern_dtype_bytes(t->shape.dtype);
        pending->value = (place){p->desc.training ? PLACE_PENDING : PLACE_NONE, -1, offset};
        pending->pending = true;
    }
}

static quern_status leaves_place(quern_program *p) {
    for (const quern_tensor *t = p->graph->tensors; t; t = t->next)
        if (t->role != ROLE_VALUE && (plan_of(p, t)->used || t->role != ROLE_INPUT))
            QUERN_TRY(value_place(p, plan_of(p, t), 0));
    return QUERN_OK;
}

static tensor_plan *root_of(const quern_program *p, const quern_tensor *t) {
    return &p->tensors[plan_of(p, t)->root];
}

static quern_status scratch_place(quern_program *p, int32_t index) {
    program_step *step = &p->steps[index];
    const planned_node *n = step->node;
    const size_t bytes = step->backward ? n->backward_scratch_bytes : n->forward_scratch_bytes;
    const int32_t time = time_of(p, index);
    return item_add(
        p, &step->scratch,
        (arena_item){"scratch", n->node->name, bytes, 0, time, time, -1, QUERN_SCRATCH_ALIGNMENT});
}

/* In 16 bits, where the parameter's copy lies. */
static void copy_place(quern_program *p, const planned_node *n) {
    tensor_plan *copy = plan_of(p, n->out[0]);
    const size_t element = quern_dtype_bytes(copy->view.dtype);
    copy->value = (place){PLACE_COPY, -1, (size_t)n->in[0]->offset * element};
}

static quern_status forward_live(quern_program *p, int32_t index) {
    planned_node *n = &p->nodes[0] + (p->steps[index].node - p->nodes);
    const int32_t time = time_of(p, index);
    if (n->is_copy) copy_place(p, n);
    for (int32_t o = 0; o < n->op->output_count && !n->is_copy; o++)
        if (!plan_of(p, n->out[o])->pending) QUERN_TRY(value_place(p, plan_of(p, n->out[o]), time));
    for (int32_t i = 0; i < n->input_count; i++)
        if (n->in[i]) live_until(p, root_of(p, n->in[i])->value.item, time);
    QUERN_TRY(item_add(
        p, &n->saved, (arena_item){"saved", n->node->name, n->saved_bytes, 0, time, time, -1, 64}));
    return scratch_place(p, index);
}

/* The gradient of a root begins when it is first written, or with the seed. */
static quern_status gradient_place(quern_program *p, tensor_plan *root, int32_t time) {
    const quern_tensor *t = root->tensor;
    if (root->gradient.kind != PLACE_NONE) return QUERN_OK;
    if (t->role == ROLE_PARAMETER) {
        root->gradient =
            (place){PLACE_GRADIENT, -1, (size_t)t->offset * quern_dtype_bytes(root->view.dtype)};
        return QUERN_OK;
    }
    root->gradient.kind = PLACE_ARENA;
    const bool read = t->role == ROLE_INPUT || (p->desc.output_gradients && root->output);
    const int32_t last = read ? time_end(p) : time;
    return item_add(
        p, &root->gradient.item,
        (arena_item){"gradient", t->name, view_bytes(&root->view), 0, time, last, -1, 64});
}

static quern_status backward_live(quern_program *p, int32_t index) {
    const program_step *step = &p->steps[index];
    const planned_node *n = step->node;
    const int32_t time = time_of(p, index);
    if (!n) return gradient_place(p, &p->tensors[step->fill_root], time);
    for (int32_t i = 0; i < n->input_count; i++) {
        if (!n->in[i]) continue;
        if (n->op->backward_reads & QUERN_READS_IN(i))
            live_until(p, root_of(p, n->in[i])->value.item, time);
        if (input_differentiable(n, i) && plan_of(p, n->in[i])->depends)
            QUERN_TRY(gradient_place(p, gradient_root(p, n->in[i]), time));
    }
    for (int32_t o = 0; o < n->op->output_count; o++) {
        if (n->op->backward_reads & QUERN_READS_OUT(o))
            live_until(p, root_of(p, n->out[o])->value.item, time);
        if (plan_of(p, n->out[o])->reached)
            live_until(p, root_of(p, n->out[o])->gradient.item, time);
    }
    live_until(p, n->saved, time);
    return scratch_place(p, index);
}

/* in-place: y takes over x's memory when x dies in the step that makes y. A gradient may take over
 * that of the gradient it is made from, or of the value it belongs to. */

static int32_t item_owner(const quern_program *p, int32_t item) {
    while (item >= 0 && p->items[item].shares >= 0) item = p->items[item].shares;
    return item;
}

static void share(quern_program *p, const place *x, const place *y, int32_t time) {
    const int32_t from = item_owner(p, x->item), to = y->item;
    if (x->kind != PLACE_ARENA || y->kind != PLACE_ARENA || from < 0 || to < 0) return;
    arena_item *a = &p->items[from], *b = &p->items[to];
    if (a->last != time || b->first != time || b->shares >= 0) return;
    b->shares = from;
    a->last = b->last;
}

static bool whole(const quern_program *p, const quern_tensor *t) {
    return plan_of(p, t)->view.count == root_of(p, t)->view.count && t->contiguous;
}

/* What is broadcast, or cast, has other bytes than what is made of it; its item, which counts in
 * whole lines, may have as many. */
static bool same_bytes(const quern_program *p, const quern_tensor *x, const quern_tensor *y) {
    return view_bytes(&plan_of(p, x)->view) == view_bytes(&plan_of(p, y)->view);
}

static void share_forward(quern_program *p, int32_t index) {
    const planned_node *n = p->steps[index].node;
    if (!(n->op->flags & QUERN_OP_INPLACE) || !whole(p, n->in[0]) ||
        !same_bytes(p, n->in[0], n->out[0]))
        return;
    for (int32_t i = 1; i < n->input_count; i++)
        if (n->in[i] && n->in[i] != n->in[0] && root_of(p, n->in[i]) == root_of(p, n->in[0]))
            return;
    share(p, &root_of(p, n->in[0])->value, &plan_of(p, n->out[0])->value, time_of(p, index));
}

/* Whether no other output's gradient lies where the first one's does: operands of one sum may. */
static bool lies_alone(const quern_program *p, const planned_node *n) {
    const int32_t first = item_owner(p, root_of(p, n->out[0])->gradient.item);
    for (int32_t o = 1; o < n->op->output_count; o++)
        if (plan_of(p, n->out[o])->reached &&
            item_owner(p, root_of(p, n->out[o])->gradient.item) == first)
            return false;
    return true;
}

static void share_backward(quern_program *p, int32_t index) {
    const program_step *step = &p->steps[index];
    const planned_node *n = step->node;
    const int32_t time = time_of(p, index);
    if (!n || step->accumulate[0] || !n->in[0] || !plan_of(p, n->in[0])->depends ||
        !whole(p, n->in[0]))
        return;
    for (int32_t i = 1; i < n->input_count; i++)
        if (n->in[i] && root_of(p, n->in[i]) == root_of(p, n->in[0])) return;
    const tensor_plan *in = root_of(p, n->in[0]);
    if ((n->op->flags & QUERN_OP_GRAD_INPLACE) && plan_of(p, n->out[0])->reached &&
        whole(p, n->out[0]) && same_bytes(p, n->in[0], n->out[0]) && lies_alone(p, n))
        share(p, &root_of(p, n->out[0])->gradient, &in->gradient, time);
    if (n->op->flags & QUERN_OP_GRAD_ON_INPUT) share(p, &in->value, &in->gradient, time);
}

/* When a root's gradient is written again after step `index`; never: INT32_MAX. */
static int32_t next_write(const quern_program *p, const tensor_plan *root, int32_t index) {
    for (int32_t w = root->first_writer; w >= 0; w = p->writers[w].next)
        if (p->writers[w].step > index) return time_of(p, p->writers[w].step);
    return INT32_MAX;
}

/* The operands of a sum have one gradient. It lies in one place where whoever reads it as the one's
 * has done so before anything is added to it as the other's. */
static void share_alike(quern_program *p, int32_t index) {
    const program_step *step = &p->steps[index];
    const planned_node *n = step->node;
    if (!n || !(n->op->flags & QUERN_OP_GRAD_ALIKE) || step->accumulate[0] || step->accumulate[1])
        return;
    for (int32_t i = 0; i < 2; i++)
        if (!n->in[i] || !plan_of(p, n->in[i])->depends || !whole(p, n->in[i]) ||
            !same_bytes(p, n->in[i], n->out[0]))
            return;
    const tensor_plan *a = root_of(p, n->in[0]), *b = root_of(p, n->in[1]);
    const int32_t to = a->gradient.item, from = b->gradient.item;
    if (a == b || a->gradient.kind != PLACE_ARENA || b->gradient.kind != PLACE_ARENA || to < 0 ||
        from < 0 || p->items[from].shares >= 0)
        return;
    if (p->items[from].last >= next_write(p, a, index) ||
        p->items[to].last >= next_write(p, b, index))
        return;
    arena_item *owner = &p->items[item_owner(p, to)];
    if (owner->last < p->items[from].last) owner->last = p->items[from].last;
    p->items[from].shares = item_owner(p, to);
}

/* offsets */

static bool overlap_in_time(const arena_item *a, const arena_item *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset where `item` meets no placed item that lives at the same time. */
static bool item_offset(quern_program *p, const int32_t *placed, int32_t count, arena_item *item) {
    size_t end = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int32_t i = 0; i < count; i++) {
            const arena_item *other = &p->items[placed[i]];
            if (!overlap_in_time(item, other) || item->offset >= other->offset + other->bytes ||
                item->offset + item->bytes <= other->offset)
                continue;
            if (!size_align_to(other->offset + other->bytes, item->alignment, &item->offset) ||
                !size_add(item->offset, item->bytes, &end))
                return false;
            moved = true;
        }
    }
    if (!size_add(item->offset, item->bytes, &end)) return false;
    if (end > p->arena_bytes) p->arena_bytes = end;
    return true;
}

static quern_status offsets_assign(quern_program *p) {
    int32_t *order = NULL, count = 0;
    QUERN_TRY(arena_allocate(&p->memory, &order, p->item_count, sizeof *order, "memory plan"));
    for (int32_t i = 0; i < p->item_count; i++) {
        if (p->items[i].shares >= 0) continue;
        int32_t at = count++;
        for (; at > 0 && p->items[order[at - 1]].bytes < p->items[i].bytes; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (int32_t i = 0; i < count; i++)
        if (!item_offset(p, order, i, &p->items[order[i]]))
            return quern_fail(QUERN_SHAPE, "the memory plan has more bytes than fit");
    for (int32_t i = 0; i < p->item_count; i++)
        p->items[i].offset = p->items[item_owner(p, i)].offset;
    return QUERN_OK;
}

/* The loss's gradient is written by the seed, so it must be a whole root. */
static quern_status seed_place(quern_program *p) {
    const quern_tensor *loss = p->desc.loss;
    tensor_plan *root = root_of(p, loss);
    if (root->view.count != 1)
        return quern_fail(QUERN_INVALID, "program: loss %s is a part of %s; take its sum",
                          loss->name, root->tensor->name);
    return gradient_place(p, root, time_seed(p));
}

quern_status program_place(quern_program *p) {
    pending_place(p);
    QUERN_TRY(leaves_place(p));
    for (int32_t i = 0; i < p->forward_count; i++) QUERN_TRY(forward_live(p, i));
    if (has_backward(p)) QUERN_TRY(seed_place(p));
    for (int32_t i = p->forward_count; i < p->step_count; i++) QUERN_TRY(backward_live(p, i));
    for (int32_t i = 0; i < p->forward_count; i++) share_forward(p, i);
    for (int32_t i = p->forward_count; i < p->step_count; i++) {
        share_backward(p, i);
        share_alike(p, i);
    }
    return offsets_assign(p);
}
