/* What is measured: each subject makes its tensors and nodes from the dims on the command line. */
#include "kernel_bench.h"

#include <math.h>
#include <string.h>

static quern_status make_of(bench *b, quern_view *out, const char *name, quern_dtype dtype,
                            int32_t rank, const int64_t *dim, uint32_t salt) {
    tensor t;
    QUERN_TRY(tensor_make(b, &t, dtype, rank, dim));
    b->tensors[b->tensor_count - 1].name = name;
    *out = t.view;
    return salt != 0 ? tensor_fill(b, out, salt, 1, 0) : QUERN_OK;
}

/* A tensor of these dims; with a name it is sampled, with a salt it is filled. */
static quern_status make(bench *b, quern_view *out, const char *name, int32_t rank,
                         const int64_t *dim, uint32_t salt) {
    return make_of(b, out, name, b->options.dtype, rank, dim, salt);
}

/* rows, columns */
static quern_status build_layer_norm(bench *b) {
    static const quern_layer_norm_desc desc = {.epsilon = 1e-5f};
    const int64_t *d = b->options.dim, *columns = d + 1;
    node *n = &b->nodes[0];
    QUERN_TRY(make(b, &n->in[0], NULL, 2, d, 1));
    QUERN_TRY(make(b, &n->in[1], NULL, 1, columns, 2));
    QUERN_TRY(make(b, &n->in[2], NULL, 1, columns, 3));
    QUERN_TRY(make(b, &n->out[0], "y", 2, d, 0));
    QUERN_TRY(make(b, &n->grad_out[0], NULL, 2, d, 4));
    QUERN_TRY(make(b, &n->grad_in[0], "gx", 2, d, 0));
    QUERN_TRY(make(b, &n->grad_in[1], "gw", 1, columns, 0));
    QUERN_TRY(make(b, &n->grad_in[2], "gb", 1, columns, 0));
    return node_plan(b, n, QUERN_OP_ID_layer_norm, &desc, 3, 1);
}

/* rows, classes; the gradient of the mean */
static quern_status build_softmax_cross_entropy(bench *b) {
    static const quern_softmax_cross_entropy_desc desc = {0};
    const int64_t *d = b->options.dim;
    node *n = &b->nodes[0];
    tensor target;
    QUERN_TRY(make(b, &n->in[0], NULL, 2, d, 1));
    QUERN_TRY(tensor_make(b, &target, QUERN_I32, 1, d));
    n->in[1] = target.view;
    QUERN_TRY(tensor_fill(b, &n->in[1], 2, (float)d[1], 0));
    QUERN_TRY(make(b, &n->out[0], "loss", 0, NULL, 0));
    QUERN_TRY(make(b, &n->grad_out[0], NULL, 0, NULL, 0));
    QUERN_TRY(tensor_fill(b, &n->grad_out[0], 1, 0, 1.0f / (float)d[0]));
    QUERN_TRY(make(b, &n->grad_in[0], "gz", 2, d, 0));
    return node_plan(b, n, QUERN_OP_ID_softmax_cross_entropy, &desc, 2, 1);
}

/* x, weight and bias with their gradients; y is left to the caller. */
static quern_status make_linear(bench *b, node *product) {
    const int64_t *d = b->options.dim, x[] = {d[0], d[2]}, weight[] = {d[1], d[2]};
    QUERN_TRY(make(b, &product->in[0], NULL, 2, x, 1));
    QUERN_TRY(make(b, &product->in[1], NULL, 2, weight, 0));
    QUERN_TRY(tensor_fill(b, &product->in[1], 2, 0.0625f, 0));
    QUERN_TRY(make(b, &product->in[2], NULL, 1, &d[1], 3));
    QUERN_TRY(make(b, &product->grad_in[0], "gx", 2, x, 0));
    QUERN_TRY(make(b, &product->grad_in[1], "gw", 2, weight, 0));
    return make(b, &product->grad_in[2], "gb", 1, &d[1], 0);
}

/* rows, out, in */
static quern_status build_linear(bench *b) {
    node *product = &b->nodes[0];
    QUERN_TRY(make_linear(b, product));
    QUERN_TRY(make(b, &product->out[0], "y", 2, b->options.dim, 0));
    QUERN_TRY(make(b, &product->grad_out[0], NULL, 2, b->options.dim, 4));
    return node_plan(b, product, QUERN_OP_ID_linear, NULL, 3, 1);
}

