/* program.c - compiling a graph: the passes in order; binding memory; issuing steps. */
#include "compile.h"

#include "../base/size.h"

static quern_status views_allocate(quern_program *p, quern_view **out, int32_t count) {
    return arena_allocate(&p->memory, out, count, sizeof **out, "step");
}

/* Whether input i is a buffer that the node itself writes the next value of. */
static bool renews(const planned_node *n, int32_t i) {
    const quern_tensor *buffer = n->in[i];
    if (!buffer || buffer->role != ROLE_BUFFER || !buffer->pending) return false;
    for (int32_t o = 0; o < n->op->output_count; o++)
        if (n->out[o] == buffer->pending) return true;
    return false;
}

static bool renews_any(const planned_node *n) {
    for (int32_t i = 0; i < n->input_count; i++)
        if (renews(n, i)) return true;
    return false;
}

static quern_status step_arrays(quern_program *p, program_step *step) {
    const planned_node *n = step->node;
    QUERN_TRY(views_allocate(p, &step->in, n->input_count));
    QUERN_TRY(views_allocate(p, &step->out, n->op->output_count));
    if (!step->backward)
        return renews_any(n) ? views_allocate(p, &step->in_following, n->input_count) : QUERN_OK;
    QUERN_TRY(views_allocate(p, &step->grad_in, n->input_count));
    QUERN_TRY(views_allocate(p, &step->grad_out, n->op->output_count));
    QUERN_TRY(arena_allocate(&p->memory, &step->accumulate, n->input_count, sizeof(bool), "step"));
    return arena_allocate(&p->memory, &step->accumulate_following, n->input_count, sizeof(bool),
                          "step");
}

quern_status step_append(quern_program *p, planned_node *node, bool backward) {
    program_step *step = &p->steps[p->step_count];
    *step = (program_step){.node = node, .backward = backward, .scratch = -1};
    QUERN_TRY(step_arrays(p, step));
    for (int32_t i = 0; i < node->input_count; i++)
        step->in[i] = node->in[i] ? plan_of(p, node->in[i])->view : (quern_view){.rank = -1};
    for (int32_t o = 0; o < node->op->output_count; o++)
        step->out[o] = plan_of(p, node->out[o])->view;
    step->args = (quern_kernel_args){
        .attributes = node->attributes,
        .input_count = node->input_count,
        .output_count = node->op->output_count,
        .in = step->in,
        .out = step->out,
        .grad_out = step->grad_out,
        .grad_in = step->grad_in,
        .accumulate = step->accumulate,
        .purpose = node->node->purpose,
        .training = p->desc.training,
        .deterministic = !p->graph->device->allow_nondeterministic,
        .tf32 = p->desc.precision == QUERN_PRECISION_TF32,
        .stream = p->graph->device->stream,
    };
    p->step_count++;
    return QUERN_OK;
}

static quern_status forward_append(quern_program *p) {
    const int32_t most = 2 * p->node_count + p->tensor_count;
    QUERN_TRY(arena_allocate(&p->memory, &p->steps, most, sizeof *p->steps, "steps"));
    for (int32_t i = 0; i < p->node_count; i++)
        if (!(p->nodes[i].op->flags & QUERN_OP_ALIAS))
            QUERN_TRY(step_append(p, &p->nodes[i], false));
    p->forward_count = p->step_count;
    return QUERN_OK;
}

/* Roots begin on 16 bytes at least (parameters.c, plan.c), what is a part of one anywhere in it. */
static void alignment_lower(const quern_program *p, const quern_tensor *t, size_t *alignment) {
    const tensor_plan *plan = plan_of(p, t);
    const size_t at = (size_t)plan->root_offset * quern_dtype_bytes(plan->view.dtype);
    while (at % *alignment != 0) *alignment /= 2;
}

static size_t node_alignment(const quern_program *p, const planned_node *n) {
    size_t alignment = 16;
    for (int32_t i = 0; i < n->input_count; i++)
        if (n->in[i]) alignment_lower(p, n->in[i], &alignment);
    for (int32_t o = 0; o < n->op->output_count; o++) alignment_lower(p, n->out[o], &alignment);
    return alignment;
}

