/* saved_run.h - a run with everything in it that a checkpoint has to hold, and what it did, event
 * by event: shuffle, crops and flips, dropout, batch norm, AdamW with warm-up and clipping, moving
 * average, metrics, moving loss, early stop, skipped steps, a callback with a state of its own. */
#ifndef QUERN_TESTS_TRAIN_SAVED_RUN_H
#define QUERN_TESTS_TRAIN_SAVED_RUN_H

#include <quern/quern.h>

#include <stdatomic.h>

enum { SAVED_SAMPLES = 19, SAVED_VALID = 7, SAVED_SIDE = 6, SAVED_RECORDS = 4000 };

/* One event. The hash is over outcome, set and all scalars, bit by bit; of micro_end over the
 * samples, as shuffle and augmentation made them. */
typedef struct saved_record {
    quern_event_kind kind;
    int64_t step, attempts, epoch, batch;
    uint64_t hash;
    int64_t samples_read; /* so far */
} saved_record;

/* What a callback of the application's keeps: how many updates it saw, and a block that follows. */
typedef struct saved_counter {
    int64_t updates;
    float block[5];
} saved_counter;

typedef struct saved_run_desc {
    quern_host host;
    const char *directory; /* NULL: nothing is saved */
    bool resume;
    int64_t every;
    int32_t workers, run_ahead, threads, prefetch;
    int64_t accumulate; /* default 1 */
    quern_tail tail;
    int64_t epochs, step_limit; /* default 3 epochs */
    int64_t patience;           /* of the early stop; 0: none */
    bool stream;                /* the training set is one that cannot start again */
    bool watched;               /* each microbatch, as it was trained on, is a record too */
    uint64_t seed;              /* default 11 */
    float dropout;              /* default 0.25 */
    float smoothing;            /* of the labels */
    int64_t poisoned;           /* so many samples are so large that the loss is not finite */
    /* Called at every event behind the recorder; NULL: nothing. */
    quern_action (*hook)(void *self, const quern_event *event);
    void *hook_self;
    void (*change)(void *self, quern_trainer_desc *desc); /* the last word on the desc */
    void *change_self;
} saved_run_desc;

typedef struct saved_run {
    saved_run_desc desc;
    quern_device *device;
    quern_graph *graph;
    quern_tensor *image, *loss;
    quern_metric metrics[6];
    quern_dataset *train, *valid;
    quern_early_stop *early_stop;
    quern_trainer *trainer;
    quern_result result;
    saved_counter counter;
    saved_record records[SAVED_RECORDS];
    int64_t record_count;
    atomic_llong samples_read;
    int32_t samples[SAVED_RECORDS];
    char digest[33];                   /* of the end */
    char checkpoint[512], newest[512]; /* of the result; that an event named last */
    char log[16384];                   /* lines of information and warnings, of the default host */
} saved_run;

/* Device, data and graph; on failure everything is destroyed again. */
quern_status saved_run_build(saved_run *r, const saved_run_desc *desc);
/* The trainer of what was built; a failure leaves that as it is, for another try. */
quern_status saved_run_create(saved_run *r);
/* Both; on failure everything is destroyed again. */
quern_status saved_run_open(saved_run *r, const saved_run_desc *desc);
/* fit, then result and digest. */
quern_status saved_run_fit(saved_run *r);
/* The records stay. */
void saved_run_close(saved_run *r);
/* All three. */
quern_status saved_run_whole(saved_run *r, const saved_run_desc *desc);

/* NULL when `resumed`, begun from the checkpoint of `step`, did event by event what `whole` did
 * behind its save; else what differs. ordered: false where another run_ahead lets the fetches of
 * later windows fall elsewhere between the other events. */
const char *saved_run_difference(const saved_run *whole, const saved_run *resumed, int64_t step,
                                 bool ordered);

/* The digest of what the run's last checkpoint holds on the disk; "" when it cannot be read. */
const char *saved_digest(const saved_run *r);

/* Copies the checkpoint step-<n> from one directory to another. */
bool saved_copy(const char *from, const char *to, int64_t step);

#endif
