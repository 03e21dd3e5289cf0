/* graph.c - the graph object: inputs, parameters, names, the sticky failure, the dump. */
#include "graph.h"
#include "node_text.h"

#include "../base/size.h"
#include "../base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

quern_status quern_graph_create(quern_graph **out, quern_device *device,
                                const quern_graph_desc *desc) {
    if (!out) return quern_fail(QUERN_INVALID, "graph: out is NULL");
    *out = NULL;
    if (!device) return quern_fail(QUERN_INVALID, "graph: device is NULL");
    const quern_dtype dtype = desc ? desc->dtype : QUERN_F32;
    if (dtype != QUERN_F32 && dtype != QUERN_F64)
        return quern_fail(QUERN_UNSUPPORTED, "graph: dtype %d, only F32 and F64 can be trained",
                          (int)dtype);
    quern_graph *graph = NULL;
    QUERN_TRY(memory_allocate(&device->host, &graph, 1, sizeof *graph, "graph"));
    graph->device = device;
    graph->host = &device->host;
    graph->memory.host = &device->host;
    graph->dtype = dtype;
    graph->tensors_end = &graph->tensors;
    graph->nodes_end = &graph->nodes;
    *out = graph;
    return QUERN_OK;
}

void quern_graph_destroy(quern_graph *graph) {
    if (!graph) return;
    arena_release(&graph->memory);
    memory_release(graph->host, graph, 1, sizeof *graph);
}

quern_tensor *graph_stick(quern_graph *graph, quern_status status) {
    if (graph->status == QUERN_OK) {
        graph->status = status;
        error_save(&graph->error);
    }
    return NULL;
}

quern_status graph_status(const quern_graph *graph) {
    if (graph->status != QUERN_OK) error_restore(&graph->error);
    return graph->status;
}

quern_status quern_graph_status(const quern_graph *graph) {
    return graph ? graph_status(graph) : quern_fail(QUERN_INVALID, "graph is NULL");
}

void shape_text(const quern_shape *shape, char *out, size_t bytes) {
    text t = text_over(out, bytes);
    text_add(&t, "(");
    for (int32_t i = 0; i < shape->rank; i++) {
        const int64_t d = shape->dim[i];
        if (i > 0) text_add(&t, ", ");
        if (d == QUERN_B)
            text_add(&t, "B");
        else if (d < 0)
            text_add(&t, "%" PRIu64 "B", UINT64_C(0) - (uint64_t)d); /* also for INT64_MIN */
        else
            text_add(&t, "%" PRId64, d);
    }
    text_add(&t, ")");
}

quern_status shape_view(const quern_shape *shape, int64_t batch_size, quern_view *out) {
    *out = (quern_view){.rank = shape->rank, .dtype = shape->dtype, .count = 1};
    size_t bytes = 0;
    bool fits = true;
    for (int32_t i = shape->rank - 1; i >= 0; i--) {
        const int64_t d = shape->dim[i];
        int64_t size = d;
        if (d < 0) fits &= count_multiply(d, -batch_size, &size);
        out->dim[i] = size;
        out->stride[i] = out->count;
        fits &= count_multiply(out->count, size, &out->count);
    }
    if (fits && count_bytes(out->count, quern_dtype_bytes(shape->dtype), &bytes)) return QUERN_OK;
    char name[160];
    shape_text(shape, name, sizeof name);
    return quern_fail(QUERN_SHAPE, "%s with a batch of %" PRId64 " has more bytes than fit", name,
                      batch_size);
}

static bool scoped_name(const quern_graph *graph, const char *name, char *out, size_t bytes) {
    const int length = graph->scope[0] ? snprintf(out, bytes, "%s.%s", graph->scope, name)
                                       : snprintf(out, bytes, "%s", name);
    return length >= 0 && (size_t)length < bytes;
}

