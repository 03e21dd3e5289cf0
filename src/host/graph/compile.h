/* compile.h - a program while its passes work on it, and after.
 *
 * select.c   which nodes are needed, and what every tensor is: its view, the tensor whose memory
 *            it lies in (its root) and where in it
 * fuse.c     neighbouring nodes become one
 * precision.c which values are 16 bits, and the casts between them
 * layout.c   which images have their channels innermost, and the copies between the layouts
 * rewrite.c  what these two put between the graph's tensors and nodes
 * autodiff.c which gradients flow, the backward steps, who writes and who adds
 * plan.c     how long each buffer lives, what may share, where it lies
 * program.c  the passes in order, binding, issuing */
#ifndef QUERN_GRAPH_COMPILE_H
#define QUERN_GRAPH_COMPILE_H

#include "program.h"

typedef enum place_kind {
    PLACE_NONE,
    PLACE_ARENA, /* items[item] */
    PLACE_INPUT, /* the input block */
    PLACE_VALUE, /* the blocks of quern_parameters */
    PLACE_GRADIENT,
    PLACE_BUFFER,
    PLACE_PENDING,
    PLACE_COPY, /* the 16-bit copies of parameters */
} place_kind;

typedef struct place {
    place_kind kind;
    int32_t item;
    size_t offset; /* bytes from the start of the item or block */
} place;

/* A range of the arena that lives from step `first` to step `last`. */
typedef struct arena_item {
    const char *what, *name; /* "value", "fc1.linear" */
    size_t bytes, offset;
    int32_t first, last;
    int32_t shares;   /* another item in whose memory it lies, or -1 */
    size_t alignment; /* of the offset: a power of two */
} arena_item;

/* What the program knows of a tensor. */
typedef struct tensor_plan {
    const quern_tensor *tensor;
    quern_view view;     /* batch filled in; data NULL until bound */
    int32_t root;        /* id of the tensor in whose memory it lies; its own if no alias */
    int64_t root_offset; /* elements */
    bool used, output;
    bool depends; /* on something that wants a gradient */
    bool reached; /* by the loss's gradient */
    bool pending; /* the next value of a buffer: lies in the pending block, or nowhere */
    /* the slice between it and its root: -1 none, -2 several */
    int32_t part_parent, part_axis;
    int64_t part_start, part_stop;
    place value, gradient;             /* roots only */
    const quern_tensor *gradient_of;   /* of a parameter's copy: its gradient is that one's */
    int32_t first_writer, last_writer; /* roots: of the gradient, into writers; -1 none */
    quern_view bound, bound_gradient;
} tensor_plan;

typedef struct planned_node {
    const graph_node *node; /* names, purpose */
    const quern_op *op;
    const quern_kernel *kernel; /* NULL for an alias */
    int32_t input_count;
    quern_tensor *const *in;
    quern_tensor *const *out;
    const void *attributes;
    int32_t of_first; /* so many inputs are all that out[0] depends on; 0: on every one */
    bool backward;    /* has a backward step */
    bool is_copy;     /* the cast of a parameter: forward is the update's */
    void *plan;
    size_t saved_bytes, forward_scratch_bytes, backward_scratch_bytes;
    int32_t saved; /* item, or -1 */
} planned_node;

typedef struct program_step {
    const planned_node *node; /* NULL: a fill with zeros */
    bool backward;
    bool first_only; /* fill: not in the following microbatches */
    quern_kernel_args args;
    quern_view *in, *out, *grad_out, *grad_in; /* what args points to */
    bool *accumulate, *accumulate_following;
    quern_view *in_following;         /* of a forward step that renews a buffer; NULL: as `in` */
    quern_kernel_args args_following; /* as args, with in_following and accumulate_following */
    int32_t scratch;                  /* item, or -1 */
    int32_t fill_root;                /* fill: whose gradient */
    void *fill;
    size_t fill_bytes;
} program_step;

/* One gradient written by one backward step. */
typedef struct gradient_writer {
    int32_t step, input;
    const quern_tensor *tensor;
    int32_t next; /* of the same root, in step order; -1 */
} gradient_writer;

struct quern_program {
    quern_program_desc desc; /* loss_weight resolved */
    quern_graph *graph;
    const quern_host *host;
    const quern_backend *backend;
    quern_parameters *parameters;
    arena memory;
    tensor_plan *tensors;                     /* [tensor_count]: the graph may have grown since */
    int32_t tensor_count, graph_tensor_count; /* with the program's own behind the graph's */
    planned_node *nodes;
    int32_t node_count;
    program_step *steps; /* forward, then backward */
    int32_t forward_count, step_count;
    gradient_writer *writers;
    int32_t writer_count;
    arena_item *items;
    int32_t item_count, item_capacity;
    size_t arena_bytes, input_bytes;
    struct owned_blocks *owned; /* quern_program_create's; NULL otherwise */
};

/* The time line of lifetimes: forward steps, then the seed, then backward steps, then reading. */
static inline int32_t time_seed(const quern_program *p) { return p->forward_count; }
static inline int32_t time_of(const quern_program *p, int32_t step) {
    return step < p->forward_count ? step : step + 1;
}
static inline int32_t time_end(const quern_program *p) { return p->step_count + 2; }

static inline tensor_plan *plan_of(const quern_program *p, const quern_tensor *tensor) {
    return &p->tensors[tensor->id];
}

/* The root in whose gradient that of `tensor` lies. */
static inline tensor_plan *gradient_root(const quern_program *p, const quern_tensor *tensor) {
    const tensor_plan *t = plan_of(p, tensor);
    return &p->tensors[t->gradient_of ? t->gradient_of->id : t->root];
}

static inline bool has_backward(const quern_program *p) {
    return p->desc.training && !p->desc.no_backward;
}

/* Whether input i of an op can have a gradient at all. */
static inline bool input_differentiable(const planned_node *n, int32_t i) {
    return n->in[i] && !(i == 1 && (n->op->flags & QUERN_OP_INDEX_INPUT1));
}

/* select.c: of a tensor that is there, in F32 or 16 bits; and of what an alias yields. */
QUERN_MUST_CHECK quern_status tensor_resolve(quern_program *p, const quern_tensor *t);
void alias_resolve(quern_program *p, const planned_node *n);

/* rewrite.c. Room for so many times the tensors there are. */
QUERN_MUST_CHECK quern_status program_grow_tensors(quern_program *p, int32_t times);
/* The next of them, named "<like>:<suffix>", row-major. */
QUERN_MUST_CHECK quern_status program_tensor(quern_program *p, quern_tensor **out,
                                             const quern_tensor *like, quern_dtype dtype,
                                             const char *suffix);
QUERN_MUST_CHECK quern_status program_list(quern_program *p, quern_tensor *const **out,
                                           quern_tensor *tensor);
/* to = op(from) */
QUERN_MUST_CHECK quern_status program_node(quern_program *p, planned_node *out, int32_t builtin,
                                           void *attributes, quern_tensor *from, quern_tensor *to);

QUERN_MUST_CHECK quern_status program_select(quern_program *p);
QUERN_MUST_CHECK quern_status program_fuse(quern_program *p);
QUERN_MUST_CHECK quern_status program_assign_precision(quern_program *p);
QUERN_MUST_CHECK quern_status program_assign_layout(quern_program *p);
QUERN_MUST_CHECK quern_status program_differentiate(quern_program *p);
QUERN_MUST_CHECK quern_status program_place(quern_program *p);

/* A step of a node, its views not yet bound; in steps[p->step_count++], which must have room. */
QUERN_MUST_CHECK quern_status step_append(quern_program *p, planned_node *node, bool backward);

#endif
