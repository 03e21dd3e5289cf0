/* callbacks.h - the callbacks that ship; each uses only what event.h offers to everybody.
 * create returns an object; quern_x_callback() the struct that goes into .callbacks; destroy after
 * the trainer. Writers use the device's file operations and fail with IO, naming path and cause. */
#ifndef QUERN_CALLBACKS_H
#define QUERN_CALLBACKS_H

#include <quern/device.h>
#include <quern/event.h>
#include <quern/graph.h>

QUERN_BEGIN_C

/* Progress through `write` (text, bytes), which goes to a terminal or a file that the application
 * chooses: with `terminal` one bar, redrawn at most every 50 ms, with ETA and throughput; else a
 * plain line per log and per epoch. */
typedef struct quern_progress quern_progress;
typedef struct quern_progress_desc {
    void (*write)(void *self, const char *text, size_t bytes); /* required */
    void *self;
    bool terminal, color;
    int32_t width; /* columns; default 80 */
} quern_progress_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_progress_create(quern_progress **out,
                                                              quern_device *device,
                                                              const quern_progress_desc *desc);
QUERN_API quern_callback quern_progress_callback(quern_progress *progress);
QUERN_API void quern_progress_destroy(quern_progress *progress);

/* One JSON object a line, for every log, eval_end and epoch_end, NaN written as null with a
 * "nonfinite" list naming it; the first line is `header` if given (already JSON). */
typedef struct quern_jsonl quern_jsonl;
typedef struct quern_history_desc {
    const char *path;
    const char *header; /* JSONL only */
    /* A run that resumes from a checkpoint always goes on with the file: what an earlier process
     * wrote behind that checkpoint is cut off, and a file that is shorter is logged. One that
     * begins anew empties it, or with `append` leaves what is there. */
    bool append;
} quern_history_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_jsonl_create(quern_jsonl **out, quern_device *device,
                                                           const quern_history_desc *desc);
QUERN_API quern_callback quern_jsonl_callback(quern_jsonl *jsonl);
QUERN_API void quern_jsonl_destroy(quern_jsonl *jsonl);

/* A row per log, eval_end and epoch_end: event, step, epoch, seconds, then the scalars; columns
 * are fixed by the trainer at init. */
typedef struct quern_csv_history quern_csv_history;
QUERN_API QUERN_MUST_CHECK quern_status quern_csv_history_create(quern_csv_history **out,
                                                                 quern_device *device,
                                                                 const quern_history_desc *desc);
QUERN_API quern_callback quern_csv_history_callback(quern_csv_history *history);
QUERN_API void quern_csv_history_destroy(quern_csv_history *history);

/* TensorBoard event files: a file events.out.tfevents.<seconds>.<host>.<process> in `directory`,
 * which is made when it is missing; a record, written at once, for every log, eval_end and
 * epoch_end, with the scalars as float under their names (those of epoch_end as "epoch/" + name,
 * beside the ones that log and eval_end give at the same step), step = updates applied. When a fit
 * begins after step 0, a START record lets TensorBoard drop what an earlier process had logged
 * beyond that step. The file is there from create on, and gone again at destroy when nothing was
 * logged. UNSUPPORTED in a build without protobuf-c or ISA-L. */
typedef struct quern_tensorboard quern_tensorboard;
QUERN_API QUERN_MUST_CHECK quern_status quern_tensorboard_create(quern_tensorboard **out,
                                                                 quern_device *device,
                                                                 const char *directory);
QUERN_API quern_callback quern_tensorboard_callback(quern_tensorboard *tensorboard);
/* The file, as long as the object lives. */
QUERN_API const char *quern_tensorboard_path(const quern_tensorboard *tensorboard);
QUERN_API void quern_tensorboard_destroy(quern_tensorboard *tensorboard);

/* Ends the run when a metric has not improved for `patience` evaluations in a row. NaN never is an
 * improvement. A metric of an evaluation is judged at every eval_end of its set, a train/ metric at
 * every epoch_end. One object belongs to one run. */
typedef struct quern_early_stop quern_early_stop;
typedef struct quern_early_stop_desc {
    const char *metric; /* default "val/loss"; INVALID at create of the trainer when it has none */
    bool maximize;      /* default: smaller is better */
    int64_t patience;   /* required */
    double min_delta;   /* less is no improvement; default 0 */
    bool restore_best;  /* parameters, buffers and moving average of the best evaluation are put
                           back at fit_end, unless the run failed or was asked to end
                           (quern_trainer_stop, a stop file, a signal). The last checkpoint
                           holds the state before that, so that result.checkpoint is NULL; a
                           resume that finds the run over puts them back again. Keeps a copy in
                           host memory, allocated when the trainer is created. */
} quern_early_stop_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_early_stop_create(quern_early_stop **out,
                                                                quern_device *device,
                                                                const quern_early_stop_desc *desc);
