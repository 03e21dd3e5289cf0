/* loader.h - batches of a dataset, in order, in memory that the caller owns.
 *
 * A loader fills slots: one buffer per input, batch_size samples each, given by the caller (pinned
 * memory, where there is such a thing). Worker threads fill free slots ahead of the caller in any
 * order; loader_next hands them over in the order of the epoch. Without workers loader_next fills
 * a slot itself. What a slot holds is a pure function of (dataset, transforms, seed, epoch, batch):
 * the worker count does not change a bit of it.
 *
 * Order: the position within the epoch goes through sampler.h when shuffling, else it is the
 * sample's index. A stream (no length) is read by one thread at a time, in its own order.
 * Everything is allocated by loader_create and loader_bind. One thread calls these functions. */
#ifndef QUERN_DATA_LOADER_H
#define QUERN_DATA_LOADER_H

#include "../../kernels/field_plan.h"
#include "dataset.h"

typedef struct loader loader;

/* One input of a graph, matched by name with a field of the dataset. */
typedef struct loader_input {
    const char *name; /* lives as long as the loader */
    quern_dtype dtype;
    int64_t count; /* elements per sample */
} loader_input;

typedef struct loader_desc {
    const quern_host *host;
    const quern_dataset *dataset; /* borrowed; NULL: loader_bind comes later */
    const loader_input *inputs;   /* copied; at most QUERN_INPUT_MAX */
    int32_t input_count;
    const quern_transform *transforms; /* copied; each names a field; at most QUERN_FIELD_MAX */
    int32_t transform_count;
    int64_t batch_size;
    bool drop_last;       /* leave an uneven last batch out */
    bool shuffle;         /* training; a stream keeps its own order */
    bool augment;         /* training: apply the transforms' random crops and flips */
    uint64_t seed;        /* of the shuffle and of the augmentation */
    int32_t worker_count; /* 0: loader_next fills the slot itself */
    int32_t slot_count;   /* >= 1; batches that the caller holds plus those read ahead */
    void *const *slots;   /* [slot_count][input_count]; pointers copied, buffers borrowed. NULL:
                             batches are named and not filled; needs no workers, refuses a stream */
} loader_desc;

/* SHAPE names an input without a field (and the fields there are), a field whose element count or
 * dtype does not fit, with both; INVALID a transform that does not fit; INPUT a set without
 * samples, or with fewer than batch_size and drop_last; HOST_MEMORY. */
QUERN_MUST_CHECK quern_status loader_create(loader **out, const loader_desc *desc);
void loader_destroy(loader *l); /* at any moment; waits for the reads in progress */

/* Another dataset, with the same checks as create; ends the epoch in progress. Allocates only
 * when the set is not in memory and its samples are larger than any before. */
QUERN_MUST_CHECK quern_status loader_bind(loader *l, const quern_dataset *dataset);

/* Batches of an epoch; -1 for a stream. */
int64_t loader_batch_count(const loader *l);
/* False for a stream without `rewind`: loader_start works once. */
bool loader_can_restart(const loader *l);

/* Begins at any batch of any epoch, whatever was in progress; all slots count as released.
 * first_batch may equal the batch count (the epoch ends at once). A stream is rewound and its
 * first samples skipped. */
QUERN_MUST_CHECK quern_status loader_start(loader *l, int64_t epoch, int64_t first_batch);

typedef struct loader_batch_place {
    int64_t epoch, index, sample_count;
} loader_batch_place;

typedef struct loader_batch {
    bool end;               /* the epoch is over: no slot comes with this */
    int32_t slot;           /* to be given back by loader_release */
    int64_t index;          /* of the batch, from 0 in each epoch */
    int64_t first_position; /* of its first sample in the epoch's order */
    int64_t sample_count;   /* 1 … batch_size */
} loader_batch;

/* Waits for the next batch of the epoch. A failing read comes here, in its place in the order,
 * with a sentence that names dataset and sample, and comes again until loader_start. INVALID when
 * the caller holds every slot. */
QUERN_MUST_CHECK quern_status loader_next(loader *l, loader_batch *out);
/* The slot may be filled again. */
void loader_release(loader *l, int32_t slot);
/* Waits until no worker touches a slot; then they rest until loader_start. */
void loader_stop(loader *l);

/* The first samples of any batch, wherever the loader stands; to: one buffer per input. Only of a
 * loader without slots. */
QUERN_MUST_CHECK quern_status loader_read(const loader *l, const loader_batch_place *place,
                                          void *const *to);
/* What field of the set fills an input, and how. */
int32_t loader_field(const loader *l, int32_t input, field_plan *plan);

#endif
