/* trainer.h - the trainer object, and what its files do for each other.
 *
 * Here, what a trainer is made of:
 *   resolve.c   the desc's defaults and checks      planned_steps.c  how many updates will come
 *   plan.c      every byte before any is taken      create.c         create and destroy
 *   unit.c      one compiled batch size, captured   run_ahead.c      how many attempts may be in
 *                                                                    flight
 *   average.c   the parameters' moving average      learning_rate.c  reads it and scales it
 *   reset.c     all as create made it
 * loop/         a fit, from the outside in: loop (epochs, the ends), limits, window (fetches an
 *               attempt's batches), attempt (issues it), launch (several at once), flight (those
 *               issued, and how far the device is), records (reads what came of each), trigger (at
 *               which update something is due), boundary (does it, between two windows), stop and
 *               signals; emit (callbacks: order, legality), diagnose (names what is not finite);
 *               step: the application's own loop on the same attempts
 * feed/         how a batch comes into a program's inputs: feed (a loader and its pinned slots),
 *               upload (the copy stream), resident (sets that the device holds), gather (their
 *               batches)
 * evaluate/     a pass over a set, predict; the sets of a fit, and their evaluation
 * metric/       kinds of metrics, statistics of the loss, the application's own, scalars of events
 * save/         what the state is; saves, resumes, goes back
 * checkpoint/   the store: durable files, retention, recovery, the writer's thread
 * safetensors/  the file format
 * find/         tests before a run: learning rate, batch size
 * verify/       one step on two devices, compared
 * callbacks/    those that ship
 *
 * Two views of the run live side by side: what was *issued* (attempts_issued, the loader's place)
 * and what is *known*, from the records read back (attempts, step, sums). Only the known one is
 * shown in events that follow a record; everything a trigger depends on is known, because nothing
 * is issued past the earliest attempt at which a trigger could fall (records_make_room). */
#ifndef QUERN_TRAIN_TRAINER_H
#define QUERN_TRAIN_TRAINER_H

#include "../base/memory.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../device/device.h"
#include "../graph/program.h"
#include "../optim/optimizer.h"
#include "feed/feed.h"
#include "loop/attempt.h"
#include "loop/signals.h"
#include "save/save.h"
#include <quern/train.h>

#include <stdatomic.h>

#define RUN_AHEAD_MAX 128
#define ROW_COUNT 7 /* of recorded rows: 1, 2, 4 … 64 attempts */
#define METRIC_MAX 64
#define WINDOW_MAX 4096 /* microbatches of a window */

/* Where a metric's sums lie: a mean's value and weight, R2's four, a confusion matrix's counts.
 * count 0: it has none. */
typedef struct metric_place {
    int64_t first, count;
} metric_place;

typedef struct loss_sums {
    double loss, weight;
    int64_t samples, attempts;
    /* of the attempts' mean losses: how many, extremes, mean, sum of squared deviations from it */
    int64_t measured;
    double low, high, mean, spread;
} loss_sums;

/* The last attempts' losses and weights, for moving means. */
typedef struct loss_window {
    double (*losses)[2]; /* [seen % capacity] */
    int64_t capacity, seen;
} loss_window;

/* What the host and the device hand each other. */
typedef struct trainer_pinned {
    task_state state;   /* the state that a run begins with */
    int32_t skip;       /* 1 */
    task_record ring[]; /* record.ring_count */
} trainer_pinned;

/* The counters when this fit began, in whichever process; its limits count from here. */
typedef struct trainer_begun {
    int64_t step, epoch, samples, train_ns;
} trainer_begun;

struct quern_trainer {
    quern_trainer_desc desc; /* resolved; what it points to is in `memory` */
    quern_device *device;
    const quern_host *host;
    const quern_backend *backend;
    quern_stream *stream; /* the device's: parameters are read in order with the steps */
    quern_graph *graph;
    arena memory;
    int64_t planned_steps;

