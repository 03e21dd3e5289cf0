#include "watch.h"

static quern_status add(watch_list *w, arena *memory, const side *s, quern_verify_role role,
                        const quern_tensor *tensor) {
    quern_view view;
    QUERN_ENSURE(w->count < w->capacity);
    QUERN_TRY(shape_view(&tensor->shape, s->batch_size, &view));
    watch *added = &w->watches[w->count++];
    *added = (watch){.role = role, .tensor = tensor->id, .count = view.count};
    if (view.count > w->largest_count) w->largest_count = view.count;
    QUERN_TRY(arena_allocate(memory, &added->reference, view.count, sizeof(double), tensor->name));
    if (role != QUERN_VERIFY_WEIGHT) return QUERN_OK;
    return arena_allocate(memory, &added->before, view.count, sizeof(double), tensor->name);
}

static bool is_first_reader(const graph_node *node, const quern_tensor *tensor) {
    for (const graph_node *n = tensor->graph->nodes; n != node; n = n->next)
        for (int32_t i = 0; i < n->input_count; i++)
            if (n->in[i] == tensor) return false;
    return true;
}

/* A node's outputs have their whole gradient when its backward step begins, and what it is the
 * first to read when it ends. */
static quern_status node_gradients(watch_list *w, arena *memory, const side *s,
                                   const graph_node *n) {
    for (int32_t o = 0; o < n->output_count; o++)
        if (side_observes(s, n->out[o]) && side_has_gradient(s, n->out[o]))
            QUERN_TRY(add(w, memory, s, QUERN_VERIFY_ACTIVATION_GRADIENT, n->out[o]));
    for (int32_t i = 0; i < n->input_count; i++) {
        const quern_tensor *t = n->in[i];
        bool twice = false;
        for (int32_t k = 0; k < i; k++) twice |= n->in[k] == t;
        if (t && !twice && t->wants_gradient && is_first_reader(n, t) && side_has_gradient(s, t))
            QUERN_TRY(add(w, memory, s, QUERN_VERIFY_GRADIENT, t));
    }
    return QUERN_OK;
}

static quern_status gradients(watch_list *w, arena *memory, const side *s) {
    const graph_node **nodes = NULL;
    int32_t count = 0;
    QUERN_TRY(arena_allocate(memory, &nodes, s->graph->node_count, sizeof *nodes, "nodes"));
    for (const graph_node *n = s->graph->nodes; n; n = n->next) nodes[count++] = n;
    while (count-- > 0) QUERN_TRY(node_gradients(w, memory, s, nodes[count]));
    return QUERN_OK;
}

quern_status watch_list_make(watch_list *w, arena *memory, const side *s) {
    *w = (watch_list){.capacity = 2 * s->tensor_count + 1};
    QUERN_TRY(arena_allocate(memory, &w->watches, w->capacity, sizeof(watch), "watches"));
    for (int32_t i = 0; i < s->tensor_count; i++)
        if (side_observes(s, s->tensors[i]))
            QUERN_TRY(add(w, memory, s, QUERN_VERIFY_ACTIVATION, s->tensors[i]));
    QUERN_TRY(add(w, memory, s, QUERN_VERIFY_LOSS, s->model.loss));
    QUERN_TRY(gradients(w, memory, s));
    for (int32_t i = 0; i < s->tensor_count; i++)
        if (s->tensors[i]->role == ROLE_BUFFER)
            QUERN_TRY(add(w, memory, s, QUERN_VERIFY_STATISTIC, s->tensors[i]));
    for (int32_t i = 0; i < s->tensor_count; i++)
        if (s->tensors[i]->role == ROLE_PARAMETER && s->tensors[i]->wants_gradient)
            QUERN_TRY(add(w, memory, s, QUERN_VERIFY_WEIGHT, s->tensors[i]));
    return QUERN_OK;
}
