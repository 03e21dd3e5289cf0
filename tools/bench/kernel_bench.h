/* kernel_bench.h - a benchmark of kernels on the backend's own table: tensors, nodes, turns. */
#ifndef QUERN_BENCH_KERNEL_BENCH_H
#define QUERN_BENCH_KERNEL_BENCH_H

#include "../../src/host/base/report.h"
#include "../../src/host/device/device.h"
#include "../../src/kernels/kernel.h"

enum { BENCH_DIMS = 6, BENCH_TENSORS = 64, BENCH_NODES = 4, BENCH_CALLS = 8 };

typedef struct options {
    const char *subject;
    int64_t dim[BENCH_DIMS];
    int32_t rank;
    quern_dtype dtype;
    quern_device_kind kind;
    bool tune, nondeterministic;
} options;

typedef struct tensor {
    const char *name; /* NULL: not sampled */
    quern_view view;
    size_t bytes;
} tensor;

/* A call of a kernel with all it points to. */
typedef struct node {
    const quern_kernel *kernel;
    quern_kernel_args forward, backward;
    quern_view in[5], out[4], grad_out[4], grad_in[5];
    bool accumulate[5];
} node;

typedef struct bench {
    options options;
    quern_device *device;
    const quern_backend *backend;
    quern_stream *stream;
    backend_capture *turns;
    tensor tensors[BENCH_TENSORS];
    int32_t tensor_count;
    node nodes[BENCH_NODES]; /* forward in order, then backward in reverse */
    int32_t node_count;
    struct {
        quern_kernel_function function;
        quern_kernel_args args;
    } calls[BENCH_CALLS]; /* in order, behind the nodes */
    int32_t call_count;
    union { /* attributes that live as long as the calls */
        struct {
            task_norm norm;
            task_decide decide;
            quern_update update;
            quern_segment segment;
        } adamw;
    } attributes;
    const void *copy_from; /* the subject copy */
    void *copy_to;
    size_t copy_bytes;
} bench;

quern_status bench_open(bench *b, const options *o);
void bench_close(bench *b);
quern_status bench_turn(bench *b); /* issues one */

/* Device memory that lives until bench_close; not cleared. */
quern_status tensor_make(bench *b, tensor *out, quern_dtype dtype, int32_t rank,
                         const int64_t *dim);
/* Values in [-scale, scale) + offset, a function of position and salt. */
quern_status tensor_fill(bench *b, const quern_view *view, uint32_t salt, float scale,
                         float offset);
quern_status bench_cast(bench *b, const quern_view *from, const quern_view *to);
/* Plans the node's kernel and makes its calls; views are filled in by the caller. */
quern_status node_plan(bench *b, node *n, quern_op_id op, const void *attributes,
                       int32_t input_count, int32_t output_count);

/* kernel_subjects.c */
quern_status subject_build(bench *b);

#endif