void quern_scope_push(quern_graph *graph, const char *prefix) {
    char name[sizeof graph->scope];
    if (!graph || graph->status != QUERN_OK) return;
    if (!prefix || graph->scope_depth == GRAPH_SCOPE_DEPTH ||
        !scoped_name(graph, prefix, name, sizeof name)) {
        graph_stick(graph, quern_fail(QUERN_INVALID,
                                      "scope under \"%s\" is missing, over %d deep "
                                      "or too long",
                                      graph->scope, GRAPH_SCOPE_DEPTH));
        return;
    }
    graph->scope_starts[graph->scope_depth++] = (int32_t)strlen(graph->scope);
    memcpy(graph->scope, name, sizeof name);
}

void quern_scope_pop(quern_graph *graph) {
    if (graph && graph->scope_depth > 0)
        graph->scope[graph->scope_starts[--graph->scope_depth]] = '\0';
}

static quern_status tensor_append(quern_graph *graph, quern_tensor **out, const char *name,
                                  tensor_role role, const quern_shape *shape) {
    quern_tensor *tensor = NULL;
    QUERN_TRY(arena_allocate(&graph->memory, &tensor, 1, sizeof *tensor, "tensor"));
    QUERN_TRY(arena_copy_string(&graph->memory, &tensor->name, name));
    tensor->graph = graph;
    tensor->role = role;
    tensor->shape = *shape;
    tensor->contiguous = true;
    tensor->id = graph->tensor_count++;
    *graph->tensors_end = tensor;
    graph->tensors_end = &tensor->next;
    *out = tensor;
    return QUERN_OK;
}

quern_tensor *graph_value(quern_graph *graph, const char *name, const quern_shape *shape) {
    quern_tensor *tensor = NULL;
    const quern_status s = tensor_append(graph, &tensor, name, ROLE_VALUE, shape);
    return s == QUERN_OK ? tensor : graph_stick(graph, s);
}

/* Rank, dims and a name that nobody else has. */
static quern_status check_leaf(quern_graph *graph, const char *what, const char *name, int32_t rank,
                               const int64_t *dim, bool batch_allowed) {
    if (!name || !name[0]) return quern_fail(QUERN_INVALID, "%s without a name", what);
    if (quern_tensor_find(graph, name))
        return quern_fail(QUERN_INVALID, "%s %s: the name is taken", what, name);
    if (rank < 0 || rank > QUERN_RANK_MAX)
        return quern_fail(QUERN_SHAPE, "%s %s: rank %d is outside [0, %d]", what, name, (int)rank,
                          QUERN_RANK_MAX);
    for (int32_t i = 0; i < QUERN_RANK_MAX; i++) {
        if (i >= rank && dim[i] != 0)
            return quern_fail(QUERN_SHAPE, "%s %s: dim %d is %" PRId64 ", but its rank is %d", what,
                              name, (int)i, dim[i], (int)rank);
        if (dim[i] < (batch_allowed ? -(INT64_C(1) << 40) : 0))
            return quern_fail(QUERN_SHAPE, "%s %s: dim %d is %" PRId64, what, name, (int)i, dim[i]);
    }
    return QUERN_OK;
}

static quern_status input_add(quern_graph *graph, quern_tensor **out,
                              const quern_input_desc *desc) {
    if (!desc) return quern_fail(QUERN_INVALID, "input: desc is NULL");
    QUERN_TRY(check_leaf(graph, "input", desc->name, desc->rank, desc->dim, true));
    if ((uint32_t)desc->dtype >= QUERN_DTYPE_COUNT)
        return quern_fail(QUERN_INVALID, "input %s: dtype %d", desc->name, (int)desc->dtype);
    quern_shape shape = {.dtype = desc->dtype == QUERN_F32 ? graph->dtype : desc->dtype,
                         .rank = desc->rank};
    memcpy(shape.dim, desc->dim, sizeof shape.dim);
    if (desc->gradient && shape.dtype != graph->dtype)
        return quern_fail(QUERN_INVALID, "input %s: only %s inputs have a gradient", desc->name,
                          quern_dtype_name(graph->dtype));
    QUERN_TRY(tensor_append(graph, out, desc->name, ROLE_INPUT, &shape));
    (*out)->wants_gradient = desc->gradient;
    return QUERN_OK;
}