    quern_parameters *parameters;
    /* The moving average: its tensors lie where parameters_view(average, tensor) says, buffers are
     * the training's. NULL without average_decay. */
    quern_parameters *average, average_parameters;
    task_average average_task;
    quern_kernel_args average_args;
    trainer_unit *units;
    bound_optimizer optimizer; /* optimizer.schedule.scale: what the learning rate was scaled by */
    quern_memory planned;
    void *arena_block, *input_block;
    task_state *state; /* device */
    trainer_pinned *pinned;
    task_record_args record;
    quern_kernel_args record_args;
    backend_event **events;   /* [lanes]; of attempts, and of evaluation batches */
    double *sums, *sums_read; /* device; pinned: training, then evaluation */
    int64_t train_sum_count, eval_sum_count;
    metric_place train_places[METRIC_MAX], eval_places[METRIC_MAX];

    feed train_feed, eval_feed, predict_feed, step_feed;
    unsigned char *predicted; /* pinned: [lanes] batches of an output; NULL: none yet, or no need */
    size_t predicted_bytes;
    upload upload;
    resident_set *residents;         /* [1 + set_count]: train, then `sets`; NULL: none is */
    const quern_dataset *eval_bound; /* what eval_feed's loader reads */

    /* issued */
    attempt *in_flight; /* ring, by attempt */
    int32_t lanes;      /* of the ring: run_ahead + 1 */
    int32_t in_flight_count;
    int32_t window_capacity; /* microbatches that an attempt in flight has room for */
    int32_t step_window;     /* and that the own loop's slots have */
    int64_t attempts_issued;
    int64_t marked, reached; /* those before: an event stands behind them; they are known to have
                                run */
    /* Of whole windows of row_unit and row_weigh (NULL with one batch a window); NULL: what is
     * issued is launched at once, a window of several batches in parts. */
    const trainer_unit *row_unit, *row_weigh;
    backend_capture *rows[ROW_COUNT]; /* of 1 << i attempts */
    int32_t put_off, row_goal; /* the newest so many are not launched; so many are next time */
    bool sums_current;         /* sums_read, behind the newest attempt, is as the device has them */
    bool uploads;              /* captures without a gather are there too */
    bool skip_next, skip_batch;
    bool windows; /* units are made for windows of several batches too */
    attempt open; /* fit's, being filled */
    attempt held; /* what epochs left over, until the attempt with it is counted */
    trainer_unit closing;
    task_open opens[TURN_COUNT];
    quern_kernel_args open_args[TURN_COUNT];
    trainer_unit *last_unit;

    /* known */
    int64_t attempts, step, samples, epoch, epochs_started;
    int64_t next_batch;    /* of the open epoch, to be fetched */
    int64_t counted_batch; /* of the open epoch, behind the last one that an attempt consumed */
    int64_t batch;         /* of the epoch or evaluation, for events */
    bool epoch_open, epoch_ending;
    bool epoch_rewind; /* a failure: the loader is ahead of counted_batch */
    task_record last;
    loss_sums since_log, of_epoch, of_epoch_before; /* the last: the one before that saw a loss */
    loss_window recent;
    double *log_metrics, *epoch_metrics; /* train_sum_count sums each */
    int64_t evaluated_step;              /* of the last evaluation of all sets; -1: none */
    int64_t evaluated_attempts;          /* the same, in the open epoch */
    double *eval_values; /* of the last evaluation: [set_count][loss, then metric_count] */
    bool evaluated;      /* sums_read holds an evaluation's sums */
    bool frozen;         /* the device refuses updates until state is uploaded again */

    backend_record *algorithms;    /* what the units' plans follow, and write down */
    quern_checkpoint *resume_from; /* until the trainer stands; NULL: the run begins anew */
    trainer_save *save;
    int64_t due;         /* quern_request bits: what the next boundary does */
    int64_t activity;    /* events so far that may have changed the state */
    int64_t rollbacks;   /* in a row, without an update beyond failed_step */
    int64_t failed_step; /* -1: none */
    bool rolled_back;    /* what was in flight has to be issued again */
    int64_t ended; /* 1 + the reason (callback, data) for which the run is over; 0: it is not */

