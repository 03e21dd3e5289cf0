/* binding.h - the fields of a dataset matched with the inputs of a graph, and the filling of one
 * batch. No threads, no order of its own: the loader calls it from several threads at once, each
 * in a lane of its own. */
#ifndef QUERN_DATA_BINDING_H
#define QUERN_DATA_BINDING_H

#include "loader.h"
#include "../../kernels/sampler.h"
#include "transform.h"

#include <stdatomic.h>

typedef struct binding {
    const quern_host *host;
    const quern_dataset *dataset; /* NULL: none yet */
    int32_t input_count, transform_count;
    loader_input inputs[QUERN_INPUT_MAX];
    quern_transform transforms[QUERN_FIELD_MAX]; /* resolved */
    bool augment;
    uint64_t seed;

    int32_t field[QUERN_INPUT_MAX]; /* which one fills the input */
    field_plan plans[QUERN_INPUT_MAX];

    int32_t lane_count; /* threads that may fill at once */
    uint8_t *raw;       /* one sample per lane, for sets that are not held */
    size_t raw_bytes, lane_bytes;
    size_t offset[QUERN_FIELD_MAX]; /* of a field in a lane */
} binding;

/* Copies inputs and transforms; no dataset yet. */
QUERN_MUST_CHECK quern_status binding_begin(binding *b, const loader_desc *desc,
                                            int32_t lane_count);
/* On failure the former dataset stays bound. */
QUERN_MUST_CHECK quern_status binding_set(binding *b, const quern_dataset *dataset);
void binding_release(binding *b);

/* What a batch is made of, and where it goes. */
typedef struct binding_batch {
    int32_t lane;
    int64_t epoch, first_position, sample_count;
    void *const *to;           /* [input_count] */
    const atomic_bool *cancel; /* becomes true: leave, the batch is not wanted any more */
} binding_batch;

QUERN_MUST_CHECK quern_status binding_fill(const binding *b, const sampler *order,
                                           const binding_batch *batch);
/* Reads on from where the stream stands, at most sample_count; *filled: how many there were.
 * to == NULL: the samples are skipped. */
QUERN_MUST_CHECK quern_status binding_fill_stream(const binding *b, const binding_batch *batch,
                                                  int64_t *filled);

#endif
