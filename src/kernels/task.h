/* task.h - the work of a step that belongs to no op: the window's bookkeeping on the device.
 *
 * A task is a quern_kernel_function whose args->attributes points to the struct of its name below.
 * Everything that changes from attempt to attempt lives in one task_state in device memory, so
 * that a captured step can be replayed without the host. One attempt of one batch runs, in this
 * order (a window of several first opens and weighs each of them, then opens each again, adds its
 * loss by accumulate, seeds):
 *   weigh      loss and weight of a microbatch are added to the window
 *   seed       d(loss) = scale / W is written where backward starts
 *   norm       the unscaled gradient's global L2 norm, NaN or infinity kept
 *   decide     applied or not and why; step, learning rate, hyper-parameters, the next scale
 *   (update)   the rule, when applied
 *   round      the parameters' 16-bit copies, where the update has not made them
 *   average    the parameters' moving average follows them, where the update has not moved it
 *   commit     pending state (running statistics) becomes state, when applied
 *   record     the attempt's record goes to the ring, the window is closed, attempt + 1
 * open         counts the microbatches of a window, from which random draws follow
 * gather       a batch of a data set that the device holds is written into the inputs; in front of
 *              a microbatch's forward pass, and behind its open */
#ifndef QUERN_KERNELS_TASK_H
#define QUERN_KERNELS_TASK_H

#include "field_plan.h"
#include <quern/event.h>
#include <quern/kernel.h>
#include <quern/update.h>

typedef struct task_state { /* device memory */
    quern_run run;
    int64_t step;         /* updates applied */
    double loss, weight;  /* sums of the open window */
    double samples;       /* of the open window */
    double norm;          /* of the gradient of the mean loss, unscaled, before clipping */
    double scale;         /* of the loss, for the next backward pass; 1: none */
    double seeded;        /* the scale of the gradients at hand; 1 where nobody seeds */
    int64_t scale_age;    /* updates applied since the scale changed */
    double learning_rate; /* of the last decided update */
    quern_hyper hyper;
    int64_t not_finite; /* attempts in a row that were; an applied update ends the row */
    int32_t applied;    /* 1 while the update of this attempt may change things */
    int32_t outcome;    /* quern_outcome */
    int32_t skip;       /* set by the host: this attempt is SKIPPED */
    int32_t frozen;     /* set by a failure or a stop: later attempts are FROZEN */
} task_state;

typedef struct task_record { /* host-visible memory, a ring indexed by attempt */
    int64_t attempt, step;   /* step: after this attempt */
    double loss, weight, samples, norm, learning_rate;
    double scale; /* after this attempt */
    int64_t scale_age;
    int64_t not_finite; /* in a row, this one included */
    int32_t outcome;
} task_record;

#define TASK_LIST(X)                                                                               \
    X(open)                                                                                        \
    X(weigh)                                                                                       \
    X(seed) X(norm) X(decide) X(round) X(average) X(commit) X(record) X(accumulate) X(gather)

#define X(name) TASK_##name,
typedef enum task_id { TASK_LIST(X) TASK_COUNT } task_id;
#undef X

typedef struct task_open { /* microbatch 0, or the one behind */
    task_state *state;
    bool first;
} task_open;

typedef struct task_weigh {
    task_state *state;
    quern_view loss;   /* (); data NULL: 0 */
    quern_view weight; /* (); data NULL: `samples` */
    int64_t samples;
} task_weigh;

typedef struct task_seed { /* scale / W; an empty window (W = 0) is seeded with 0 */
    task_state *state;
    quern_view gradient; /* () */
} task_seed;

typedef struct task_norm { /* args->scratch: 8 bytes per TASK_NORM_CHUNK elements */
    task_state *state;
    quern_view gradients; /* flat */
} task_norm;
#define TASK_NORM_CHUNK 16384

typedef struct task_scaler { /* a loss scale that finds itself */
    double growth, backoff, minimum;
    int64_t interval; /* updates applied in a row before it grows; 0: the scale stays as it is */
} task_scaler;

typedef struct task_decide {
    task_state *state;
    /* device memory: factor on the learning rate for update n at [n % schedule_count] */
    const double *schedule;
    int64_t schedule_count;
    quern_hyper constants;    /* learning_rate is the base rate */
    double clip_norm;         /* 0: off */
    int64_t not_finite_limit; /* more in a row freeze what follows; 0: the first does */
    task_scaler scaler;
} task_decide;

typedef struct task_round { /* to[i] = from[i] in 16 bits */
    const float *from;
    uint16_t *to;
    int64_t count;
    quern_dtype dtype; /* BF16, F16 */
    bool stochastic;   /* with the draws of update `state->step`; else to nearest */
    const task_state *state;
} task_round;

typedef struct task_average { /* average += (1 - decay) (value - average), element by element */
    const task_state *state;
    quern_view average, values; /* flat, F32 or F64 */
    double decay;
    bool warmup; /* decay at most (1 + n) / (10 + n), n the updates applied, this one included */
} task_average;

typedef struct task_commit { /* to[i] = from[i] for every pair */
    const task_state *state;
    int32_t count;
    const quern_view *to, *from; /* host memory */
} task_commit;

typedef struct task_record_args { /* then opens the next window: sums and skip 0, attempt + 1 */
    task_state *state;
    task_record *ring;
    int64_t ring_count;
} task_record_args;

typedef struct task_accumulate { /* sums[i] += value[i] */
    double *sums;                /* device memory */
    quern_view value;            /* F32, F64, I32 or I64 */
    double constant;             /* added to sums[0] when value.data is NULL */
} task_accumulate;

/* Which batch of which epoch: written by the host before what gathers it is launched. */
typedef struct task_batch { /* host-visible memory */
    int64_t epoch, first_position;
} task_batch;

typedef struct task_pick { /* of a row */
    int64_t sample;
    field_draw draw;
} task_pick;

typedef struct task_field { /* of the set, and the input that it becomes: whole device blocks */
    const void *from;
    void *to;
    field_plan plan;
} task_field;

/* The batch is at batches[attempt % lane_count * window + microbatch] of `run`: everything else
 * follows from it as on the host (sampler.h, field_plan.h), so that several attempts can be
 * recorded in one capture and the host says only where their data begins. */
typedef struct task_gather { /* args->scratch: a task_pick a row */
    const task_batch *batches;
    int64_t lane_count, window;
    quern_run *run;
    bool advance;   /* run.attempt + 1 behind it: for passes that no attempt counts */
    int64_t length; /* of the set */
    bool shuffle;
    uint64_t seed;
    int64_t sample_count; /* rows to be written */
    int32_t field_count;
    const task_field *fields; /* host memory */
} task_gather;

static inline QUERN_HD const task_batch *gather_batch(const task_gather *t) {
    return &t->batches[t->run->attempt % t->lane_count * t->window + t->run->microbatch];
}

#endif
