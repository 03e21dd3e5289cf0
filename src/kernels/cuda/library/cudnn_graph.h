/* cudnn_graph.h - builds a graph of cuDNN operations out of the backend API's descriptors: a small
 * builder in which the first failure sticks, so that calls nest.
 *
 *     cudnn_graph g;
 *     cudnn_graph_begin(&g, libraries, "conv2d");
 *     const cudnn_node x = cudnn_tensor(&g, &(cudnn_tensor_desc){…, .id = 1});
 *     …
 *     cudnn_convolution(&g, CUDNN_CONVOLUTION_FORWARD, &desc, x, w, y);
 *     status = cudnn_plan_create(&plan, &g, &limits);
 *     cudnn_graph_end(&g);
 *
 * Each call also adds its words to `key`, which names the graph in the cache of plans: two graphs
 * with the same key are the same graph, also for another build of this library. So a change in
 * what a call means is a change in its words. Tensors with an id from 1 are buffers, whose pointers
 * a run gives by id; those with a negative id are virtual, values between two operations. */
#ifndef QUERN_KERNELS_CUDA_CUDNN_GRAPH_H
#define QUERN_KERNELS_CUDA_CUDNN_GRAPH_H

#include "libraries.h"

enum {
    CUDNN_GRAPH_DESCRIPTORS = 48,
    CUDNN_GRAPH_OPERATIONS = 8,
    CUDNN_GRAPH_KEY_BYTES = 2048,
    CUDNN_TENSOR_RANK_MAX = 5,
    CUDNN_PLAN_TENSORS = 6,
};

typedef cudnnBackendDescriptor_t cudnn_node; /* NULL after a failure */

typedef struct cudnn_graph {
    cuda_libraries *libraries;
    const char *op;
    quern_status status; /* the first failure; its sentence is the thread's */
    cudnn_node descriptors[CUDNN_GRAPH_DESCRIPTORS]; /* destroyed by end, the last first */
    cudnn_node operations[CUDNN_GRAPH_OPERATIONS];
    int32_t descriptor_count, operation_count, tensor_count;
    struct {
        int64_t id, elements;
        quern_dtype dtype;
    } tensors[CUDNN_PLAN_TENSORS]; /* the buffers, as they come */
    size_t key_length;
    char key[CUDNN_GRAPH_KEY_BYTES];
} cudnn_graph;

void cudnn_graph_begin(cudnn_graph *g, cuda_libraries *libraries, const char *op);
void cudnn_graph_end(cudnn_graph *g);

typedef struct cudnn_tensor_desc {
    int64_t id;
    cudnnDataType_t type;
    int32_t rank;
    int64_t dim[CUDNN_TENSOR_RANK_MAX], stride[CUDNN_TENSOR_RANK_MAX];
    int64_t alignment; /* bytes that its pointer is sure to be a multiple of */
} cudnn_tensor_desc;
cudnn_node cudnn_tensor(cudnn_graph *g, const cudnn_tensor_desc *desc);

typedef enum cudnn_convolution_kind {
    CUDNN_CONVOLUTION_FORWARD, /* y from x and w */
    CUDNN_CONVOLUTION_DATA,    /* x's gradient, from w and y's */
    CUDNN_CONVOLUTION_FILTER,  /* w's gradient, from x and y's */
} cudnn_convolution_kind;

typedef struct cudnn_convolution_desc {
    cudnnDataType_t compute;
    int64_t stride[2], padding[2], dilation[2];
    bool accumulate; /* the result is added to what is there */
} cudnn_convolution_desc;
void cudnn_convolution(cudnn_graph *g, cudnn_convolution_kind kind,
                       const cudnn_convolution_desc *desc, cudnn_node x, cudnn_node w,
                       cudnn_node y);

/* y = a op b, element by element; a dimension of 1 in b is repeated. */
void cudnn_pointwise(cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute,
                     cudnn_node a, cudnn_node b, cudnn_node y);

#endif