    /* this fit */
    bool fitting, emitting, opened;
    trainer_begun begun;
    quern_event_kind emitted; /* while emitting */
    int64_t step_target, epoch_target, sample_target, time_target_ns;
    int64_t train_ns_before; /* of the fits before this one, since the very beginning */
    bool time_over;
    bool resumed; /* the state is a checkpoint's, and no fit has come to its end since */
    int64_t fit_begin_ns, log_begin_ns, evaluate_ns, log_evaluate_ns, fit_samples;
    int64_t train_ns;
    int64_t waits_before; /* of the device, when it began */

    /* how it ends */
    atomic_int stop_flag;
    bool stopping, end_eval;
    bool signals_entered;
    int signal;                                /* SIGINT, SIGTERM; 0: none came */
    bool at_once;                              /* a second one has come: of the fit that is over */
    signal_counts signals_begun, signals_seen; /* when the fit began; when it looked */
    int64_t stop_file_due_ns;                  /* when it is looked for again */
    bool stop_file_told;                       /* that it cannot be */
    quern_stop_reason reason;
    const char *stopped_by; /* the name of the callback that began the stop; NULL: none did */
    quern_status failure;   /* sticky: of the device */
    error_text failure_text;
    quern_status lost; /* returned by a wait for the stream: what was issued before has not run, and
                          what came behind it counts from a wrong state, until it is uploaded */
    error_text lost_text;
    int64_t mended_before; /* of the device, when an attempt came into an empty ring */
    bool dropping;         /* an attempt failed: the records of those behind it are not theirs */

    const quern_callback **callbacks; /* in run order */
    bool subscribed[QUERN_EVENT_COUNT];
    quern_status callback_status; /* quern_event_fail */
    error_text callback_text;
    quern_scalar *scalars;
    quern_evaluation_set *sets; /* `valid` ("val") if there is one, then desc.evaluation_sets */
    int32_t set_count;
    const char **names; /* "train/loss", "train/<metric>" … then those of each set */
    unsigned char
        *host_values; /* pinned: a batch of what host metrics read; NULL: there are none */
    size_t host_value_bytes;
};

/* resolve.c: INVALID names the field and its range. */
QUERN_MUST_CHECK quern_status desc_check_range(const char *field, int64_t value, int64_t low,
                                               int64_t high);
/* Fills trainer->desc, ->planned_steps; copies what the desc points to. */
QUERN_MUST_CHECK quern_status trainer_resolve(quern_trainer *t, const quern_trainer_desc *desc);

/* planned_steps.c: of a resolved desc. */
QUERN_MUST_CHECK quern_status planned_steps_count(const quern_trainer_desc *d, int64_t *out);

/* plan.c: the units that create knows it needs, and every byte of device memory. parameters may
 * have been planned only. */
QUERN_MUST_CHECK quern_status trainer_plan(quern_trainer *t);
/* The planned bytes that are not allocated: all, or all but the parameters' and gradients'. */
size_t memory_still_needed(const quern_trainer *t);
/* With the parameters allocated and all else planned: DEVICE_MEMORY when that does not fit. */
QUERN_MUST_CHECK quern_status memory_preflight(const quern_trainer *t);
/* DEVICE_MEMORY: puts the plan, and the largest batch that fits, before this thread's sentence. */
quern_status memory_explain(const quern_trainer_desc *desc);
/* The same of a trainer that was made: what it holds by its plan, and what is free. */
quern_status memory_explain_run(const quern_trainer *t);
enum { MEMORY_WORDS = 320, MEMORY_ADVICE = 80 };
void memory_write(const quern_memory *memory, char to[MEMORY_WORDS]);
/* "; a batch of … would fit", "; no batch size fits", or "" where `batch` itself does. */
void memory_advise(int64_t fits, int64_t batch, char to[MEMORY_ADVICE]);

/* unit.c */
QUERN_MUST_CHECK quern_status unit_plan(trainer_unit **out, quern_trainer *t, unit_kind kind,
                                        int64_t batch_size);
QUERN_MUST_CHECK quern_status unit_bind(quern_trainer *t, trainer_unit *unit);
/* Behind it, and behind the training set's feed: what is replayed. */
QUERN_MUST_CHECK quern_status unit_capture(quern_trainer *t, trainer_unit *unit);
void unit_release(quern_trainer *t, trainer_unit *unit);
trainer_unit *unit_find(const quern_trainer *t, unit_kind kind, int64_t batch_size);
/* Finds it, or compiles one more and logs that. */
QUERN_MUST_CHECK quern_status unit_get(trainer_unit **out, quern_trainer *t, unit_kind kind,
                                       int64_t batch_size);