/* The kernels say what they need, and build their plans. */
static quern_status kernels_plan(quern_program *p, bool bytes_only) {
    for (int32_t i = 0; i < p->forward_count; i++) {
        planned_node *n = &p->nodes[p->steps[i].node - p->nodes];
        quern_kernel_plan plan = {.args = &p->steps[i].args,
                                  .backward = n->backward,
                                  .alignment = node_alignment(p, n),
                                  .bytes_only = bytes_only};
        for (int32_t k = 0; n->backward && k < n->input_count; k++)
            if (n->in[k] && input_differentiable(n, k) && plan_of(p, n->in[k])->depends) {
                plan.wanted |= UINT32_C(1) << k;
                if (plan_of(p, n->in[k])->gradient_of) plan.wide |= UINT32_C(1) << k;
            }
        if (!n->kernel->plan) continue;
        const quern_status s = n->kernel->plan(&plan);
        if (s != QUERN_OK) return error_prefix(s, "%s (%s)", n->node->name, n->op->name);
        n->plan = plan.plan;
        n->saved_bytes = plan.saved_bytes;
        n->forward_scratch_bytes = n->is_copy ? 0 : plan.forward_scratch_bytes;
        n->backward_scratch_bytes = plan.backward_scratch_bytes;
    }
    return QUERN_OK;
}

static quern_status check_precision(const quern_program_desc *d) {
    const quern_status s = precision_check(d->precision, d->graph);
    if (s != QUERN_OK) return error_prefix(s, "program");
    const quern_dtype dtype = precision_dtype(d->precision), has = d->parameters->copy_dtype;
    if (dtype == QUERN_F32 || dtype == has) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "program: precision is %s, but its parameters were made %s",
                      quern_precision_name(d->precision),
                      has == QUERN_F32 ? "without 16-bit copies" : "for the other 16-bit type");
}

static quern_status desc_check(const quern_program_desc *d) {
    if (!d || !d->graph) return quern_fail(QUERN_INVALID, "program: graph is NULL");
    QUERN_TRY(graph_status(d->graph));
    if (d->batch_size < 0)
        return quern_fail(QUERN_INVALID, "program: batch_size %lld", (long long)d->batch_size);
    if (d->loss_weight && !d->loss)
        return quern_fail(QUERN_INVALID, "program: loss_weight is set, but loss is NULL");
    if (d->no_backward && !d->training)
        return quern_fail(QUERN_INVALID, "program: no_backward is set, but not training");
    if (d->training && !d->no_backward && !d->loss)
        return quern_fail(QUERN_INVALID, "program: training needs a loss");
    if (d->output_count < 0 || (d->output_count > 0 && !d->outputs))
        return quern_fail(QUERN_INVALID, "program: %d outputs%s", (int)d->output_count,
                          d->outputs ? "" : ", but outputs is NULL");
    if (!d->parameters || d->parameters->graph != d->graph)
        return quern_fail(QUERN_INVALID, "program: parameters are of another graph, or NULL");
    return check_precision(d);
}

static quern_status passes_run(quern_program *p, bool bytes_only) {
    QUERN_TRY(program_select(p));
    if (!p->desc.no_fusion) QUERN_TRY(program_fuse(p));
    QUERN_TRY(program_assign_precision(p));
    QUERN_TRY(program_assign_layout(p));
    QUERN_TRY(forward_append(p));
    if (has_backward(p)) QUERN_TRY(program_differentiate(p));
    QUERN_TRY(kernels_plan(p, bytes_only));
    return program_place(p);
}

quern_status program_plan(quern_program **out, const quern_program_desc *desc, bool bytes_only) {
    *out = NULL;
    QUERN_TRY(desc_check(desc));
    quern_program *p = NULL;
    const quern_host *host = desc->graph->host;
    QUERN_TRY(memory_allocate(host, &p, 1, sizeof *p, "program"));
    p->desc = *desc;
    p->graph = desc->graph;
    p->host = host;
    p->backend = desc->graph->device->backend;
    p->parameters = desc->parameters;
    p->memory.host = host;
    if (!p->desc.loss_weight && p->desc.loss) p->desc.loss_weight = p->desc.loss->weight;
    const quern_status s = passes_run(p, bytes_only);
    if (s != QUERN_OK) {
        quern_program_destroy(p);
        return s;
    }
    *out = p;
    return QUERN_OK;
}

