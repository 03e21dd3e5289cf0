/* cudnn_plan_parts.h - what the files of cudnn_plan.h share. */
#ifndef QUERN_KERNELS_CUDA_CUDNN_PLAN_PARTS_H
#define QUERN_KERNELS_CUDA_CUDNN_PLAN_PARTS_H

#include "cudnn_plan.h"

struct cudnn_plan {
    cuda_libraries *libraries;
    cudnn_node plan;
    size_t scratch_bytes;
    bool timed;                 /* it was the fastest */
    bool counted;               /* without a plan: its bytes alone were asked for */
    cudnn_node pack;            /* the pointers of the last run, as the library wants them */
    cudnn_plan_run_desc packed; /* and as they were given */
    char op[32];
};

/* Whether the fastest of several engines is wanted, or the bytes of whichever that will be. */
static inline bool cudnn_is_tuned(const cudnn_plan *p, const cudnn_plan_desc *desc) {
    return p->libraries->tune && (desc->tune_on != NULL || desc->bytes_only);
}

/* A descriptor of the library; *out is NULL after a failure. `what` is for sentences. */
QUERN_MUST_CHECK quern_status cudnn_make(cuda_libraries *libraries,
                                         cudnnBackendDescriptorType_t type, cudnn_node *out,
                                         const char *what);
/* An execution plan that has its device and nothing else. */
QUERN_MUST_CHECK quern_status cudnn_make_plan(cuda_libraries *libraries, cudnn_node *out,
                                              const char *what);
void cudnn_unmake(cuda_libraries *libraries, cudnn_node node); /* NULL is allowed */
QUERN_MUST_CHECK quern_status cudnn_set(cuda_libraries *libraries, cudnn_node node,
                                        cudnnBackendAttributeName_t name,
                                        cudnnBackendAttributeType_t type, int64_t count,
                                        const void *values, const char *what);
/* As cudnn_ask; a refusal that may not last leaves a doubt. */
QUERN_MUST_CHECK quern_status cudnn_answer(cuda_libraries *libraries, cudnnStatus_t code,
                                           const char *call, const char *what, bool *yes);
/* Runs the library's checks, and its compiler. A refusal is an answer. */
QUERN_MUST_CHECK quern_status cudnn_finalise(cuda_libraries *libraries, cudnn_node node,
                                             const char *what, bool *finalised);
/* Reads up to `most` values of an attribute; *count 0: a refusal, which is an answer too. */
QUERN_MUST_CHECK quern_status cudnn_get(cuda_libraries *libraries, cudnn_node node,
                                        cudnnBackendAttributeName_t name,
                                        cudnnBackendAttributeType_t type, int64_t most,
                                        int64_t *count, void *values, const char *what);
QUERN_MUST_CHECK quern_status cudnn_read_scratch(cuda_libraries *libraries, cudnn_node plan,
                                                 size_t *bytes, const char *what);

/* Of one run of it; not `measured`: there is no memory for that. */
QUERN_MUST_CHECK quern_status cudnn_measure(cudnn_plan *p, const cudnn_graph *g,
                                            quern_stream *stream, double *milliseconds,
                                            bool *measured);

/* Finds an engine for the graph; leaves p->plan NULL when none is fit. */
QUERN_MUST_CHECK quern_status cudnn_choose(cudnn_plan *p, cudnn_graph *g,
                                           const cudnn_plan_desc *desc);

#endif