quern_tensor *quern_input(quern_graph *graph, const quern_input_desc *desc) {
    if (!graph || graph->status != QUERN_OK) return NULL;
    quern_tensor *tensor = NULL;
    const quern_status s = input_add(graph, &tensor, desc);
    return s == QUERN_OK ? tensor : graph_stick(graph, s);
}

quern_tensor *quern_labels(quern_graph *graph, const char *name) {
    return quern_input(
        graph, &(quern_input_desc){.name = name, .rank = 1, .dim = {QUERN_B}, .dtype = QUERN_I32});
}

/* The fields that the kind reads are in range, the others are not set. */
static quern_status init_check(const char *name, const quern_init *init) {
    const quern_init_kind kind = init->kind;
    const bool spread = kind == QUERN_INIT_NORMAL || kind == QUERN_INIT_TRUNCATED_NORMAL;
    const bool kaiming = kind == QUERN_INIT_KAIMING_UNIFORM || kind == QUERN_INIT_KAIMING_NORMAL;
    const bool reads_b = spread || kind == QUERN_INIT_UNIFORM;
    const char *unread = NULL;
    const bool ok = (uint32_t)kind <= QUERN_INIT_KAIMING_NORMAL && isfinite(init->a) &&
                    isfinite(init->b) && isfinite(init->b - init->a) && !(spread && init->b < 0) &&
                    !(kind == QUERN_INIT_UNIFORM && init->b < init->a);
    if (!ok)
        return quern_fail(QUERN_INVALID, "parameter %s: init kind %d with a = %g, b = %g", name,
                          (int)kind, (double)init->a, (double)init->b);
    if (kind == QUERN_INIT_ZERO && init->a != 0) unread = "a";
    if (!reads_b && init->b != 0) unread = "b";
    if (!kaiming && init->fan_out) unread = "fan_out";
    if (!unread) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "parameter %s: init kind %d does not read %s", name, (int)kind,
                      unread);
}

static quern_status buffer_check(const char *name, const quern_parameter_desc *desc) {
    const char *unread = desc->frozen                     ? "frozen"
                         : desc->learning_rate_scale != 0 ? "learning_rate_scale"
                         : desc->weight_decay_scale != 0  ? "weight_decay_scale"
                                                          : NULL;
    if (!unread) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "buffer %s does not read %s", name, unread);
}

static quern_status scale_resolve(float *scale, const char *name, const char *field) {
    if (*scale == 0) *scale = signbit(*scale) ? 0 : 1;
    if (*scale >= 0 && isfinite(*scale)) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "parameter %s: %s %g", name, field, (double)*scale);
}

static quern_status leaf_add(quern_graph *graph, quern_tensor **out, tensor_role role,
                             const quern_parameter_desc *desc) {
    const char *what = role == ROLE_PARAMETER ? "parameter" : "buffer";
    char name[512];
    if (!desc) return quern_fail(QUERN_INVALID, "%s: desc is NULL", what);
    if (!desc->name || !scoped_name(graph, desc->name, name, sizeof name))
        return quern_fail(QUERN_INVALID, "%s without a name, or with one over 500 bytes", what);
    if (graph->sealed)
        return quern_fail(QUERN_INVALID, "%s %s: the graph's parameters exist already", what, name);
    QUERN_TRY(check_leaf(graph, what, name, desc->rank, desc->dim, false));
    QUERN_TRY(init_check(name, &desc->init));
    if (role == ROLE_BUFFER) QUERN_TRY(buffer_check(name, desc));
    quern_parameter_desc *copy = NULL;
    QUERN_TRY(arena_allocate(&graph->memory, &copy, 1, sizeof *copy, "parameter"));
    *copy = *desc;
    QUERN_TRY(scale_resolve(&copy->learning_rate_scale, name, "learning_rate_scale"));
    QUERN_TRY(scale_resolve(&copy->weight_decay_scale, name, "weight_decay_scale"));
    quern_shape shape = {.dtype = graph->dtype, .rank = desc->rank};
    memcpy(shape.dim, desc->dim, sizeof shape.dim);
    QUERN_TRY(tensor_append(graph, out, name, role, &shape));
    copy->name = (*out)->name;
    (*out)->parameter = copy;
    (*out)->wants_gradient = role == ROLE_PARAMETER && !desc->frozen;
    graph->parameter_count++;
    return QUERN_OK;
}