size_t program_arena_bytes(const quern_program *program) { return program->arena_bytes; }
size_t program_input_bytes(const quern_program *program) { return program->input_bytes; }

size_t program_workspace_bytes(const quern_program *p) {
    size_t bytes = 0;
    for (int32_t i = 0; i < p->step_count; i++) {
        const int32_t scratch = p->steps[i].scratch;
        if (scratch >= 0 && p->items[scratch].bytes > bytes) bytes = p->items[scratch].bytes;
    }
    return bytes;
}

/* binding */

typedef struct memory_bases {
    char *base[PLACE_COPY + 1];
} memory_bases;

static char *place_pointer(const quern_program *p, const memory_bases *m, const place *at) {
    if (at->kind == PLACE_NONE) return NULL;
    const size_t item = at->kind == PLACE_ARENA && at->item >= 0 ? p->items[at->item].offset : 0;
    return m->base[at->kind] ? m->base[at->kind] + item + at->offset : NULL;
}

static quern_view view_bind(const quern_program *p, const memory_bases *m, const tensor_plan *t,
                            bool gradient) {
    if (gradient && t->gradient_of) t = plan_of(p, t->gradient_of);
    const tensor_plan *root = &p->tensors[t->root];
    quern_view view = t->view;
    char *base = place_pointer(p, m, gradient ? &root->gradient : &root->value);
    view.data = base ? base + (size_t)t->root_offset * quern_dtype_bytes(view.dtype) : NULL;
    return view;
}

static void *item_pointer(const quern_program *p, const memory_bases *m, int32_t item) {
    return item >= 0 ? m->base[PLACE_ARENA] + p->items[item].offset : NULL;
}

/* In place: what a node renews is read and written element by element (ops.def). */
static void following_bind(const quern_program *p, program_step *step) {
    const planned_node *n = step->node;
    for (int32_t i = 0; i < n->input_count; i++) {
        step->in_following[i] = step->in[i];
        if (renews(n, i)) step->in_following[i].data = plan_of(p, n->in[i]->pending)->bound.data;
    }
    step->args_following.in = step->in_following;
}

static void step_bind(quern_program *p, const memory_bases *m, program_step *step,
                      const quern_run *run) {
    const planned_node *n = step->node;
    if (!n) {
        step->fill = place_pointer(p, m, &p->tensors[step->fill_root].gradient);
        return;
    }
    for (int32_t i = 0; i < n->input_count; i++) {
        if (!n->in[i]) continue;
        const tensor_plan *t = plan_of(p, n->in[i]);
        step->in[i] = t->bound;
        if (!step->backward) continue;
        const bool wanted = input_differentiable(n, i) && t->depends;
        step->grad_in[i] = wanted ? t->bound_gradient : t->view;
        if (!(n->op->backward_reads & QUERN_READS_IN(i))) step->in[i].data = NULL;
    }
    for (int32_t o = 0; o < n->op->output_count; o++) {
        const tensor_plan *t = plan_of(p, n->out[o]);
        step->out[o] = t->bound;
        if (!step->backward) continue;
        step->grad_out[o] = t->reached ? t->bound_gradient : t->view;
        if (!(n->op->backward_reads & QUERN_READS_OUT(o))) step->out[o].data = NULL;
    }
    step->args.saved = item_pointer(p, m, n->saved);
    step->args.scratch = item_pointer(p, m, step->scratch);
    step->args.plan = n->plan;
    step->args.run = run;
    step->args_following = step->args;
    step->args_following.accumulate = step->accumulate_following;
    if (step->in_following) following_bind(p, step);
}

