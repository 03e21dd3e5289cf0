/* event.h - what a training run tells, and what it may be told back.
 *
 * A callback is a struct of optional functions plus `self`. Each returns an action; one that is
 * illegal at that event ends the run with QUERN_CALLBACK naming callback and event. Callbacks run
 * on the thread that called fit, in order of band, then of registration; `close` in reverse.
 * `stop_requested` (when there was one), `fit_end` and `close` fire exactly once however the run
 * ends. The host runs up to `run_ahead` attempts ahead of the device: fetch_begin, fetch_end and
 * step_begin fire when an attempt is issued; update_end and everything after it when its record
 * has come back, in order. Host floats are handed out only in log, eval_end and epoch_end.
 *
 * A window's microbatches are all fetched (fetch_begin, fetch_end each) before its step_begin;
 * loss_ready and micro_end come once per microbatch, the others once per window. STOP and END_EPOCH
 * let the attempts already issued, the one at hand included, run to their end; before step_begin
 * there is none at hand, and an incomplete window meets its tail policy. Order at a boundary:
 * update_end, step_end, log, evaluation, save; at an epoch's end: evaluation, epoch_end, save.
 * A callback may call quern_trainer_read, quern_trainer_scale_learning_rate and the functions of
 * parameters, not fit, step, wait, evaluate, predict or reset. A quern_trainer_step of the
 * application's own loop fires step_begin … log. */
#ifndef QUERN_EVENT_H
#define QUERN_EVENT_H

#include <quern/status.h>

QUERN_BEGIN_C

typedef enum quern_action {
    QUERN_CONTINUE,
    QUERN_SKIP_BATCH, /* this microbatch is left out; the window goes on with the next one */
    QUERN_SKIP_STEP,  /* the window's data is consumed, no update */
    QUERN_END_EPOCH,  /* no further batch of this epoch */
    QUERN_END_EVAL,   /* no further batch of this evaluation */
    QUERN_STOP,       /* end the run in order */
    QUERN_FAIL,       /* end the run with QUERN_CALLBACK; quern_fail() may have left a sentence,
                        quern_event_fail() another status */
} quern_action;

/* One table: event, legal actions beside CONTINUE and FAIL, when it fires. */
/* clang-format off */
#define QUERN_EVENT_LIST(X)                                                                       \
    X(init,           0,                      "once, at the end of quern_trainer_create")         \
    X(load_begin,     0,                      "a checkpoint was found, before it is read back")   \
    X(load_end,       0,                      "all state is that of event->checkpoint")           \
    X(fit_begin,      STOP,                   "before the first epoch of a fit")                  \
    X(epoch_begin,    STOP | END_EPOCH,       "before an epoch's first batch")                    \
    X(fetch_begin,    STOP | END_EPOCH,       "before a batch is asked for")                      \
    X(fetch_end,      STOP | END_EPOCH | SKIP_STEP | SKIP_BATCH, "a batch is there")              \
    X(step_begin,     STOP | END_EPOCH | SKIP_STEP, "before the forward pass is issued")          \
    X(loss_ready,     STOP | END_EPOCH | SKIP_STEP, "between forward and backward")               \
    X(micro_end,      STOP | END_EPOCH | SKIP_STEP, "a microbatch's gradients are added")         \
    X(grads_ready,    STOP | END_EPOCH | SKIP_STEP, "gradients complete, not clipped")            \
    X(update_begin,   STOP | END_EPOCH | SKIP_STEP, "clipped, before the update")                 \
    X(update_end,     STOP | END_EPOCH,       "applied, or not and why: event->outcome")          \
    X(step_end,       STOP | END_EPOCH,       "after counters and learning rate moved on")        \
    X(log,            STOP | END_EPOCH,       "every log_every updates, and at an epoch's end")   \
    X(eval_begin,     STOP | END_EVAL,        "before an evaluation's first batch")               \
    X(eval_batch_end, STOP | END_EVAL,        "after each of its batches")                        \
    X(eval_end,       STOP,                   "with its metrics; NaN where a STOP cut it short")  \
    X(epoch_end,      STOP,                   "after the epoch's evaluation")                     \
    X(save_begin,     0,                      "before the state is copied")                       \
    X(save_snapshot,  0,                      "copied: training may go on, the writer writes")    \
    X(save_durable,   0,                      "event->checkpoint is durable, or it failed")      \
    X(stop_requested, 0,                      "once, when the run begins to end early")           \
    X(exception,      0,                      "the run fails: event->status")                     \
    X(fit_end,        0,                      "once per fit, last; its FAIL fires no exception")  \
    X(close,          0,                      "once, in quern_trainer_destroy, in reverse order")
/* clang-format on */
#define X(name, actions, text) QUERN_EVENT_##name,
typedef enum quern_event_kind { QUERN_EVENT_LIST(X) QUERN_EVENT_COUNT } quern_event_kind;
#undef X
QUERN_API const char *quern_event_name(quern_event_kind kind); /* "step_end" */