/* rows, out, in */
static quern_status build_linear_gelu(bench *b) {
    static const quern_gelu_desc desc = {.tanh = true};
    const int64_t *d = b->options.dim;
    node *product = &b->nodes[0], *gelu = &b->nodes[1];
    QUERN_TRY(make_linear(b, product));
    QUERN_TRY(make(b, &product->out[0], NULL, 2, d, 0));
    QUERN_TRY(make(b, &product->grad_out[0], NULL, 2, d, 0));
    QUERN_TRY(node_plan(b, product, QUERN_OP_ID_linear, NULL, 3, 1));
    gelu->in[0] = product->out[0];
    gelu->grad_in[0] = product->grad_out[0];
    QUERN_TRY(make(b, &gelu->out[0], "y", 2, d, 0));
    QUERN_TRY(make(b, &gelu->grad_out[0], NULL, 2, d, 4));
    return node_plan(b, gelu, QUERN_OP_ID_gelu, &desc, 1, 1);
}

/* All but x and y in F32, as a program has it beside 16-bit images. */
static quern_status build_batch_norm(bench *b, node *norm, const quern_view *x) {
    static const quern_batch_norm_desc desc = {.epsilon = 1e-5f, .momentum = 0.1f};
    const int64_t *channels = &x->dim[1];
    norm->in[0] = *x;
    for (int32_t i = 1; i < 5; i++) {
        QUERN_TRY(make_of(b, &norm->in[i], NULL, QUERN_F32, 1, channels, 0));
        QUERN_TRY(tensor_fill(b, &norm->in[i], (uint32_t)i + 4, 0.5f, 1));
    }
    QUERN_TRY(make(b, &norm->out[0], NULL, 4, x->dim, 0));
    QUERN_TRY(make_of(b, &norm->out[1], NULL, QUERN_F32, 1, channels, 0));
    QUERN_TRY(make_of(b, &norm->out[2], NULL, QUERN_F32, 1, channels, 0));
    QUERN_TRY(make(b, &norm->grad_out[0], NULL, 4, x->dim, 0));
    QUERN_TRY(make(b, &norm->grad_in[0], NULL, 4, x->dim, 0));
    QUERN_TRY(make_of(b, &norm->grad_in[1], "gw_norm", QUERN_F32, 1, channels, 0));
    QUERN_TRY(make_of(b, &norm->grad_in[2], "gb_norm", QUERN_F32, 1, channels, 0));
    return node_plan(b, norm, QUERN_OP_ID_batch_norm, &desc, 5, 3);
}

/* images, channels in, height = width, channels out, window; stride 1, the same size out */
static quern_status build_conv_bn_relu(bench *b) {
    static quern_conv2d_desc desc = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    const int64_t *d = b->options.dim, x[] = {d[0], d[1], d[2], d[2]};
    const int64_t weight[] = {d[3], d[1], d[4], d[4]}, y[] = {d[0], d[3], d[2], d[2]};
    node *conv = &b->nodes[0], *norm = &b->nodes[1], *relu = &b->nodes[2];
    desc.padding[0] = desc.padding[1] = (int32_t)(d[4] / 2);
    QUERN_TRY(make(b, &conv->in[0], NULL, 4, x, 1));
    QUERN_TRY(make(b, &conv->in[1], NULL, 4, weight, 0));
    QUERN_TRY(tensor_fill(b, &conv->in[1], 2, 0.0625f, 0));
    conv->in[2].rank = -1;
    QUERN_TRY(make(b, &conv->out[0], NULL, 4, y, 0));
    QUERN_TRY(build_batch_norm(b, norm, &conv->out[0]));
    b->node_count = 0; /* conv is planned behind norm, and comes before it */
    conv->grad_out[0] = norm->grad_in[0];
    QUERN_TRY(make(b, &conv->grad_in[0], "gx", 4, x, 0));
    QUERN_TRY(make(b, &conv->grad_in[1], "gw", 4, weight, 0));
    QUERN_TRY(node_plan(b, conv, QUERN_OP_ID_conv2d, &desc, 3, 1));
    b->node_count++;
    relu->in[0] = norm->out[0];
    relu->grad_in[0] = norm->grad_out[0];
    QUERN_TRY(make(b, &relu->out[0], "y", 4, y, 0));
    QUERN_TRY(make(b, &relu->grad_out[0], NULL, 4, y, 4));
    return node_plan(b, relu, QUERN_OP_ID_relu, NULL, 1, 1);
}

static void call_add(bench *b, quern_kernel_function function, const void *attributes,
                     void *scratch) {
    b->calls[b->call_count].function = function;
    b->calls[b->call_count++].args = (quern_kernel_args){
        .attributes = attributes, .scratch = scratch, .deterministic = true, .stream = b->stream};
}