quern_status program_bind(quern_program *p, void *activations, void *inputs, const quern_run *run) {
    const quern_parameters *values = p->parameters;
    const memory_bases m = {{NULL, activations, inputs, values->values, values->gradients,
                             values->buffers, values->pending, values->copies}};
    if ((p->arena_bytes > 0 && !activations) || (p->input_bytes > 0 && !inputs) ||
        (values->value_count > 0 && !values->values))
        return quern_fail(QUERN_INTERNAL, "program: bound without memory");
    if (precision_dtype(p->desc.precision) != QUERN_F32 && values->value_count > 0 &&
        !values->copies)
        return quern_fail(QUERN_INTERNAL, "program: bound without 16-bit copies");
    if (has_backward(p) && values->trainable_count > 0 && !values->gradients)
        return quern_fail(QUERN_INVALID, "program: training needs parameters made with gradients");
    for (int32_t i = 0; i < p->tensor_count; i++) {
        tensor_plan *plan = &p->tensors[i];
        plan->bound = view_bind(p, &m, plan, false);
        plan->bound_gradient = view_bind(p, &m, plan, true);
    }
    for (int32_t i = 0; i < p->step_count; i++) step_bind(p, &m, &p->steps[i], run);
    return QUERN_OK;
}

/* issuing */

static int64_t views_bytes(const quern_view *views, int32_t count) {
    int64_t bytes = 0;
    for (int32_t i = 0; views && i < count; i++)
        if (views[i].data) bytes += views[i].count * (int64_t)quern_dtype_bytes(views[i].dtype);
    return bytes;
}

/* What a kernel reads and writes, each once. */
static int64_t step_bytes(const program_step *step, const quern_kernel_args *args) {
    int64_t bytes = views_bytes(args->in, args->input_count);
    bytes += views_bytes(args->out, args->output_count);
    if (!step->backward) return bytes;
    bytes += views_bytes(args->grad_out, args->output_count);
    return bytes + views_bytes(args->grad_in, args->input_count);
}

static quern_status step_issue(const quern_program *p, program_step *step, program_part part,
                               quern_stream *stream) {
    if (!step->node) {
        if (step->first_only && part == PROGRAM_BACKWARD_FOLLOWING) return QUERN_OK;
        return p->backend->fill(stream, step->fill, 0, step->fill_bytes);
    }
    if (step->node->is_copy && !step->backward) return QUERN_OK;
    const bool following = part == PROGRAM_FORWARD_FOLLOWING || part == PROGRAM_BACKWARD_FOLLOWING;
    quern_kernel_args *args = following ? &step->args_following : &step->args;
    const quern_kernel *kernel = step->node->kernel;
    if (args->stream != stream) args->stream = stream; /* work under way may be reading it */
    trace_begin(p->host, step->backward ? "backward" : "forward", step->node->node->name,
                step_bytes(step, args));
    quern_status s =
        p->backend->call(stream, step->backward ? kernel->backward : kernel->forward, args);
    if (s == QUERN_OK && p->graph->device->trace_ops)
        s = device_wait_stream(p->graph->device, stream);
    trace_end(p->host);
    return s == QUERN_OK ? s
                         : error_prefix(s, "%s (%s)", step->node->node->name, step->node->op->name);
}

quern_status program_issue(const quern_program *p, program_part part, quern_stream *stream) {
    const bool forward = part == PROGRAM_FORWARD || part == PROGRAM_FORWARD_FOLLOWING;
    const int32_t first = forward ? 0 : p->forward_count;
    const int32_t last = forward ? p->forward_count : p->step_count;
    for (int32_t i = first; i < last; i++) QUERN_TRY(step_issue(p, &p->steps[i], part, stream));
    return QUERN_OK;
}

bool program_knows(const quern_program *p, const quern_tensor *tensor) {
    return tensor && tensor->graph == p->graph && tensor->id < p->graph_tensor_count;
}

quern_view program_view(const quern_program *p, const quern_tensor *tensor) {
    if (!program_knows(p, tensor)) return (quern_view){0};
    const tensor_plan *t = plan_of(p, tensor);
    const bool kept = t->output || tensor->role != ROLE_VALUE;
    return kept && t->used ? t->bound : t->view;
}

quern_view program_gradient_view(const quern_program *p, const quern_tensor *tensor) {
    if (!program_knows(p, tensor)) return (quern_view){0};
    const tensor_plan *t = plan_of(p, tensor);
    const bool kept = tensor == p->desc.loss || tensor->wants_gradient ||
                      (p->desc.output_gradients && t->output && tensor->contiguous);
    return kept && p->tensors[t->root].reached ? t->bound_gradient : t->view;
}

bool program_writes_pending(const quern_program *p, const quern_tensor *buffer) {
    if (!buffer->pending || !p->desc.training) return false;
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].node == buffer->pending->producer) return true;
    return false;
}