typedef enum quern_outcome {
    QUERN_OUTCOME_APPLIED,
    QUERN_OUTCOME_EMPTY,      /* the window's weight was zero */
    QUERN_OUTCOME_NOT_FINITE, /* loss or gradient; nothing was changed */
    QUERN_OUTCOME_SKIPPED,    /* a callback said so */
    QUERN_OUTCOME_FROZEN,     /* issued behind a stop, taken back */
    QUERN_OUTCOME_OVERFLOW,   /* the scaled gradient was not finite: nothing was changed but the
                                 loss scale, which is smaller */
} quern_outcome;
QUERN_API const char *quern_outcome_name(quern_outcome outcome); /* "applied" */

typedef struct quern_scalar {
    const char *name; /* "train/loss" */
    double value;
} quern_scalar;

typedef struct quern_trainer quern_trainer;

typedef struct quern_event {
    quern_event_kind kind;
    quern_trainer *trainer;
    int64_t step;                /* updates applied */
    int64_t attempts;            /* windows consumed */
    int64_t epoch;               /* from 0 */
    int64_t batch;               /* within the epoch or the evaluation, from 0; of a window, its
                                    first */
    int64_t microbatch;          /* loss_ready, micro_end: within the window, from 0 */
    quern_outcome outcome;       /* update_end, step_end */
    quern_status status;         /* exception, fit_end, save_durable */
    const char *reason;          /* stop_requested, fit_end: "epochs", "callback", …; save_durable
                                    that failed: the sentence */
    const char *stopped_by;      /* stop_requested, fit_end: with the reason "callback" the name of
                                    the one whose STOP it was; NULL: it has none, or the run was
                                    over when it was resumed */
    const char *evaluation;      /* eval_begin … eval_end: the set's name, "val" */
    const char *checkpoint;      /* load_begin, load_end, save_durable: its path; where the save
                                    failed, the one that it would have had */
    const quern_scalar *scalars; /* log, eval_end, epoch_end; valid during the call. init: every
                                    name that will ever come, values NaN */
    int32_t scalar_count;
    double seconds;            /* log, eval_end, epoch_end: since fit began */
    double samples_per_second; /* log, epoch_end */
} quern_event;

typedef enum quern_band {
    QUERN_BAND_USER, /* the default */
    QUERN_BAND_MUTATOR,
    QUERN_BAND_MONITOR,
    QUERN_BAND_LOGGER,
    QUERN_BAND_CHECKPOINTER,
} quern_band; /* run order: mutators, user, monitors, loggers, checkpointers */

/* What a checkpoint keeps of a callback: memory that stays where it is from the end of init on.
 * It is read at saves, while no event fires, and written by a resume before load_end, where the
 * callback may look at it and FAIL. No padding, no pointers: two equal runs must hold equal bytes.
 */
typedef struct quern_callback_state {
    void *data;   /* small things: counters, bests */
    size_t bytes; /* at most 64 KiB */
    void *block;  /* large things: weights */
    size_t block_bytes;
} quern_callback_state;

/* Subscribing to loss_ready, micro_end, grads_ready or update_begin splits the captured step there.
 */
#define X(name, actions, text) quern_action (*name)(void *self, const quern_event *event);
typedef struct quern_callback {
    const char *name; /* in messages; unique where there is `state` or `settings` */
    quern_band band;
    void *self;
    /* Asked once, after init; NULL: nothing to be kept. */
    quern_callback_state (*state)(void *self);
    /* One JSON object of what it decides by; read while the trainer is created. It stands in the
     * run's configuration under callbacks.<name> (of quern_early_stop under early_stops.<name>), so
     * that a resume tells what has changed. One that lets what evaluations measure change the
     * training gives its settings: changed evaluations are then said to be no longer bit-identical.
     * NULL: nothing. */
    const char *settings;
    QUERN_EVENT_LIST(X)
} quern_callback;
#undef X

/* Asks for an evaluation or a save at the next boundary: behind the attempts already issued, and
 * where the run is ending, not at all (what it ends with is evaluated and saved as train.h says).
 * From fit_begin … epoch_end of a fit; INVALID elsewhere, where there is nothing to evaluate, or no
 * folder to save to. */
typedef enum quern_request { QUERN_REQUEST_EVALUATION = 1, QUERN_REQUEST_SAVE = 2 } quern_request;
QUERN_API QUERN_MUST_CHECK quern_status quern_event_request(const quern_event *event,
                                                            quern_request request);

/* The value of a scalar of this event, NaN if it has none of that name. */
QUERN_API double quern_event_scalar(const quern_event *event, const char *name);

/* Returns QUERN_FAIL, and lets the run end with `status` instead of CALLBACK; the sentence that
 * quern_fail() left on this thread comes after the callback's name. */
QUERN_API quern_action quern_event_fail(const quern_event *event, quern_status status);

QUERN_END_C
#endif
