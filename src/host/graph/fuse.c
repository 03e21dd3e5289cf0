/* fuse.c - neighbouring nodes become one, where a row of the table below matches: the first
 * node's only consumer is the second, and nobody else reads the value between them. Fused and
 * unfused give the same answer; a test says so. */
#include "compile.h"

#include "../../kernels/kernel.h"

static const struct {
    int32_t first, second, fused; /* second has one input: the first's output */
} pairs[] = {
    {QUERN_OP_ID_linear, QUERN_OP_ID_relu, QUERN_OP_ID_linear_relu},
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

static bool fuse_into(quern_program *p, const planned_node *second) {
    planned_node *first = second->in[0] ? producer_of(p, second->in[0]) : NULL;
    for (size_t i = 0; first && i < sizeof pairs / sizeof pairs[0]; i++) {
        const quern_kernel *kernel = p->backend->kernels[pairs[i].fused];
        if (first->op != graph_op(pairs[i].first) || second->op != graph_op(pairs[i].second) ||
            !kernel || consumer_count(p, first->out[0]) != 1)
            continue;
        plan_of(p, first->out[0])->used = false;
        first->op = graph_op(pairs[i].fused);
        first->kernel = kernel;
        first->out = second->out;
        return true;
    }
    return false;
}

void program_fuse(quern_program *p) {
    int32_t kept = 0;
    for (int32_t i = 0; i < p->node_count; i++)
        if (fuse_into(p, &p->nodes[i])) p->nodes[i].op = NULL; /* gone */
    for (int32_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].op) p->nodes[kept++] = p->nodes[i];
    p->node_count = kept;
}
