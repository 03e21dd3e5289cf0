/* rewrite.c - tensors and nodes of a program's own, which its passes put between the graph's. */
#include "compile.h"

#include <stdio.h>
#include <string.h>

quern_status program_grow_tensors(quern_program *p, int32_t times) {
    tensor_plan *tensors = NULL;
    const int64_t count = p->tensor_count;
    QUERN_TRY(arena_allocate(&p->memory, &tensors, times * count, sizeof *tensors, "tensors"));
    if (count > 0) memcpy(tensors, p->tensors, (size_t)count * sizeof *tensors);
    p->tensors = tensors;
    return QUERN_OK;
}

quern_status program_tensor(quern_program *p, quern_tensor **out, const quern_tensor *like,
                            quern_dtype dtype, const char *suffix) {
    char name[600];
    QUERN_TRY(arena_allocate(&p->memory, out, 1, sizeof **out, "a program's tensor"));
    quern_tensor *t = *out;
    *t = (quern_tensor){.graph = p->graph,
                        .id = p->tensor_count++,
                        .role = ROLE_VALUE,
                        .shape = like->shape,
                        .contiguous = like->contiguous};
    t->shape.dtype = dtype;
    snprintf(name, sizeof name, "%s:%s", like->name, suffix);
    QUERN_TRY(arena_copy_string(&p->memory, &t->name, name));
    return tensor_resolve(p, t);
}

quern_status program_list(quern_program *p, quern_tensor *const **out, quern_tensor *tensor) {
    quern_tensor **list = NULL;
    QUERN_TRY(arena_allocate(&p->memory, &list, 1, sizeof *list, "a program's node"));
    list[0] = tensor;
    *out = list;
    return QUERN_OK;
}

quern_status program_node(quern_program *p, planned_node *out, int32_t builtin, void *attributes,
                          quern_tensor *from, quern_tensor *to) {
    graph_node *node = NULL;
    QUERN_TRY(arena_allocate(&p->memory, &node, 1, sizeof *node, "a program's node"));
    *node = (graph_node){.op = graph_op(builtin),
                         .builtin = builtin,
                         .name = to->name,
                         .attributes = attributes,
                         .input_count = 1,
                         .output_count = 1};
    *out = (planned_node){.node = node,
                          .op = node->op,
                          .kernel = p->backend->kernels[builtin],
                          .input_count = 1,
                          .attributes = attributes,
                          .saved = -1};
    QUERN_TRY(program_list(p, &out->in, from));
    return program_list(p, &out->out, to);
}