/* Issues segments [first, last]: a replayed capture where there is one. */
QUERN_MUST_CHECK quern_status unit_issue(const quern_trainer *t, const trainer_unit *unit,
                                         window_turn turn, segment first, segment last);
/* The same, never from a capture. */
QUERN_MUST_CHECK quern_status unit_issue_eager(const quern_trainer *t, const trainer_unit *unit,
                                               window_turn turn, segment first, segment last);
/* Records what issue(t, context) issues. */
QUERN_MUST_CHECK quern_status trainer_record(const quern_trainer *t,
                                             quern_status (*issue)(const quern_trainer *t,
                                                                   const void *context),
                                             const void *context, backend_capture **out);
/* The last segment before an event that somebody inside the step subscribed to; at most `last`. */
segment unit_run_end(const quern_trainer *t, segment first, segment last);
/* From now on units can be issued for windows of several batches. */
QUERN_MUST_CHECK quern_status units_open_windows(quern_trainer *t);
/* From now on units of a resident training set are replayed with other data too. */
QUERN_MUST_CHECK quern_status units_open_uploads(quern_trainer *t);

/* emit.c: fires an event; what it asks for is taken down in the trainer (stopping, epoch_ending,
 * end_eval, skip_next, skip_batch). CALLBACK (or what quern_event_fail said) when one failed. */
typedef struct emission {
    quern_event_kind kind;
    int64_t attempts, batch, microbatch;
    quern_outcome outcome;
    quern_status status;
    const char *reason, *evaluation, *checkpoint;
    int32_t scalar_count; /* of trainer->scalars */
    double samples_per_second;
} emission;
QUERN_MUST_CHECK quern_status trainer_emit(quern_trainer *t, const emission *e);
/* The same with the counters that are known. */
QUERN_MUST_CHECK quern_status trainer_emit_known(quern_trainer *t, quern_event_kind kind);
/* Begins to end the run early, once; fires stop_requested. */
QUERN_MUST_CHECK quern_status trainer_begin_stop(quern_trainer *t, quern_stop_reason reason);
/* The name of the callback whose STOP ended the run; NULL: something else did, or it has none. */
const char *trainer_stopped_by(const quern_trainer *t);
QUERN_MUST_CHECK quern_status callbacks_sort(quern_trainer *t);
void callbacks_close(quern_trainer *t);

/* window.c: fetches one window's batches and issues its attempt; *end says that the epoch's data is
 * at its end. */
QUERN_MUST_CHECK quern_status window_run(quern_trainer *t, bool *end);
/* Whether all batches of the open epoch are known to have been fetched. */
bool window_data_over(const quern_trainer *t);
/* The epoch fetches no more: an incomplete window meets its policy. Nothing is in flight. */
QUERN_MUST_CHECK quern_status window_tail(quern_trainer *t);
/* What was fetched and not counted is to be fetched again; held batches are the open window. */
void window_rewind(quern_trainer *t);
/* Nothing is open or held. */
void window_clear(quern_trainer *t);
/* An attempt in flight gets room for `capacity` microbatches; nothing may be in flight. */
QUERN_MUST_CHECK quern_status window_reserve(quern_trainer *t, int32_t capacity);

/* For checkpoints. Held batches (t->held.count of them, t->held.skip) are part of the run's state:
 * their sample counts, where they came from, and sample_count samples of each input of train_feed
 * in memory of the trainer. To put them back: write that memory, then window_hold_again, with
 * nothing in flight and no epoch open. */
QUERN_MUST_CHECK quern_status window_hold_again(quern_trainer *t, const window_batch *held,
                                                int32_t count, bool skip);
void *window_held_memory(const quern_trainer *t, int32_t held, int32_t input);

