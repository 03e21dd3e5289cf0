/* graph.h - a network as a graph of ops between tensors.
 *
 * Builders nest: quern_relu(g, quern_dense(g, x, …)). The first failure sticks to the graph: later
 * builders return NULL, and the next function that returns a status returns it with its sentence.
 * A graph owns its tensors; they live until quern_graph_destroy. Names are copied.
 *
 * Shapes are row-major, batch first. A dimension is a number, or a multiple of the batch size that
 * is known only when a program is made: QUERN_B for B, 4 * QUERN_B for 4·B. */
#ifndef QUERN_GRAPH_H
#define QUERN_GRAPH_H

#include <quern/device.h>
#include <quern/kernel.h>

QUERN_BEGIN_C

typedef struct quern_graph quern_graph;
typedef struct quern_tensor quern_tensor;

typedef struct quern_graph_desc {
    quern_dtype dtype; /* of parameters and activations: F32 (default) or F64 */
} quern_graph_desc;

QUERN_API QUERN_MUST_CHECK quern_status quern_graph_create(quern_graph **out, quern_device *device,
                                                           const quern_graph_desc *desc);
QUERN_API void quern_graph_destroy(quern_graph *graph);

/* The sticky failure, QUERN_OK if none so far. */
QUERN_API QUERN_MUST_CHECK quern_status quern_graph_status(const quern_graph *graph);

/* Data that comes with each batch. */
typedef struct quern_input_desc {
    const char *name; /* required; batches and datasets are matched by it */
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX]; /* dim[0] is normally QUERN_B */
    quern_dtype dtype;           /* default: F32, which means the graph's dtype */
    bool gradient;               /* also compute d(loss)/d(input) */
} quern_input_desc;
QUERN_API quern_tensor *quern_input(quern_graph *graph, const quern_input_desc *desc);

/* (B) I32 class indices. */
QUERN_API quern_tensor *quern_labels(quern_graph *graph, const char *name);

typedef enum quern_init_kind {
    QUERN_INIT_ZERO,
    QUERN_INIT_CONSTANT,         /* a */
    QUERN_INIT_UNIFORM,          /* [a, b) */
    QUERN_INIT_NORMAL,           /* mean a, deviation b */
    QUERN_INIT_TRUNCATED_NORMAL, /* mean a, deviation b, cut at two deviations */
    QUERN_INIT_XAVIER_UNIFORM,   /* Glorot & Bengio 2010; gain a, default 1 */
    QUERN_INIT_XAVIER_NORMAL,
    QUERN_INIT_KAIMING_UNIFORM, /* He et al. 2015; gain a, default sqrt(2) */
    QUERN_INIT_KAIMING_NORMAL,
} quern_init_kind;

/* Fan-in is the product of all dims but the first, fan-out dim[0] times the product of all dims
 * from the third on: [out, in] and OIHW. Values are drawn from (device seed, parameter name). */
typedef struct quern_init {
    quern_init_kind kind;
    float a, b;
    bool fan_out; /* Kaiming: scale by fan-out instead of fan-in */
} quern_init;

typedef struct quern_parameter_desc {
    const char *name; /* required, unique in the graph: "fc1.weight" */
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX]; /* numbers only */
    quern_init init;             /* default zero */
    bool frozen;                 /* no gradient, no update */
    /* Parameters of the same two scales are one group; the layers give biases and norms no decay.
     * Default 1: the optimizer's own; QUERN_ZERO: none. */
    float learning_rate_scale, weight_decay_scale;
} quern_parameter_desc;
QUERN_API quern_tensor *quern_parameter(quern_graph *graph, const quern_parameter_desc *desc);

/* State that forward updates (running statistics): saved with the model, no gradient.
 * Only name, rank, dim and init are read. One batch norm renews it: a second one is INVALID. */
QUERN_API quern_tensor *quern_buffer(quern_graph *graph, const quern_parameter_desc *desc);

/* Names what follows "prefix." + name, for parameters, buffers and nodes, until the matching pop.
 */
QUERN_API void quern_scope_push(quern_graph *graph, const char *prefix);
QUERN_API void quern_scope_pop(quern_graph *graph);

/* The parameters that a layer or a whole model has made, of which a training step thinks otherwise:
 * those under the full name `scope` ("encoder": "encoder.fc1.weight", …), or NULL: all there are so
 * far. frozen freezes them; the scales, of which 0 is 1 and QUERN_ZERO is none, multiply what each
 * has, so that biases still do not decay. INVALID sticks where there are none, or their values
 * exist already. */
typedef struct quern_group_desc {
    bool frozen;
    float learning_rate_scale, weight_decay_scale;
} quern_group_desc;
QUERN_API void quern_group(quern_graph *graph, const char *scope, const quern_group_desc *desc);

/* A node of the application's own op; `op` is borrowed, `attributes` (op->attribute_bytes) are
 * copied. Writes op->output_count tensors to `out` and returns out[0]; all NULL on failure. */
QUERN_API quern_tensor *quern_custom(quern_graph *graph, const quern_op *op,
                                     quern_tensor *const *in, int32_t input_count,
                                     const void *attributes, quern_tensor **out);

/* x cut along `axis` into `part_count` aliases of `sizes` each; NULL sizes: equal parts. */
QUERN_API void quern_split(quern_graph *graph, quern_tensor *x, int32_t axis, int32_t part_count,
                           const int64_t *sizes, quern_tensor **parts);

QUERN_API quern_shape quern_tensor_shape(const quern_tensor *tensor);
QUERN_API const char *quern_tensor_name(const quern_tensor *tensor);
QUERN_API quern_tensor *quern_tensor_find(quern_graph *graph, const char *name); /* or NULL */

/* The weight that belongs to a loss: () of the graph's dtype, the number of samples, valid tokens
 * or elements that the loss sums over. NULL when `loss` was not made by a loss builder. */
QUERN_API quern_tensor *quern_loss_weight(const quern_tensor *loss);

/* Parameters and buffers in order of creation. */
QUERN_API int32_t quern_graph_parameter_count(const quern_graph *graph);
QUERN_API quern_tensor *quern_graph_parameter(const quern_graph *graph, int32_t index);
QUERN_API int64_t quern_graph_parameter_elements(const quern_graph *graph); /* trainable + frozen */

/* The graph as text, a line per node, through `write` (lines end in newline). */
QUERN_API void quern_graph_dump(const quern_graph *graph,
                                void (*write)(void *self, const char *line), void *self);

QUERN_END_C
#endif
