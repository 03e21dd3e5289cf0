#include "cudnn_graph.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void say(cudnn_graph *g, const char *format, ...) QUERN_PRINTF(2, 3);
static void say(cudnn_graph *g, const char *format, ...) {
    if (g->status != QUERN_OK) return;
    va_list arguments;
    va_start(arguments, format);
    const size_t room = sizeof g->key - g->key_length;
    const int length = vsnprintf(g->key + g->key_length, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room)
        g->status = cuda_fail(QUERN_INTERNAL, "%s: the graph's key has more than %d bytes", g->op,
                              CUDNN_GRAPH_KEY_BYTES);
    else
        g->key_length += (size_t)length;
}

static bool check(cudnn_graph *g, cudnnStatus_t code, const char *call) {
    if (g->status == QUERN_OK)
        g->status = cudnn_check(g->libraries->owner, &g->libraries->dnn, code, call, g->key);
    return g->status == QUERN_OK;
}

void cudnn_graph_begin(cudnn_graph *g, cuda_libraries *libraries, const char *op) {
    *g = (cudnn_graph){.libraries = libraries, .op = op};
    say(g, "%s", op);
}

void cudnn_graph_end(cudnn_graph *g) {
    for (int32_t i = g->descriptor_count - 1; i >= 0; i--)
        TORN_DOWN_DNN(g->libraries, cudnnBackendDestroyDescriptor, (g->descriptors[i]));
    g->descriptor_count = 0;
}

static cudnn_node make(cudnn_graph *g, cudnnBackendDescriptorType_t type) {
    cudnn_node node = NULL;
    if (g->status != QUERN_OK) return NULL;
    if (g->descriptor_count == CUDNN_GRAPH_DESCRIPTORS) {
        g->status = cuda_fail(QUERN_INTERNAL, "%s: a graph has more than %d descriptors", g->op,
                              CUDNN_GRAPH_DESCRIPTORS);
        return NULL;
    }
    if (!check(g, g->libraries->dnn.cudnnBackendCreateDescriptor(type, &node),
               "cudnnBackendCreateDescriptor"))
        return NULL;
    g->descriptors[g->descriptor_count++] = node;
    return node;
}

static void set(cudnn_graph *g, cudnn_node node, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (g->status == QUERN_OK)
        (void)check(g, g->libraries->dnn.cudnnBackendSetAttribute(node, name, type, count, values),
                    "cudnnBackendSetAttribute");
}

static void set_node(cudnn_graph *g, cudnn_node node, cudnnBackendAttributeName_t name,
                     cudnn_node value) {
    set(g, node, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static cudnn_node finish(cudnn_graph *g, cudnn_node node) {
    if (g->status == QUERN_OK)
        (void)check(g, g->libraries->dnn.cudnnBackendFinalize(node), "cudnnBackendFinalize");
    return g->status == QUERN_OK ? node : NULL;
}

static void finish_operation(cudnn_graph *g, cudnn_node node) {
    if (finish(g, node) == NULL) return;
    if (g->operation_count < CUDNN_GRAPH_OPERATIONS)
        g->operations[g->operation_count++] = node;
    else
        g->status = cuda_fail(QUERN_INTERNAL, "%s: a graph has more than %d operations", g->op,
                              CUDNN_GRAPH_OPERATIONS);
}

static quern_dtype dtype_of(cudnnDataType_t type) {
    switch ((int)type) {
    case CUDNN_DATA_DOUBLE: return QUERN_F64;
    case CUDNN_DATA_HALF: return QUERN_F16;
    case CUDNN_DATA_BFLOAT16: return QUERN_BF16;
    default: return QUERN_F32;
    }
}

static void note_buffer(cudnn_graph *g, const cudnn_tensor_desc *d) {
    int64_t elements = 1;
    if (g->status != QUERN_OK || d->id < 0) return;
    if (g->tensor_count == CUDNN_PLAN_TENSORS) {
        g->status = cuda_fail(QUERN_INTERNAL, "%s: a graph has more than %d buffers", g->op,
                              CUDNN_PLAN_TENSORS);
        return;
    }
    for (int32_t i = 0; i < d->rank; i++) elements += (d->dim[i] - 1) * d->stride[i];
    g->tensors[g->tensor_count].id = d->id;
    g->tensors[g->tensor_count].elements = elements;
    g->tensors[g->tensor_count++].dtype = dtype_of(d->type);
}

cudnn_node cudnn_tensor(cudnn_graph *g, const cudnn_tensor_desc *d) {
    const int64_t alignment = d->alignment;
    const bool virtual = d->id < 0;
    note_buffer(g, d);
    say(g, "; tensor %" PRId64 " type %d align %" PRId64, d->id, (int)d->type, alignment);
    for (int32_t i = 0; i < d->rank; i++) say(g, " %" PRId64 ":%" PRId64, d->dim[i], d->stride[i]);
    cudnn_node node = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(g, node, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &d->id);
    set(g, node, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &d->type);
    set(g, node, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(g, node, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, d->rank, d->dim);
    set(g, node, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, d->rank, d->stride);
    set(g, node, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &virtual);
    return finish(g, node);
}

static cudnn_node convolution_window(cudnn_graph *g, const cudnn_convolution_desc *d) {
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t axes = 2;
    cudnn_node node = make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(g, node, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &d->compute);
    set(g, node, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(g, node, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
    set(g, node, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, d->dilation);
    set(g, node, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, d->stride);
    set(g, node, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, d->padding);
    set(g, node, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, d->padding);
    return finish(g, node);
}

typedef struct convolution_words {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t window, x, w, y, alpha, beta;
} convolution_words;

static const convolution_words convolutions[] = {
    [CUDNN_CONVOLUTION_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CUDNN_CONVOLUTION_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CUDNN_CONVOLUTION_FILTER] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static void set_factor(cudnn_graph *g, cudnn_node node, cudnnBackendAttributeName_t name,
                       cudnnDataType_t compute, double value) {
    const float single = (float)value;
    if (compute == CUDNN_DATA_DOUBLE)
        set(g, node, name, CUDNN_TYPE_DOUBLE, 1, &value);
    else
        set(g, node, name, CUDNN_TYPE_FLOAT, 1, &single);
}

void cudnn_convolution(cudnn_graph *g, cudnn_convolution_kind kind, const cudnn_convolution_desc *d,
                       cudnn_node x, cudnn_node w, cudnn_node y) {
    const convolution_words *words = &convolutions[kind];
    say(g, "; convolution %d compute %d", (int)kind, (int)d->compute);
    for (int i = 0; i < 2; i++)
        say(g, " %" PRId64 " %" PRId64 " %" PRId64, d->stride[i], d->padding[i], d->dilation[i]);
    say(g, "%s", d->accumulate ? " accumulate" : "");
    cudnn_node window = convolution_window(g, d);
    cudnn_node node = make(g, words->type);
    set_node(g, node, words->window, window);
    set_node(g, node, words->x, x);
    set_node(g, node, words->w, w);
    set_node(g, node, words->y, y);
    set_factor(g, node, words->alpha, d->compute, 1);
    set_factor(g, node, words->beta, d->compute, d->accumulate ? 1 : 0);
    finish_operation(g, node);
}

void cudnn_pointwise(cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute,
                     cudnn_node a, cudnn_node b, cudnn_node y) {
    say(g, "; pointwise %d compute %d", (int)mode, (int)compute);
    cudnn_node what = make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(g, what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(g, what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    what = finish(g, what);
    cudnn_node node = make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_node(g, node, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
    set_node(g, node, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a);
    set_node(g, node, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_node(g, node, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    finish_operation(g, node);
}