/* attempt.c: copies the data, issues, fires the events inside the step. `a` is copied. */
QUERN_MUST_CHECK quern_status attempt_issue(quern_trainer *t, const attempt *a);
/* Failures of the device: their sentences say where in the run they came up. */
bool status_is_of_device(quern_status status);
/* Puts which attempt such a failure is known by before this thread's sentence. */
quern_status attempt_locate(const quern_trainer *t, int64_t number, quern_status status);
/* Its units, compiled when a size first comes. */
QUERN_MUST_CHECK quern_status attempt_units(quern_trainer *t, attempt *a);
/* Its gradients once more, without events: to be looked at. */
QUERN_MUST_CHECK quern_status attempt_repeat(quern_trainer *t, const attempt *a);
/* The state on the device becomes what is known, unfrozen, with an empty window. */
QUERN_MUST_CHECK quern_status state_upload(quern_trainer *t);

/* run_ahead.c: the rest is resolved, and the sets that the device holds are chosen. */
void run_ahead_fill_default(quern_trainer *t);
/* Of the ring's lanes, those that windows of so many batches from the host have slots for: fewer
 * where the slots of all would take too much pinned memory. Of the training set all have them. */
int32_t staged_lanes(const quern_trainer *t, int32_t window);

/* trigger.c: the first update at which something is due, behind the known ones. */
int64_t trigger_next(const quern_trainer *t);
bool trigger_logs(const quern_trainer *t);
/* An update has become known as applied: takes down what is due now. */
void trigger_applied(quern_trainer *t);

/* boundary.c: between two windows, what is due or was requested: evaluation, then save. */
QUERN_MUST_CHECK quern_status boundary_run(quern_trainer *t);

/* average.c: everything here does nothing without average_decay. */
QUERN_MUST_CHECK quern_status average_check(const quern_trainer_desc *desc);
void average_plan(quern_trainer *t); /* parameters are planned */
size_t average_bytes(const quern_trainer *t);
QUERN_MUST_CHECK quern_status average_create(quern_trainer *t);
void average_release(quern_trainer *t);
/* Until the first update is applied the average is the parameters, also those that the application
 * writes: issued before whatever reads or moves it. Later, or with attempts in flight, nothing. */
QUERN_MUST_CHECK quern_status average_follow(quern_trainer *t);
QUERN_MUST_CHECK quern_status average_issue(const quern_trainer *t);
/* Before an evaluation or prediction: the 16-bit copies of what it computes with. */
QUERN_MUST_CHECK quern_status average_renew_copies(quern_trainer *t);
/* What a unit computes with: the average in evaluation and prediction. */
quern_parameters *unit_parameters(quern_trainer *t, unit_kind kind);

/* Behind epoch_end. */
QUERN_MUST_CHECK quern_status boundary_epoch_end(quern_trainer *t);

/* limits.c: the targets of the fit that begins. */
void limits_start(quern_trainer *t);
/* Looks at the clock; between two windows only, so that a window is never cut. */
void limits_look(quern_trainer *t);
bool limits_reached(const quern_trainer *t);
quern_stop_reason limits_reason(const quern_trainer *t);
/* Time of training in this fit so far, evaluation excluded. */
int64_t trainer_fit_ns(const quern_trainer *t);
QUERN_MUST_CHECK quern_status limits_check(const quern_trainer_desc *d);
void limits_fill_defaults(quern_trainer_desc *d);

/* stop.c: from here on signals are caught, where that is asked for; until stop_finish. */
QUERN_MUST_CHECK quern_status stop_start(quern_trainer *t);
void stop_finish(quern_trainer *t);
/* The run is ending because it was asked to from outside, so that it is to go on later as if it had
 * not been: what is left undone then is done by the next fit. */
bool stop_was_asked(const quern_trainer *t);
/* An evaluation that was due has not come to its end because of that. */
bool stop_cut_evaluation(const quern_trainer *t);
/* Takes down a quern_trainer_stop, a signal, the stop file (looked for at most every 100 ms; _now:
 * in any case). */
QUERN_MUST_CHECK quern_status trainer_poll_stop(quern_trainer *t);
QUERN_MUST_CHECK quern_status trainer_poll_stop_now(quern_trainer *t);
QUERN_MUST_CHECK quern_status trainer_poll_stop_own_loop(quern_trainer *t);
/* Whether a second signal has come by now: no evaluation, no save. The writer's thread asks too. */
bool trainer_at_once(const quern_trainer *t);

