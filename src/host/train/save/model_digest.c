/* model_digest.c - tells one model from another, whatever its nodes are called and whatever else is
 * in the graph, as names of nodes count all of them: XXH3-128 over the nodes that the loss, its
 * weight, the metrics and the next values of buffers depend on, in the order of the graph. Of each
 * the op, its attributes but for real numbers, and by their places in that walk the tensors that it
 * reads and yields; names only of inputs, parameters and buffers. */
#include "../checkpoint/digest.h"
#include "../../graph/node_text.h"
#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct walk {
    int32_t *places; /* of nodes, by their ids; 0: nothing of the run reads it */
    digest digest;
} walk;

static void mark(walk *w, const quern_tensor *tensor) {
    if (tensor && tensor->producer) w->places[tensor->producer->id] = 1;
}

static void add_words(walk *w, const char *words) {
    digest_add(&w->digest, words, strlen(words) + 1);
}

static void add_tensor(walk *w, const quern_tensor *tensor) {
    char words[256], shape[160];
    if (!tensor) {
        add_words(w, "-");
        return;
    }
    shape_text(&tensor->shape, shape, sizeof shape);
    snprintf(words, sizeof words, "%d %s %s", (int)tensor->role,
             quern_dtype_name(tensor->shape.dtype), shape);
    add_words(w, words);
    if (!tensor->producer) {
        add_words(w, tensor->name);
        return;
    }
    snprintf(words, sizeof words, "%" PRId32 ".%" PRId32, w->places[tensor->producer->id],
             tensor->output);
    add_words(w, words);
}

static void add_node(walk *w, const graph_node *node) {
    char line[2048];
    text words = text_over(line, sizeof line);
    graph_node bare = *node;
    bare.input_count = 0;
    node_text(&words, &bare);
    node_text_strip(line);
    add_words(w, line);
    for (int32_t i = 0; i < node->input_count; i++) add_tensor(w, node->in[i]);
    for (int32_t i = 0; i < node->output_count; i++) add_tensor(w, node->out[i]);
}

/* What the state of the run is computed by. */
static void each_root(walk *w, const quern_trainer_desc *d,
                      void (*visit)(walk *w, const quern_tensor *tensor)) {
    visit(w, d->loss);
    visit(w, d->loss_weight);
    for (int32_t i = 0; i < d->metric_count; i++) {
        visit(w, d->metrics[i].value);
        visit(w, d->metrics[i].weight);
    }
    for (const quern_tensor *t = d->graph->tensors; t; t = t->next)
        if (t->role == ROLE_BUFFER) visit(w, t->pending);
}

static void walk_all(walk *w, const quern_trainer_desc *d, const graph_node **nodes) {
    int32_t count = 0, place = 0;
    for (const graph_node *n = d->graph->nodes; n; n = n->next) nodes[count++] = n;
    each_root(w, d, mark);
    for (int32_t k = count; k-- > 0;)
        for (int32_t i = 0; w->places[nodes[k]->id] && i < nodes[k]->input_count; i++)
            mark(w, nodes[k]->in[i]);
    for (int32_t k = 0; k < count; k++) {
        if (!w->places[nodes[k]->id]) continue;
        w->places[nodes[k]->id] = ++place;
        add_node(w, nodes[k]);
    }
    each_root(w, d, add_tensor);
}

quern_status model_digest(const quern_trainer *t, char out[DIGEST_TEXT]) {
    const int32_t count = t->desc.graph->node_count;
    const graph_node **nodes = NULL;
    walk w = {.places = NULL};
    quern_status status = memory_allocate(t->host, &nodes, count, sizeof *nodes, "nodes");
    if (status == QUERN_OK)
        status = memory_allocate(t->host, &w.places, count, sizeof *w.places, "nodes");
    if (status == QUERN_OK) {
        digest_begin(&w.digest);
        walk_all(&w, &t->desc, nodes);
        digest_end(&w.digest, out);
    }
    memory_release(t->host, w.places, count, sizeof *w.places);
    memory_release(t->host, nodes, count, sizeof *nodes);
    return status;
}
