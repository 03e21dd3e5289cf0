/* batch.h - the one batch that every run of a verification sees, floats as F32. */
#ifndef QUERN_TRAIN_VERIFY_BATCH_H
#define QUERN_TRAIN_VERIFY_BATCH_H

#include "../../data/loader.h"
#include "../../graph/graph.h"
#include <quern/verify.h>

typedef struct verify_batch {
    arena memory; /* zero-initialised with a host before load */
    int32_t count;
    loader_input inputs[QUERN_INPUT_MAX];
    void *data[QUERN_INPUT_MAX];
    double *wide; /* room for one input as F64 */
    int64_t sample_count;
} verify_batch;

/* The inputs that nodes of `graph` read; from the desc's dataset or batch. After a failure release
 * is allowed. */
QUERN_MUST_CHECK quern_status batch_load(verify_batch *b, const quern_graph *graph,
                                         const quern_verify_desc *desc);
/* Into a program of a graph with the same inputs, in any float dtype. */
QUERN_MUST_CHECK quern_status batch_write(const verify_batch *b, quern_graph *graph,
                                          quern_program *program);
void batch_release(verify_batch *b);

#endif
