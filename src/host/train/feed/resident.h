/* resident.h - data sets in device memory. The host's set stays the one that is asked (its length,
 * its fields, a batch to look at); the device has its own copy of the fields that inputs name. */
#ifndef QUERN_TRAIN_FEED_RESIDENT_H
#define QUERN_TRAIN_FEED_RESIDENT_H

#include "../trainer.h"

/* One of a trainer's sets: the training set is number 0, t->sets[i] number i + 1. */
struct resident_set {
    const quern_dataset *dataset; /* NULL: it is not resident */
    const char *name;
    size_t data_bytes; /* of its own: none where it is the host's memory, or an earlier set's */
    void *data_block;
    const void *data[QUERN_FIELD_MAX]; /* device; NULL: no input names the field */

    void *work_block; /* device: own_run, picks */
    size_t work_bytes;
    quern_run *own_run;  /* an evaluation's; NULL: the trainer's state counts */
    task_pick *picks;    /* of a batch */
    task_batch *batches; /* pinned [lane_count][window]: the batches that come */
    int64_t lane_count, window;
    resident_gather *gathers;
    feed feed; /* of an evaluation */
};

#endif
