/* autodiff.c - reverse-mode differentiation of the selected nodes.
 *
 * A gradient of an alias is a view of its root's gradient, so only roots have memory. Nothing is
 * cleared before it is written: the first writer of a root's gradient overwrites, the later ones
 * add. Slices of one tensor that are disjoint and together cover it each overwrite their own part
 * (packed projections need no concatenation). Where neither holds, a fill with zeros comes first
 * and everybody adds.
 *
 * Where all that read a parameter's 16-bit copy can write an F32 gradient (GRAD_WIDE), the copy's
 * gradient is the parameter's: nothing of it is rounded to 16 bits and no cast adds it. */
#include "compile.h"

/* Forward: what depends on a tensor that wants a gradient. */
static void depends_mark(quern_program *p) {
    for (const quern_tensor *t = p->graph->tensors; t; t = t->next)
        plan_of(p, t)->depends = t->wants_gradient;
    for (int32_t i = 0; i < p->node_count; i++) {
        const planned_node *n = &p->nodes[i];
        bool depends = false, first = false;
        for (int32_t k = 0; k < n->input_count; k++) {
            depends |= input_differentiable(n, k) && plan_of(p, n->in[k])->depends;
            if (k < n->of_first) first = depends;
        }
        for (int32_t o = 0; o < n->op->output_count; o++)
            plan_of(p, n->out[o])->depends |= o == 0 && n->of_first > 0 ? first : depends;
    }
}

static bool takes_wide(const quern_program *p, const quern_tensor *copy) {
    for (int32_t i = 0; i < p->node_count; i++)
        for (int32_t k = 0; k < p->nodes[i].input_count; k++)
            if (p->nodes[i].in[k] == copy && !(p->nodes[i].op->flags & QUERN_OP_GRAD_WIDE))
                return false;
    return true;
}

static void copies_pass(quern_program *p) {
    for (int32_t i = 0; i < p->node_count; i++) {
        const planned_node *n = &p->nodes[i];
        if (n->is_copy && takes_wide(p, n->out[0])) plan_of(p, n->out[0])->gradient_of = n->in[0];
    }
}

static bool node_reached(const quern_program *p, const planned_node *n) {
    bool reached = false;
    for (int32_t o = 0; o < n->op->output_count; o++) reached |= plan_of(p, n->out[o])->reached;
    return reached;
}

static bool gradient_wanted(const quern_program *p, const planned_node *n, int32_t i) {
    return input_differentiable(n, i) && plan_of(p, n->in[i])->depends;
}

/* Backward: what the loss's gradient flows to. */
static quern_status reached_mark(quern_program *p) {
    const quern_tensor *loss = p->desc.loss;
    if (!plan_of(p, loss)->depends)
        return quern_fail(QUERN_INVALID, "program: loss %s depends on no trainable parameter",
                          loss->name);
    plan_of(p, loss)->reached = true;
    for (int32_t i = p->node_count - 1; i >= 0; i--) {
        planned_node *n = &p->nodes[i];
        const bool alias = (n->op->flags & QUERN_OP_ALIAS) != 0;
        if (!node_reached(p, n)) continue;
        if (!alias && ((n->op->flags & QUERN_OP_NO_GRADIENT) || !n->kernel->backward))
            return quern_fail(QUERN_UNSUPPORTED,
                              "no gradient flows back through %s (op %s) on the %s backend, but "
                              "loss %s needs one",
                              n->out[0]->name, n->op->name, p->backend->name, loss->name);
        n->backward = !alias && !plan_of(p, n->out[0])->gradient_of;
        for (int32_t k = 0; k < n->input_count; k++)
            if (gradient_wanted(p, n, k)) plan_of(p, n->in[k])->reached = true;
    }
    return QUERN_OK;
}

static void writer_add(quern_program *p, int32_t step, int32_t input, const quern_tensor *tensor) {
    tensor_plan *root = gradient_root(p, tensor);
    const int32_t index = p->writer_count++;
    p->writers[index] = (gradient_writer){step, input, tensor, -1};
    if (root->first_writer < 0)
        root->first_writer = index;
    else
        p->writers[root->last_writer].next = index;
    root->last_writer = index;
}

static quern_status steps_append(quern_program *p) {
    int32_t most = 0;
    for (int32_t i = 0; i < p->node_count; i++) most += p->nodes[i].input_count;
    QUERN_TRY(arena_allocate(&p->memory, &p->writers, most, sizeof *p->writers, "writers"));
    for (int32_t i = p->node_count - 1; i >= 0; i--) {
        planned_node *n = &p->nodes[i];
        if (!n->backward) continue;
        for (int32_t k = 0; k < n->input_count; k++)
            if (gradient_wanted(p, n, k)) writer_add(p, p->step_count, k, n->in[k]);
        QUERN_TRY(step_append(p, n, true));
    }
    return QUERN_OK;
}

