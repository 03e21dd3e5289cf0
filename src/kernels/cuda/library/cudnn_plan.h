/* cudnn_plan.h - a planned cuDNN graph: which engine computes it, what scratch it needs, and how it
 * is run.
 *
 * The library proposes configurations of engines, best first (mode A, then its fall-backs). The
 * first that keeps our promises and can be finalised is the plan: no engine that may give other
 * bits on another run where the caller is deterministic, no reduced precision, tensor cores on F32
 * only where TF32 is allowed. When the device is to be tuned, it is the fastest of the first eight
 * such. The plan is remembered on disk as the library's own JSON: engines that are compiled at run
 * time take a second to plan and a millisecond to load. That there is no engine is remembered there
 * too, as long as the driver is the same one, where some were proposed and each was refused for
 * what the graph is: what may pass is asked again.
 *
 * A plan for its bytes alone writes nothing: it is remembered in memory how many they are. Before a
 * device was tuned for the graph they are those of the largest among the engines to be timed. */
#ifndef QUERN_KERNELS_CUDA_CUDNN_PLAN_H
#define QUERN_KERNELS_CUDA_CUDNN_PLAN_H

#include "cudnn_graph.h"

typedef struct cudnn_plan cudnn_plan;

typedef struct cudnn_plan_desc {
    bool deterministic;
    bool no_tensor_cores; /* F32 without TF32 */
    bool no_fall_back;    /* only engines of the library's first choice */
    bool bytes_only;      /* it will not run */
    quern_stream
        *tune_on; /* where engines may be timed, if the device is tuned; NULL: they may not */
} cudnn_plan_desc;

/* *out is NULL, with QUERN_OK, when no engine is fit: the caller has another way. */
QUERN_MUST_CHECK quern_status cudnn_plan_create(cudnn_plan **out, cudnn_graph *g,
                                                const cudnn_plan_desc *desc);
void cudnn_plan_destroy(cudnn_plan *p);
size_t cudnn_plan_scratch_bytes(const cudnn_plan *p); /* 0 for NULL */

typedef struct cudnn_plan_run_desc {
    int32_t count;
    int64_t ids[CUDNN_PLAN_TENSORS];
    void *pointers[CUDNN_PLAN_TENSORS];
    void *scratch;
    quern_stream *stream;
} cudnn_plan_run_desc;

/* May not be called for plans of one device on two threads at once. */
QUERN_MUST_CHECK quern_status cudnn_plan_run(cudnn_plan *p, const cudnn_plan_run_desc *run);

#endif