quern_tensor *quern_parameter(quern_graph *graph, const quern_parameter_desc *desc) {
    if (!graph || graph->status != QUERN_OK) return NULL;
    quern_tensor *tensor = NULL;
    const quern_status s = leaf_add(graph, &tensor, ROLE_PARAMETER, desc);
    return s == QUERN_OK ? tensor : graph_stick(graph, s);
}

quern_tensor *quern_buffer(quern_graph *graph, const quern_parameter_desc *desc) {
    if (!graph || graph->status != QUERN_OK) return NULL;
    quern_tensor *tensor = NULL;
    const quern_status s = leaf_add(graph, &tensor, ROLE_BUFFER, desc);
    return s == QUERN_OK ? tensor : graph_stick(graph, s);
}

quern_shape quern_tensor_shape(const quern_tensor *tensor) {
    return tensor ? tensor->shape : (quern_shape){.rank = -1};
}

const char *quern_tensor_name(const quern_tensor *tensor) { return tensor ? tensor->name : ""; }
quern_tensor *quern_loss_weight(const quern_tensor *loss) { return loss ? loss->weight : NULL; }

quern_tensor *quern_tensor_find(quern_graph *graph, const char *name) {
    for (quern_tensor *t = graph && name ? graph->tensors : NULL; t; t = t->next)
        if (strcmp(t->name, name) == 0) return t;
    return NULL;
}

int32_t quern_graph_parameter_count(const quern_graph *graph) {
    return graph ? graph->parameter_count : 0;
}

quern_tensor *quern_graph_parameter(const quern_graph *graph, int32_t index) {
    for (quern_tensor *t = graph && index >= 0 ? graph->tensors : NULL; t; t = t->next)
        if (t->parameter && index-- == 0) return t;
    return NULL;
}

int64_t quern_graph_parameter_elements(const quern_graph *graph) {
    int64_t sum = 0;
    for (const quern_tensor *t = graph ? graph->tensors : NULL; t; t = t->next) {
        quern_view view;
        if (t->role == ROLE_PARAMETER &&
            (shape_view(&t->shape, 0, &view) != QUERN_OK || !count_add(sum, view.count, &sum)))
            return INT64_MAX; /* more than can be counted: quern_parameters_create says so */
    }
    return sum;
}

static void dump_tensor(text *line, const quern_tensor *t) {
    char shape[160];
    shape_text(&t->shape, shape, sizeof shape);
    text_add(line, "%s %s %s", t->name, quern_dtype_name(t->shape.dtype), shape);
}

void quern_graph_dump(const quern_graph *graph, void (*write)(void *self, const char *line),
                      void *self) {
    static const char *const roles[] = {"input", "parameter", "buffer"};
    char buffer[2048];
    if (!graph || !write) return;
    for (const quern_tensor *t = graph->tensors; t; t = t->next) {
        if (t->role == ROLE_VALUE) continue;
        text line = text_over(buffer, sizeof buffer);
        text_add(&line, "%s ", roles[t->role]);
        dump_tensor(&line, t);
        text_end_line(&line);
        write(self, buffer);
    }
    for (const graph_node *n = graph->nodes; n; n = n->next) {
        text line = text_over(buffer, sizeof buffer);
        dump_tensor(&line, n->out[0]);
        text_add(&line, " = ");
        node_text(&line, n);
        text_end_line(&line);
        write(self, buffer);
    }
}