/* evaluation_set.c */
QUERN_MUST_CHECK quern_status evaluation_sets_check(const quern_trainer_desc *d);
QUERN_MUST_CHECK quern_status evaluation_sets_copy(quern_trainer *t);

/* step.c: the first failure of the own loop's attempts is kept; returns it. */
quern_status failure_keep(quern_trainer *t, quern_status status);

/* diagnose.c: NOT_FINITE with a sentence that names step and first bad tensor. */
quern_status diagnose_not_finite(quern_trainer *t, const attempt *a, const task_record *record);

/* evaluate.c: a pass over a set. values: the loss, then each metric (NaN for one that is not a
 * number in an evaluation, and everywhere when a stop cut the pass short). NULL: only to see that
 * it works, no metric has seen it. */
typedef struct set_pass {
    const quern_dataset *dataset;
    const char *events;  /* the set's name, to be told with each event; NULL: none fire */
    int64_t batch_limit; /* 0: all */
} set_pass;
QUERN_MUST_CHECK quern_status evaluation_run(quern_trainer *t, const set_pass *e, double *values);
QUERN_MUST_CHECK quern_status eval_feed_bind(quern_trainer *t, const quern_dataset *dataset);

/* validate.c: checks that every set can be read as often as it will be. */
QUERN_MUST_CHECK quern_status validate_create(quern_trainer *t);
/* All sets, with their events; values go to eval_values and scalars. */
QUERN_MUST_CHECK quern_status trainer_validate(quern_trainer *t);
/* The first batches of each, before there is anything to lose; leaves no trace. */
QUERN_MUST_CHECK quern_status trainer_validate_sanity(quern_trainer *t);

/* metric_kind.c: what the kinds of metrics have in common and what not. */
QUERN_MUST_CHECK quern_status metric_check(const quern_graph *graph, const quern_metric *metric);
void metric_fill_defaults(quern_metric *metric);
int64_t metric_sum_count(const quern_metric *metric); /* doubles on the device; 0: none */
bool metric_is_weighted(const quern_metric *metric);  /* its sums are value and weight */
/* Whether it is a number in training, in an evaluation. */
bool metric_in_training(const quern_metric *metric);
bool metric_in_evaluation(const quern_metric *metric);
/* The number that its sums stand for; NaN for a kind that has none. */
double metric_value(const quern_metric *metric, const double *sums);
/* An attempt's loss goes into the statistics; its weight is not zero. */
void loss_sums_measure(loss_sums *sums, double loss, double weight);
double loss_statistic(const quern_trainer *t, const quern_metric *metric, const loss_sums *sums);

/* host_metric.c: staging, and the calls of an evaluation. */
QUERN_MUST_CHECK quern_status host_metrics_create(quern_trainer *t);
void host_metrics_release(quern_trainer *t);
void host_metrics_reset(quern_trainer *t);
double host_metric_result(quern_trainer *t, const quern_host_metric *host);
QUERN_MUST_CHECK quern_status host_metrics_add(quern_trainer *t, const trainer_unit *unit);

/* scalars.c: values as before anything was computed. */
void scalars_forget(quern_trainer *t);
int32_t scalars_train(quern_trainer *t, const loss_sums *sums, const double *metrics, bool device);
int32_t scalars_eval(quern_trainer *t, int32_t set, int32_t at);
int32_t scalars_eval_all(quern_trainer *t, int32_t at);
/* metric_count + 1 values. */
double *scalars_values(const quern_trainer *t, int32_t set);
/* After the sums are planned. */
QUERN_MUST_CHECK quern_status scalars_create(quern_trainer *t);

/* loop.c: what a result says at any moment. */
void trainer_fill_result(quern_trainer *t, quern_result *out);
int64_t trainer_now(const quern_trainer *t);
/* Samples a second; 0 where no time has passed. */
double trainer_rate(int64_t samples, int64_t ns);
/* No further window of this epoch: it is to end, or the run is. */
bool trainer_epoch_over(const quern_trainer *t);
/* INVALID inside a callback. */
QUERN_MUST_CHECK quern_status trainer_enter(const quern_trainer *t, const char *function);

#include "loop/flight.h"

#endif