static bool same_part(const tensor_plan *a, const tensor_plan *b) {
    return a->part_parent == b->part_parent && a->part_start == b->part_start &&
           a->part_stop == b->part_stop;
}

/* Whether the writers before the first one that covers the whole root are disjoint (or equal)
 * slices of one tensor along one axis that together cover it. */
static bool parts_cover(const quern_program *p, const tensor_plan *root) {
    const tensor_plan *first = plan_of(p, p->writers[root->first_writer].tensor);
    if (first->part_parent < 0) return false;
    int64_t covered = 0;
    for (int32_t w = root->first_writer; w >= 0; w = p->writers[w].next) {
        const tensor_plan *a = plan_of(p, p->writers[w].tensor);
        bool seen = false;
        if (a->part_parent == -1) break;
        if (a->part_parent != first->part_parent || a->part_axis != first->part_axis) return false;
        for (int32_t v = root->first_writer; v != w; v = p->writers[v].next) {
            const tensor_plan *b = plan_of(p, p->writers[v].tensor);
            const bool apart = a->part_stop <= b->part_start || b->part_stop <= a->part_start;
            seen |= same_part(a, b);
            if (!apart && !same_part(a, b)) return false;
        }
        if (!seen) covered += a->part_stop - a->part_start;
    }
    return covered == p->tensors[first->part_parent].view.dim[first->part_axis];
}

/* Writer w adds when somebody before it has written the same memory. */
static bool writer_follows(const quern_program *p, const tensor_plan *root, int32_t w) {
    const tensor_plan *a = plan_of(p, p->writers[w].tensor);
    for (int32_t v = root->first_writer; v != w; v = p->writers[v].next)
        if (a->part_parent == -1 || plan_of(p, p->writers[v].tensor)->part_parent == -1 ||
            same_part(a, plan_of(p, p->writers[v].tensor)))
            return true;
    return false;
}

/* Decides who overwrites and who adds; true when a fill must come first. */
static bool writers_decide(quern_program *p, const tensor_plan *root) {
    if (root->first_writer < 0) return true;
    const tensor_plan *first = plan_of(p, p->writers[root->first_writer].tensor);
    const bool fill = first->part_parent != -1 && !parts_cover(p, root);
    const bool parameter = root->tensor->role == ROLE_PARAMETER;
    for (int32_t w = root->first_writer; w >= 0; w = p->writers[w].next) {
        program_step *step = &p->steps[p->writers[w].step];
        const int32_t k = p->writers[w].input;
        step->accumulate[k] = fill || writer_follows(p, root, w);
        step->accumulate_following[k] = parameter || step->accumulate[k];
    }
    return fill;
}

/* A fill for `root` before step `at`: the steps behind move up. */
static void fill_insert(quern_program *p, const tensor_plan *root, int32_t at) {
    for (int32_t i = p->step_count; i > at; i--) p->steps[i] = p->steps[i - 1];
    p->steps[at] = (program_step){
        .backward = true,
        .first_only = root->tensor->role == ROLE_PARAMETER,
        .scratch = -1,
        .fill_root = root->tensor->id,
        .fill_bytes = (size_t)root->view.count * quern_dtype_bytes(root->view.dtype),
    };
    p->step_count++;
    for (int32_t w = 0; w < p->writer_count; w++)
        if (p->writers[w].step >= at) p->writers[w].step++;
}

quern_status program_differentiate(quern_program *p) {
    depends_mark(p);
    copies_pass(p);
    QUERN_TRY(reached_mark(p));
    QUERN_TRY(steps_append(p));
    for (int32_t i = 0; i < p->tensor_count; i++) {
        const tensor_plan *root = &p->tensors[i];
        const quern_tensor *t = root->tensor;
        const bool owns = root->root == t->id && !root->gradient_of;
        if (!owns || (!root->reached && root->first_writer < 0 &&
                      !(t->role == ROLE_PARAMETER && t->wants_gradient)))
            continue;
        if (plan_of(p, p->desc.loss)->root == t->id) continue; /* the seed writes it */
        if (writers_decide(p, root))
            fill_insert(p, root,
                        root->first_writer < 0 ? p->forward_count
                                               : p->writers[root->first_writer].step);
    }
    return QUERN_OK;
}
