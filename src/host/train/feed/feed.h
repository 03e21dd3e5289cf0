/* feed.h - how a batch comes into a program's inputs: from a loader's pinned slots, or the
 * application's memory, by a copy; or from a set that the device holds, by a gather. */
#ifndef QUERN_TRAIN_FEED_FEED_H
#define QUERN_TRAIN_FEED_FEED_H

#include "../../data/loader.h"
#include "../loop/attempt.h"
#include <quern/train.h>

typedef struct resident_set resident_set; /* resident.h */

/* Pinned staging slots, and the loader that fills them. */
struct feed {
    loader *loader; /* NULL: the application's own batches */
    int32_t input_count;
    int32_t slot_count, held_count; /* the loader's; behind them, those for held batches */
    loader_input inputs[QUERN_INPUT_MAX];
    const quern_tensor *tensors[QUERN_INPUT_MAX];
    void **slots;         /* [slot_count + held_count][input_count] */
    const void **sources; /* the same; of the application's own batches, its own memory too */
    size_t offsets[QUERN_INPUT_MAX]; /* of the inputs, in a slot */
    void *block;                     /* pinned; all slots */
    size_t block_bytes;
    resident_set *resident; /* not NULL: the loader's slots are names, its batches are gathered */
};

#define UPLOAD_SLOTS 2

typedef struct upload_slot {
    unsigned char *block;    /* device: a batch, laid out as in a feed's slot */
    backend_event *uploaded; /* by the copy stream */
    backend_event *taken;    /* into the inputs, by the stream that computes */
    bool used;               /* `taken` stands behind an upload */
} upload_slot;

/* The copy stream; NULL: batches are copied into the inputs at once. */
typedef struct upload {
    quern_stream *stream;
    upload_slot slots[UPLOAD_SLOTS];
    size_t slot_bytes;
    int64_t issued; /* since both streams were at rest */
} upload;

/* feed.c: dataset NULL: bound later, or (without loader) the application's own batches. */
typedef struct feed_desc {
    unit_kind kind;
    const quern_dataset *dataset;
    resident_set *resident; /* of that set; NULL: from the host */
    bool loader;
    int32_t slot_count, held_count, worker_count;
} feed_desc;
QUERN_MUST_CHECK quern_status feed_create(quern_trainer *t, feed *out, const feed_desc *desc);
void feed_release(quern_trainer *t, feed *f);
/* Of one of its inputs in the unit's program; 0 when that does not read it. */
size_t feed_input_bytes(const feed *f, int32_t input, const trainer_unit *unit);
/* OK, or the failure of a copy of it, which then names the input. */
quern_status feed_input_check(const feed *f, int32_t input, quern_status status);
/* A batch in pinned memory into the unit's inputs, in the steps' order: by the copy stream, where
 * there is one. */
QUERN_MUST_CHECK quern_status feed_put(quern_trainer *t, const feed *f, const void *const *data,
                                       const trainer_unit *unit);
/* The same from a slot. */
QUERN_MUST_CHECK quern_status feed_upload(quern_trainer *t, const feed *f, int32_t slot,
                                          const trainer_unit *unit);
/* From any memory, by the stream that computes; an input without data stays as it is. */
QUERN_MUST_CHECK quern_status feed_copy(quern_trainer *t, const feed *f, const void *const *data,
                                        const trainer_unit *unit);
const void *const *feed_slot(const feed *f, int32_t slot); /* NULL: it is only a name */
/* Of a resident set's feed: a batch as the host makes it, to one buffer per input. */
QUERN_MUST_CHECK quern_status feed_read(const feed *f, const window_batch *m, void *const *to);
/* *out: the batch in host memory, until the next look. */
QUERN_MUST_CHECK quern_status feed_look(const feed *f, const window_batch *m,
                                        const void *const **out);

/* upload.c: behind resident_plan. Nothing is planned where no batch is known to come from the host:
 * those that come all the same are copied by the stream that computes. */
QUERN_MUST_CHECK quern_status upload_plan(quern_trainer *t);
QUERN_MUST_CHECK quern_status upload_create(quern_trainer *t);
void upload_release(quern_trainer *t);
QUERN_MUST_CHECK quern_status upload_issue(quern_trainer *t, const feed *f, const void *const *data,
                                           const trainer_unit *unit);
/* Behind a failure: the copy stream is at rest, and well again. */
void upload_settle(quern_trainer *t);

/* resident.c: chooses, and adds their bytes to `planned`, which counts all else. */
QUERN_MUST_CHECK quern_status resident_plan(quern_trainer *t);
/* Device memory is the host's: nothing needs to be brought there. */
bool trainer_shares_memory(const quern_trainer *t);
QUERN_MUST_CHECK quern_status resident_create(quern_trainer *t);
void resident_release(quern_trainer *t);
resident_set *resident_train(const quern_trainer *t); /* NULL: the training set is not */
/* Of an evaluation set that is resident; else NULL. */
feed *resident_feed(const quern_trainer *t, const quern_dataset *dataset);

/* gather.c: *out NULL: the feed's set is not resident. */
QUERN_MUST_CHECK quern_status gather_prepare(quern_trainer *t, feed *f, const trainer_unit *unit,
                                             resident_gather **out);
QUERN_MUST_CHECK quern_status gather_issue(const quern_trainer *t, const resident_gather *gather);
/* The batches of the attempt that is issued next. Their lane is free again when its record has been
 * read; so attempts can be named ahead and issued together. */
void gather_announce(const quern_trainer *t, const attempt *a);
/* An evaluation's batches, from the first one again, one after another. */
QUERN_MUST_CHECK quern_status gather_rewind(const quern_trainer *t, const feed *f);
QUERN_MUST_CHECK quern_status gather_evaluation(quern_trainer *t, feed *f,
                                                const loader_batch *batch,
                                                const trainer_unit *unit);

#endif
