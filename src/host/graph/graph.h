/* graph.h - tensors and nodes, as the builders leave them and the program compiler reads them.
 * Everything is in the graph's arena. */
#ifndef QUERN_GRAPH_GRAPH_H
#define QUERN_GRAPH_GRAPH_H

#include "../base/memory.h"
#include "../base/report.h"
#include "../device/device.h"
#include <quern/graph.h>
#include <quern/precision.h>

typedef enum tensor_role { ROLE_INPUT, ROLE_PARAMETER, ROLE_BUFFER, ROLE_VALUE } tensor_role;

typedef struct graph_node graph_node;

struct quern_tensor {
    quern_graph *graph;
    quern_tensor *next;
    int32_t id; /* 0 … tensor_count - 1 */
    tensor_role role;
    const char *name;
    quern_shape shape;
    bool wants_gradient;             /* an unfrozen parameter, or an input that asked */
    quern_parameter_desc *parameter; /* PARAMETER, BUFFER: resolved, names in the arena */
    int64_t offset;                  /* PARAMETER, BUFFER: elements into the flat block */
    graph_node *producer;            /* VALUE */
    int32_t output;                  /* which of the producer's */
    quern_tensor *weight;            /* of a loss */
    bool contiguous;                 /* row-major without gaps; false only for some aliases */
    quern_tensor *pending;           /* BUFFER: the value that replaces it after an update */
};

struct graph_node {
    graph_node *next; /* order of creation is a topological order */
    int32_t id;
    const quern_op *op;
    int32_t builtin; /* quern_op_id, or -1 for a custom op */
    const char *name;
    void *attributes;
    uint32_t purpose;
    int32_t input_count, output_count;
    quern_tensor **in; /* NULL: an absent optional */
    quern_tensor *out[QUERN_OUTPUT_MAX];
};

#define GRAPH_SCOPE_DEPTH 32

struct quern_graph {
    quern_device *device;
    const quern_host *host;
    arena memory;
    quern_dtype dtype;
    quern_status status; /* sticky */
    error_text error;
    bool sealed; /* parameters exist: no further parameter or buffer */
    quern_tensor *tensors, **tensors_end;
    graph_node *nodes, **nodes_end;
    int32_t tensor_count, node_count, parameter_count;
    char scope[256];
    int32_t scope_starts[GRAPH_SCOPE_DEPTH], scope_depth; /* lengths of `scope` before each push */
};

/* The row of a built-in op. */
const quern_op *graph_op(int32_t builtin);

/* A node of a built-in op; returns its first output, or NULL (sticky). */
quern_tensor *graph_apply(quern_graph *graph, int32_t builtin, quern_tensor *const *in,
                          int32_t input_count, const void *desc);

/* A new tensor that a node yields; NULL (sticky) when memory is out. */
quern_tensor *graph_value(quern_graph *graph, const char *name, const quern_shape *shape);

/* Sticks the calling thread's sentence to the graph; returns NULL for builders to return. */
quern_tensor *graph_stick(quern_graph *graph, quern_status status);

/* precision.c: the type of activations; INVALID where this graph cannot be computed so. */
quern_dtype precision_dtype(quern_precision precision);
QUERN_MUST_CHECK quern_status precision_check(quern_precision precision, const quern_graph *graph);

/* Fails like the graph did: its status and sentence. */
QUERN_MUST_CHECK quern_status graph_status(const quern_graph *graph);

/* "(B, 784)" */
void shape_text(const quern_shape *shape, char *out, size_t bytes);

/* The tensor with its batch filled in, contiguous, data NULL. SHAPE when a size overflows. */
QUERN_MUST_CHECK quern_status shape_view(const quern_shape *shape, int64_t batch_size,
                                         quern_view *out);

#endif