/* parameters; the norm of all gradients, clipping by it, and the update, in F32 */
static quern_status build_adamw(bench *b) {
    const int64_t count = b->options.dim[0];
    const task_state state = {.weight = 1, .loss = 1, .scale = 1, .seeded = 1};
    const double factor = 1;
    quern_view blocks[4];
    tensor on_device, schedule, scratch;
    static const char *const names[] = {"parameters", NULL, "m", "v"};
    for (int i = 0; i < 4; i++) {
        QUERN_TRY(make(b, &blocks[i], names[i], 1, &count, i < 2 ? (uint32_t)i + 1 : 0));
        if (i < 2) continue;
        QUERN_TRY(b->backend->fill(b->stream, blocks[i].data, 0, (size_t)count * sizeof(float)));
    }
    QUERN_TRY(tensor_make(b, &on_device, QUERN_U8, 1, &(int64_t){sizeof state}));
    QUERN_TRY(tensor_make(b, &schedule, QUERN_F64, 1, &(int64_t){1}));
    QUERN_TRY(tensor_make(b, &scratch, QUERN_F64, 1, &(int64_t){count / TASK_NORM_CHUNK + 1}));
    task_state *s = on_device.view.data;
    QUERN_TRY(b->backend->copy(b->stream, s, &state, sizeof state));
    QUERN_TRY(b->backend->copy(b->stream, schedule.view.data, &factor, sizeof factor));
    QUERN_TRY(b->backend->stream_wait(b->stream));
    b->attributes.adamw.norm = (task_norm){s, blocks[1]};
    b->attributes.adamw.decide = (task_decide){.state = s,
                                               .schedule = schedule.view.data,
                                               .schedule_count = 1,
                                               .constants = {.learning_rate = 1e-3,
                                                             .beta1 = 0.9,
                                                             .beta2 = 0.95,
                                                             .epsilon = 1e-8,
                                                             .weight_decay = 0.1,
                                                             .clip_value = INFINITY},
                                               .clip_norm = 1};
    b->attributes.adamw.segment = (quern_segment){0, count, 1, 1};
    b->attributes.adamw.update = (quern_update){.dtype = QUERN_F32,
                                                .parameters = blocks[0].data,
                                                .gradients = blocks[1].data,
                                                .states = {blocks[2].data, blocks[3].data},
                                                .segments = &b->attributes.adamw.segment,
                                                .segment_count = 1,
                                                .hyper = &s->hyper,
                                                .applied = &s->applied};
    call_add(b, b->backend->tasks[TASK_norm], &b->attributes.adamw.norm, scratch.view.data);
    call_add(b, b->backend->tasks[TASK_decide], &b->attributes.adamw.decide, NULL);
    call_add(b, b->backend->update_rules[QUERN_OPTIMIZER_ADAMW], &b->attributes.adamw.update, NULL);
    return QUERN_OK;
}

/* bytes: what memory itself can do, read and written */
static quern_status build_copy(bench *b) {
    tensor from, to;
    QUERN_TRY(tensor_make(b, &from, QUERN_U8, 1, b->options.dim));
    QUERN_TRY(tensor_make(b, &to, QUERN_U8, 1, b->options.dim));
    b->copy_from = from.view.data;
    b->copy_to = to.view.data;
    b->copy_bytes = (size_t)b->options.dim[0];
    return b->backend->fill(b->stream, from.view.data, 1, b->copy_bytes);
}

static const struct {
    const char *name;
    int32_t rank;
    quern_status (*build)(bench *b);
} subjects[] = {
    {"copy", 1, build_copy},
    {"adamw", 1, build_adamw},
    {"layer_norm", 2, build_layer_norm},
    {"softmax_cross_entropy", 2, build_softmax_cross_entropy},
    {"linear", 3, build_linear},
    {"linear_gelu", 3, build_linear_gelu},
    {"conv_bn_relu", 5, build_conv_bn_relu},
};

quern_status subject_build(bench *b) {
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++)
        if (strcmp(subjects[i].name, b->options.subject) == 0) {
            if (subjects[i].rank == b->options.rank) return subjects[i].build(b);
            return quern_fail(QUERN_INVALID, "%s takes %d dims, not %d", subjects[i].name,
                              (int)subjects[i].rank, (int)b->options.rank);
        }
    return quern_fail(QUERN_INVALID, "there is no subject %s", b->options.subject);
}
