/* node_text.c - what a node computes, as text: "dropout(relu1, probability=0.25)". Two nodes with
 * the same text, inputs and output compute the same; only a custom op's attributes are not in it,
 * which are the application's bytes. Every op of ops.def with attributes has its list here: one
 * that has none does not compile. */
#include "node_text.h"

#include <quern/ops.h>

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

typedef enum attribute_kind { FLAG, INT32, INT64, FLOAT, DTYPE } attribute_kind;

enum { PER_AXIS = 0, AS_MANY_AS_BEFORE = -1 }; /* of the output; as the attribute before says */

typedef struct attribute {
    const char *name;
    attribute_kind kind;
    size_t offset;
    int32_t count;
} attribute;

typedef struct attribute_list {
    const attribute *items;
    size_t count;
} attribute_list;

#define A(op, kind, field)                                                                         \
    { #field, kind, offsetof(quern_##op##_desc, field), 1 }
#define AS(op, kind, field, count)                                                                 \
    { #field, kind, offsetof(quern_##op##_desc, field), count }

static const attribute matmul[] = {A(matmul, FLAG, transpose_a), A(matmul, FLAG, transpose_b)};
static const attribute conv2d[] = {AS(conv2d, INT32, stride, 2), AS(conv2d, INT32, padding, 2),
                                   AS(conv2d, INT32, dilation, 2), A(conv2d, INT32, groups)};
static const attribute pool2d[] = {AS(pool2d, INT32, window, 2), AS(pool2d, INT32, stride, 2),
                                   AS(pool2d, INT32, padding, 2),
                                   A(pool2d, FLAG, count_exclude_padding)};
static const attribute scale[] = {A(scale, FLOAT, factor), A(scale, FLOAT, offset)};
static const attribute clamp[] = {A(clamp, FLOAT, low), A(clamp, FLOAT, high)};
static const attribute cast[] = {A(cast, DTYPE, dtype)};
static const attribute leaky_relu[] = {A(leaky_relu, FLOAT, slope)};
static const attribute gelu[] = {A(gelu, FLAG, tanh)};
static const attribute dropout[] = {A(dropout, FLOAT, probability)};
static const attribute axis[] = {A(axis, INT32, axis), A(axis, FLAG, first)};
static const attribute reduce[] = {A(reduce, INT32, axis_count),
                                   AS(reduce, INT32, axes, AS_MANY_AS_BEFORE),
                                   A(reduce, FLAG, keep)};
static const attribute reshape[] = {AS(reshape, INT64, dim, PER_AXIS)};
static const attribute permute[] = {AS(permute, INT32, order, PER_AXIS)};
static const attribute slice[] = {A(slice, INT32, axis), A(slice, INT64, start),
                                  A(slice, INT64, stop)};
static const attribute concat[] = {A(concat, INT32, axis)};
static const attribute batch_norm[] = {A(batch_norm, FLOAT, epsilon),
                                       A(batch_norm, FLOAT, momentum)};
static const attribute layer_norm[] = {A(layer_norm, FLOAT, epsilon)};
static const attribute softmax_cross_entropy[] = {A(softmax_cross_entropy, FLOAT, label_smoothing),
                                                  A(softmax_cross_entropy, FLAG, ignore),
                                                  A(softmax_cross_entropy, INT32, ignore_index)};
static const attribute huber[] = {A(huber, FLOAT, delta)};
static const attribute valid_count[] = {A(valid_count, FLAG, ignore),
                                        A(valid_count, INT32, ignore_index)};
static const attribute top_k_correct[] = {A(top_k_correct, INT32, k),
                                          A(top_k_correct, FLAG, ignore),
                                          A(top_k_correct, INT32, ignore_index)};
static const attribute confusion_matrix[] = {A(confusion_matrix, FLAG, ignore),
                                             A(confusion_matrix, INT32, ignore_index)};
#define max_pool2d pool2d
#define avg_pool2d pool2d
#define softmax axis
#define log_softmax axis
#define argmax axis
#define sum reduce
#define mean reduce
#define max reduce
#define min reduce

#define LIST_OF(list)                                                                              \
    { list, sizeof(list) / sizeof *(list) }
#define LIST_DESC(name) LIST_OF(name)
#define LIST_NO_DESC(name)                                                                         \
    { NULL, 0 }
#define LIST_FUSED(name)                                                                           \
    { NULL, 0 }
#define QUERN_OP(name, desc, in, out, reads, flags, rule, formula)                                 \
    [QUERN_OP_ID_##name] = {#name, LIST_##desc(name)},

static const struct {
    const char *op;
    attribute_list list;
} rows[QUERN_OP_ID_COUNT] = {
#include <quern/ops.def>
};

static void add_value(text *line, attribute_kind kind, const void *values, int32_t i) {
    switch (kind) {
    case FLAG: text_add(line, "%s", ((const bool *)values)[i] ? "true" : "false"); break;
    case INT32: text_add(line, "%" PRId32, ((const int32_t *)values)[i]); break;
    case INT64: text_add(line, "%" PRId64, ((const int64_t *)values)[i]); break;
    case FLOAT: text_add(line, "%.9g", (double)((const float *)values)[i]); break;
    case DTYPE: text_add(line, "%s", quern_dtype_name(((const quern_dtype *)values)[i])); break;
    }
}

static int32_t count_of(const graph_node *node, const attribute *a) {
    int32_t count = a->count;
    if (a->count == PER_AXIS) count = node->out[0]->shape.rank;
    if (a->count == AS_MANY_AS_BEFORE)
        memcpy(&count, (const char *)node->attributes + a[-1].offset, sizeof count);
    return count;
}

static void add_attribute(text *line, const graph_node *node, const attribute *a) {
    const void *values = (const char *)node->attributes + a->offset;
    const int32_t count = count_of(node, a);
    text_add(line, ", %s=%s", a->name, a->count == 1 ? "" : "(");
    for (int32_t i = 0; i < count && i < QUERN_RANK_MAX; i++) {
        if (i > 0) text_add(line, ", ");
        add_value(line, a->kind, values, i);
    }
    if (a->count != 1) text_add(line, ")");
}

void node_text(text *line, const graph_node *node) {
    text_add(line, "%s(", node->op->name);
    for (int32_t i = 0; i < node->input_count; i++)
        text_add(line, "%s%s", i ? ", " : "", node->in[i] ? node->in[i]->name : "-");
    for (size_t i = 0; node->builtin >= 0 && i < rows[node->builtin].list.count; i++)
        add_attribute(line, node, &rows[node->builtin].list.items[i]);
    text_add(line, ")");
}

/* Of the op that the line begins with; of a custom one none. */
static attribute_list list_of(const char *line) {
    for (int32_t i = 0; i < QUERN_OP_ID_COUNT; i++) {
        const size_t length = strlen(rows[i].op);
        if (strncmp(line, rows[i].op, length) == 0 && line[length] == '(') return rows[i].list;
    }
    return (attribute_list){NULL, 0};
}

static const char *behind_attribute(const char *at, const attribute *a) {
    const size_t length = strlen(a->name);
    if (a->kind != FLOAT || strncmp(at, ", ", 2) != 0 || strncmp(at + 2, a->name, length) != 0 ||
        at[2 + length] != '=')
        return at;
    return at + strcspn(at + 2, ",)") + 2;
}

static const char *behind_reals(const char *at, const attribute_list *list) {
    for (size_t i = 0; i < list->count; i++) at = behind_attribute(at, &list->items[i]);
    return at;
}

void node_text_strip(char *line) {
    const attribute_list list = list_of(line);
    const char *from = line;
    do {
        from = behind_reals(from, &list);
        *line++ = *from;
    } while (*from++ != '\0');
}

bool node_text_alike(const char *a, const char *b) {
    const attribute_list list = list_of(a);
    for (;; a++, b++) {
        a = behind_reals(a, &list);
        b = behind_reals(b, &list);
        if (*a != *b) return false;
        if (*a == '\0') return true;
    }
}