QUERN_API quern_callback quern_early_stop_callback(quern_early_stop *early_stop);
QUERN_API void quern_early_stop_destroy(quern_early_stop *early_stop);

/* Where it stands; a checkpoint keeps it, and with restore_best the best weights. */
typedef struct quern_early_stop_state {
    int64_t evaluations, without_improvement;
    int64_t best_step; /* -1: none yet */
    double best;       /* NaN: none yet */
} quern_early_stop_state;
QUERN_API quern_early_stop_state quern_early_stop_state_get(const quern_early_stop *early_stop);

/* Multiplies the schedule by `factor` when a metric has not improved for `patience` evaluations
 * (torch.optim.lr_scheduler.ReduceLROnPlateau, threshold absolute). NaN never is an improvement. */
typedef struct quern_plateau quern_plateau;
typedef struct quern_plateau_desc {
    const char *metric; /* default "val/loss"; judged as early stop's */
    bool maximize;
    double factor;    /* default 0.1 */
    int64_t patience; /* default 10: more than so many evaluations without improvement */
    double min_delta; /* default 0 */
    int64_t cooldown; /* evaluations after a reduction that do not count; default 0 */
    double lowest;    /* of the product of this callback's reductions; default 0 */
} quern_plateau_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_plateau_create(quern_plateau **out,
                                                             quern_device *device,
                                                             const quern_plateau_desc *desc);
QUERN_API quern_callback quern_plateau_callback(quern_plateau *plateau);
QUERN_API void quern_plateau_destroy(quern_plateau *plateau);

/* One HTML file, written at fit_end, that needs nothing else to be looked at: the configuration,
 * curves of loss, metrics, learning rate and throughput, the confusion matrix of the last
 * evaluation (of the first CONFUSION metric, if there is one), how the run ended. */
typedef struct quern_report quern_report;
typedef struct quern_report_desc {
    const char *path;               /* required */
    const char *title;              /* default "Quern" */
    const char *configuration;      /* JSON object, shown as a table; default none */
    const char *const *class_names; /* for the confusion matrix; default numbers */
    int32_t class_count;
} quern_report_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_report_create(quern_report **out,
                                                            quern_device *device,
                                                            const quern_report_desc *desc);
QUERN_API quern_callback quern_report_callback(quern_report *report);
QUERN_API void quern_report_destroy(quern_report *report);

/* Records the learning rate that each update was made with, up to `capacity` updates; those of
 * before a resume are there too. */
typedef struct quern_learning_rate_monitor quern_learning_rate_monitor;
typedef struct quern_learning_rate_entry {
    int64_t step; /* updates applied, this one included */
    double learning_rate;
} quern_learning_rate_entry;
QUERN_API QUERN_MUST_CHECK quern_status quern_learning_rate_monitor_create(
    quern_learning_rate_monitor **out, quern_device *device, int64_t capacity);
QUERN_API quern_callback quern_learning_rate_monitor_callback(quern_learning_rate_monitor *monitor);
QUERN_API int64_t quern_learning_rate_monitor_entries(const quern_learning_rate_monitor *monitor,
                                                      const quern_learning_rate_entry **out);
QUERN_API void quern_learning_rate_monitor_destroy(quern_learning_rate_monitor *monitor);

/* Calls begin and end around the attempts first … last (from 0, both included), once: begin before
 * the first is issued, end when the last is known to have run, or when the run ends. Without begin
 * and end: a range "profile" of the host's trace. */
typedef struct quern_profile_range quern_profile_range;
typedef struct quern_profile_range_desc {
    int64_t first, last;
    void (*begin)(void *self);
    void (*end)(void *self);
    void *self;
} quern_profile_range_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_profile_range_create(
    quern_profile_range **out, quern_device *device, const quern_profile_range_desc *desc);
QUERN_API quern_callback quern_profile_range_callback(quern_profile_range *range);
QUERN_API void quern_profile_range_destroy(quern_profile_range *range);

/* Records (event, step, attempts, epoch, batch) of every event, in order, up to `capacity`; after a
 * resume those up to the checkpoint are there too, then load_end. */
typedef struct quern_tape quern_tape;
typedef struct quern_tape_entry {
    quern_event_kind kind;
    int64_t step, attempts, epoch, batch;
} quern_tape_entry;
QUERN_API QUERN_MUST_CHECK quern_status quern_tape_create(quern_tape **out, quern_device *device,
                                                          int64_t capacity, bool inside_step);
QUERN_API quern_callback quern_tape_callback(quern_tape *tape);
QUERN_API int64_t quern_tape_entries(const quern_tape *tape, const quern_tape_entry **out);
QUERN_API void quern_tape_destroy(quern_tape *tape);

QUERN_END_C
#endif
