/* attempt.h - what an attempt is made of: segments, compiled sizes, staged batches, windows. */
#ifndef QUERN_TRAIN_ATTEMPT_H
#define QUERN_TRAIN_ATTEMPT_H

#include "../../device/device.h"
#include "../../graph/program.h"

#define SLOT_NONE (-1)

/* An attempt is issued in segments; a callback inside the step splits the capture behind one. */
typedef enum segment {
    SEGMENT_GATHER,   /* a resident set's batch into the inputs; left out for other data */
    SEGMENT_FORWARD,  /* forward, weigh, metric sums;       loss_ready follows */
    SEGMENT_BACKWARD, /* seed, backward;        micro_end, grads_ready follow */
    SEGMENT_NORM,     /* global norm, from which the clip; update_begin follows */
    SEGMENT_UPDATE,   /* decide, update, commit, record */
    SEGMENT_COUNT,
} segment;

/* Which microbatch of its window a batch is. The only one: all segments are one run. Else FORWARD
 * and BACKWARD are run for each, when the weight of all is known, and the others once. */
typedef enum window_turn { TURN_ONLY, TURN_FIRST, TURN_FOLLOWING, TURN_COUNT } window_turn;
window_turn turn_of(int64_t count, int64_t microbatch); /* of a window of `count` */

typedef enum unit_kind {
    UNIT_TRAIN,
    UNIT_WEIGH, /* a window's loss weight, before its first backward pass */
    UNIT_EVALUATE,
    UNIT_PREDICT,
    UNIT_CLOSE, /* no program: NORM and UPDATE behind a window's microbatches */
    UNIT_KIND_COUNT
} unit_kind;

typedef struct resident_gather resident_gather;

/* A program for one batch size and what the trainer issues around it. */
typedef struct trainer_unit trainer_unit;
struct trainer_unit {
    trainer_unit *next;
    unit_kind kind;
    int64_t batch_size;
    quern_program *program; /* NULL: UNIT_CLOSE */
    task_weigh weigh;
    task_seed seed;
    task_accumulate loss; /* of a window's microbatch: its weight is known before */
    task_accumulate *sums;
    quern_kernel_args weigh_args, seed_args, loss_args, *sum_args;
    int32_t sum_count;
    resident_gather *gather; /* of the training set; NULL: it is not resident */
    backend_capture *captures[TURN_COUNT][SEGMENT_COUNT]; /* [first of its run]; NULL: eager */
    void *own_arena, *own_inputs; /* when the trainer's are too small for it */
    size_t own_arena_bytes, own_input_bytes;
};

typedef struct feed feed;

/* A batch of a window. */
typedef struct window_batch {
    trainer_unit *unit, *weigh;
    const void *const *data; /* [input_count]; where one is NULL it lies in the unit's input. NULL:
                                the batch is gathered from a resident set */
    int32_t slot;            /* the loader's, to be given back; SLOT_NONE: not its own */
    bool staged;             /* it can be had again: host memory that stays, or gathered */
    union {                  /* where it came from; a held one's is saved as one tensor */
        struct {
            int64_t sample_count, epoch, batch;
        };
        int64_t origin[3];
    };
} window_batch;

/* A window: one that is being filled (quern_trainer.open), or that is issued, until its record has
 * been read. */
typedef struct attempt {
    feed *feed;
    window_batch *microbatches;
    int32_t count;
    int32_t held; /* the first ones, which an earlier epoch left over */
    bool skip;    /* a callback said so while it was filled */
    int64_t sample_count;
    int64_t batch, next_batch; /* of the epoch: the first, the one behind */
    int64_t marked_by;         /* the attempt behind which stands the event that this one shares */
} attempt;

#endif
