/* train.h - the training loop.
 *
 * Two counters: `attempts`, windows of data consumed, and `step`, updates applied. Data position
 * reads attempts, the schedule reads step; an update that is not applied advances only attempts.
 * One window of `accumulate` microbatches is fetched first; its normaliser W (samples, or the
 * loss's weight) is summed before the backward passes, so that 1 x 8, 2 x 4 and 8 x 1 mean the same
 * (statistics of batch norm are per microbatch: the exception). Order at a boundary: update,
 * counters and learning rate, step_end, log, evaluation, save. At an epoch's end: evaluation,
 * epoch_end, save.
 *
 * quern_trainer_create checks and allocates everything; after it, fit and step allocate nothing.
 * The exceptions are logged: a batch size, or a kind of pass, that create could not foresee
 * (predict; evaluate without a validation set) is compiled and gets its staging memory when it
 * first comes. A trainer borrows its graph, datasets and callbacks. One thread at a time, except
 * quern_trainer_stop, which any thread may call. */
#ifndef QUERN_TRAIN_H
#define QUERN_TRAIN_H

#include <quern/data.h>
#include <quern/event.h>
#include <quern/metric.h>
#include <quern/optim.h>

QUERN_BEGIN_C

/* What becomes of an epoch's last microbatches when they are fewer than `accumulate`. */
typedef enum quern_tail {
    QUERN_TAIL_FLUSH, /* an update from what there is, divided by what it holds */
    QUERN_TAIL_CARRY, /* they wait for the next epoch's first ones; at the run's end, for the next
                         fit or resume */
    QUERN_TAIL_DROP,  /* left out */
} quern_tail;

/* What a loss or gradient that is not finite does. It is never applied, never hidden in a log. */
typedef enum quern_not_finite {
    QUERN_NOT_FINITE_STOP,     /* NOT_FINITE, naming step and first bad tensor */
    QUERN_NOT_FINITE_SKIP,     /* the window is skipped */
    QUERN_NOT_FINITE_ROLLBACK, /* the newest whole checkpoint's weights, optimizer and step come
                                  back; the data goes on behind the window. Needs save.directory (a
                                  checkpoint is written before the first step); UNSUPPORTED for a
                                  stream that cannot start again. Allocates while it reads */
} quern_not_finite;

/* Sets that the device holds whole, from which it makes its batches itself: shuffled, converted and
 * augmented there, the same bits as from the host, so that an epoch needs no host data at all. */
typedef enum quern_resident {
    QUERN_RESIDENT_AUTO, /* each set of the trainer that is in memory and takes, with those before
                            it, at most half of the device memory that is free beside all else; none
                            where the device's memory is the host's */
    QUERN_RESIDENT_ON,   /* the training set and all that are evaluated, else UNSUPPORTED says which
                            cannot be: a stream, or one that the application reads by the sample */
    QUERN_RESIDENT_OFF,
} quern_resident;

/* The loss is multiplied by a scale before the backward pass and the gradients are divided by it
 * behind that (what is clipped, reported and read is unscaled): small ones then survive in F16. A
 * dynamic scale finds itself on the device, as torch.amp.GradScaler: a gradient that overflows
 * skips its update (QUERN_OUTCOME_OVERFLOW: attempts move on, the step stays) and lessens the
 * scale; at its minimum it is a gradient that is not finite like any other. A loss that is not
 * finite always is. Shown in logs as "train/loss_scale", and saved. */
typedef struct quern_loss_scale {
    double initial;   /* default 65536 in F16; elsewhere none is used without this */
    double growth;    /* default 2: > 1 */
    double backoff;   /* default 0.5: of an overflow */
    int64_t interval; /* updates applied in a row before it grows; default 2000 */
    double minimum;   /* default 1, or initial where that is less */
    bool is_static;   /* the scale stays `initial` */
} quern_loss_scale;

/* One more set to be evaluated wherever `valid` is. */
typedef struct quern_evaluation_set {
    const char *name; /* its scalars are "<name>/loss", …; not "train", "val" or "epoch", at most 48
                         bytes, no '/' */
    const quern_dataset *dataset;
} quern_evaluation_set;

/* Checkpoints (checkpoint.h) of everything: a run resumed from any of them is bit-identical to one
 * that was never stopped, with any worker_count. A thread writes while training goes on. */
typedef struct quern_save_desc {
    const char *directory;   /* step-<n>/ below it; NULL: nothing is saved. One run's: INVALID where
                                it holds checkpoints and `resume` is not set */
    int64_t every;           /* updates; default 0: at every epoch's end. The run's end, except by a
                              failure, is always saved */
    int32_t keep_last;       /* default 3; at least 2. Damaged ones count for nothing and stay: at
                                a resume those that are kept are read to tell */
    int32_t keep_best;       /* the best ones too, by best_metric; default 0 */
    int64_t keep_every;      /* and every step that is a multiple, for ever; default 0: none */
    const char *best_metric; /* a scalar of an evaluation; default "val/loss" with keep_best. What
                                was saved by another one has no value by this */
    bool best_is_largest;
    bool two_snapshots; /* a save need not wait for the one before, for twice the host memory */
    bool resume;        /* from the newest whole checkpoint of `directory`, if there is one; of a
                           stream that cannot start again the first samples are read and dropped.
                           Other data, of training or of an evaluation set (of one in memory also
                           other samples of the same shape: of a field of up to 64 MiB, as labels
                           are, any of them, of a larger one the first and last 2 KiB of 64),
                           metrics, evaluation sets, optimizer or model (of what the loss, metrics
                           and buffers depend on an op, what it reads, its attributes but for real
                           numbers): INPUT. What else has changed, a probability or an epsilon of an
                           op, names of nodes and nodes that none of these depends on included, is
                           logged, and whether it breaks exactness; with another
                           batch_size the epoch goes on with the batch that holds the sample where
                           it stood */
} quern_save_desc;

typedef struct quern_trainer_desc {
    quern_graph *graph;        /* required */
    quern_tensor *loss;        /* required; (): a loss builder's, or any scalar */
    quern_tensor *loss_weight; /* (); default: quern_loss_weight(loss), else the samples */
    const quern_metric *metrics;
    int32_t metric_count;
    quern_tensor *const *outputs; /* to be read by predict or quern_trainer_read */
    int32_t output_count;

    const quern_dataset *train; /* NULL: only step, evaluate and predict; what only fit reads
                                   (accumulate above 1, limits, …) is INVALID then */
    const quern_dataset *valid; /* "val"; evaluated at each epoch's end, and where a limit ends a
                                   run */
    const quern_evaluation_set *evaluation_sets; /* behind `valid`, in this order */
    int32_t evaluation_set_count;
    int64_t evaluate_every;        /* updates; default 0: not by updates */
    int64_t evaluate_every_epochs; /* default 1, or none with evaluate_every; an evaluation that
                                      has just been is not run again */
    const quern_transform *transforms;
    int32_t transform_count;
    int64_t batch_size; /* of a microbatch; default 64; an epoch's last is smaller, and exact */
    int64_t accumulate; /* microbatches of a window, that is of an update: 1 … 4096; default 1 */
    quern_tail tail;
    bool drop_last; /* leave an uneven last batch out */
    bool no_shuffle;
    int32_t worker_count;    /* loader threads; default 0: the calling thread reads */
    int32_t prefetch;        /* batches that the workers read ahead; default 2 */
    quern_resident resident; /* resolved: ON when the training set (without one: any) is */

    int64_t epoch_count;       /* default 1; 0 with step_, sample_ or seconds_limit: as many as that
                                  takes */
    int64_t step_limit;        /* updates; default none */
    int64_t sample_limit;      /* ends with the window that reaches it; default none */
    double seconds_limit;      /* of training, evaluation excluded; default none */
    int64_t train_batch_limit; /* microbatches of each epoch; default: all */
    int64_t eval_batch_limit;  /* batches of each evaluation set; default: all */
    int64_t sanity_batches;    /* of each evaluation set, run before the first step to see that
                                   they work; leaves no trace in any metric; default 0 */
    bool fast_dev_run;         /* one window, one batch of each evaluation set, nothing saved,
                                  whatever the other limits say */
    bool overfit_batch;    /* every epoch is the same first window: no shuffle, no augmentation */
    const char *stop_file; /* the run ends when this file is there, looked for every 100 ms, when
                              fit begins and at each epoch's end; it is removed then */
    bool handle_signals;   /* during fit: SIGINT, SIGTERM end every such run of the process with a
                              save, SIGHUP saves. A second one ends them at once: a window that is
                              being issued, all its batches, is the last; no evaluation, no log, no
                              save; one under way is given up (save_durable tells so) behind the
                              file operation at hand, and the older checkpoints stay. A handler
                              only counts: it cuts short no read of the application's data source
                              and no callback (system calls in them are restarted: SA_RESTART), and
                              the first signal as well as a second one is acted upon when that has
                              returned. A source that may wait for ever has to bound the wait
                              itself, and return a failure then. The handlers before are put back
                              when the last of the runs ends */
    int64_t log_every;     /* updates; default 50 */
    int32_t run_ahead;     /* attempts the host may be ahead of the device, 1 … 128; default 2 on
                              the CPU, on a device 128 where their staging memory is not too much.
                              Half of them are read back with one wait; a stop lets those that have
                              been issued run to their end */
    int32_t steps_per_launch; /* attempts of fit, each with all batches of its window, that are
                                 recorded in a row and launched at once, where no batch is uploaded
                                 and no callback looks at each: a power of two up to 64, at most
                                 half of run_ahead + 1, of at most 64 batches together (fewer
                                 attempts then); default that half, at most 32. 1: one by one, and
                                 resolved to it, with a line in the log, where it must be. Changes
                                 no bit */

    quern_precision precision;   /* default F32: precision.h */
    quern_loss_scale loss_scale; /* dynamic in F16 */
    bool stochastic_rounding;    /* of the 16-bit copies of parameters: program.h */
    quern_optimizer_desc optimizer;
    quern_not_finite not_finite;
    int64_t not_finite_limit; /* SKIP, ROLLBACK: in a row, before the run ends as STOP does;
                                 default 10 */
    double average_decay; /* 0 … 1, > 0: an exponential moving average of the parameters, on the
                             device, average = decay average + (1 - decay) parameter after each
                             update; it starts from the parameters as they are before the first.
                             Evaluation and prediction use it; training never does */
    bool average_warmup;  /* decay is at most (1 + n) / (10 + n) at update n = 1, 2, … (as
                             TensorFlow's ExponentialMovingAverage with num_updates) */
    quern_save_desc save;
    const quern_callback *callbacks;
    int32_t callback_count;
    bool no_fusion, no_capture; /* one step per node; no recorded replay: for comparison */
} quern_trainer_desc;

typedef enum quern_stop_reason {
    QUERN_STOPPED_EPOCHS,
    QUERN_STOPPED_STEPS,
    QUERN_STOPPED_SAMPLES,
    QUERN_STOPPED_TIME,
    QUERN_STOPPED_CALLBACK,
    QUERN_STOPPED_REQUEST, /* quern_trainer_stop */
    QUERN_STOPPED_FILE,    /* stop_file */
    QUERN_STOPPED_SIGNAL,  /* result.signal */
    QUERN_STOPPED_DATA,    /* a stream ended */
    QUERN_STOPPED_FAILURE,
} quern_stop_reason;
QUERN_API const char *quern_stop_reason_name(quern_stop_reason reason); /* "epochs" */

typedef struct quern_result {
    quern_stop_reason reason;
    const char *stopped_by;                  /* CALLBACK: event.h's stopped_by; else NULL */
    int64_t step, attempts, epochs, samples; /* of this trainer so far */
    double train_seconds;                    /* of this fit, evaluation excluded */
    double samples_per_second;
    double train_loss;      /* mean over the last epoch, or the part of it that was seen; NaN where
                               one of its losses was, also of a window that was skipped */
    double valid_loss;      /* NaN without a validation set, and where a stop cut it short */
    double valid_accuracy;  /* of the metric named "accuracy"; NaN without one */
    int signal;             /* SIGINT, SIGTERM, also when the run was ending already; 0: none */
    bool at_once;           /* a second one came: nothing was begun behind it */
    const char *checkpoint; /* path of the one that holds this state, NULL: none does; valid until
                               the next call with this trainer */
    size_t peak_bytes;
    int64_t host_waits; /* times the host waited for the device in this fit, for whatever uses it:
                           what another trainer on it has waited for meanwhile counts too */
} quern_result;

/* INVALID, SHAPE, UNSUPPORTED, HOST_MEMORY, DEVICE_MEMORY, INPUT (no samples, or fewer than the
 * batch size with drop_last). */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_create(quern_trainer **out,
                                                             const quern_trainer_desc *desc);
QUERN_API void quern_trainer_destroy(quern_trainer *trainer);

/* The desc with every default filled in; valid as long as the trainer. */
QUERN_API const quern_trainer_desc *quern_trainer_resolved(const quern_trainer *trainer);

/* What create would allocate on the device, before anything is allocated there. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_memory(quern_memory *out,
                                                             const quern_trainer_desc *desc);

/* Runs until a limit, a stop or a failure; called again it runs on, also in the middle of an epoch,
 * for as many more epochs, steps, samples and seconds: 5 + 5 steps are 10. The first fit after a
 * resume runs as far as the run that was saved would have: none at all when that was over, by a
 * limit or a callback's STOP (quern_trainer_stop, a stop file and signals only interrupt it).
 * NOT_FINITE names step and first bad tensor; CALLBACK, INPUT, DEVICE_LOST; IO when the last state
 * could not be saved. `result` may be NULL and is filled on failure too. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_fit(quern_trainer *trainer,
                                                          quern_result *result);

/* The application's own batches: sample_count rows (1 … batch_size) of each named input, row-major,
 * in the input's own dtype (no transforms). */
typedef struct quern_batch {
    int64_t sample_count;
    int32_t field_count;
    const char *names[QUERN_FIELD_MAX];
    const void *data[QUERN_FIELD_MAX]; /* NULL: written into quern_trainer_input, batch_size rows */
    bool on_device; /* data is device memory, to stay as it is until the attempt has run */
    /* On CUDA: a cudaEvent_t that the application recorded behind its own work on device memory of
     * this batch, `data` or what quern_trainer_input gave; the attempt waits for it on the device.
     * NULL: that memory is complete when the call is made. An event that CUDA refuses, or any
     * on the CPU, which has none: INVALID, and no attempt is made. */
    void *ready;
} quern_batch;

/* One attempt: forward, backward, update. Returns when it is issued (host data has been taken);
 * NOT_FINITE and failures of the device come with a later call, and with every call from then on.
 * Fires step_begin … log. A STOP, or a quern_trainer_stop, fires stop_requested and shows as the
 * reason in quern_trainer_wait's result; what it means is the application's to decide. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_step(quern_trainer *trainer,
                                                           const quern_batch *batch);
/* The same with a window of `count` batches (1 or more; desc.accumulate is fit's) as one update;
 * their `data` must not be NULL. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_step_window(quern_trainer *trainer,
                                                                  const quern_batch *batches,
                                                                  int32_t count);
/* The device buffer of a whole batch of an input, once the attempts issued have read it; NULL when
 * there is no such input. To be asked for before each writing. */
QUERN_API void *quern_trainer_input(quern_trainer *trainer, const char *name);

/* Forward only, in evaluation mode, over a whole dataset in order. scalars: "loss" and each metric
 * that is a number in an evaluation; at most `capacity`, *count receives how many there are. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_evaluate(quern_trainer *trainer,
                                                               const quern_dataset *dataset,
                                                               quern_scalar *scalars,
                                                               int32_t capacity, int32_t *count);

/* The same, writing `output` (one of desc.outputs, batch first) for every sample to `to`. The
 * dataset needs only the fields that the output is computed from: no labels. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_predict(quern_trainer *trainer,
                                                              const quern_dataset *dataset,
                                                              const quern_tensor *output, void *to,
                                                              size_t bytes);

/* The sums of a CONFUSION metric from the last evaluation, at eval_end that of event->evaluation:
 * C * C counts, or INVALID. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_confusion(const quern_trainer *trainer,
                                                                const char *metric, double *counts,
                                                                int64_t capacity);

/* Waits for all issued attempts, then copies an output of the last one (from loss_ready …
 * update_begin: of the microbatch at hand, or the last of its window); counted as a host wait.
 * INVALID when an evaluation or prediction has come since: they use the same memory. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_read(quern_trainer *trainer,
                                                           const quern_tensor *tensor, void *to,
                                                           size_t bytes);

/* Waits for all issued attempts and returns the run's state and its first failure. In an own loop
 * the reason is EPOCHS as long as nothing has asked for an end; after a resume `attempts` says with
 * which window to go on. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_wait(quern_trainer *trainer,
                                                           quern_result *result);

/* Asks the run to end after the attempts already issued; any thread, also a signal handler. As with
 * a stop file and signals, an evaluation that is due then, or cut short, is left to the next fit or
 * resume, and so is the open log interval of a run that is saved: together they are the run that
 * never stopped. */
QUERN_API void quern_trainer_stop(quern_trainer *trainer);

/* As after create: initial parameters, no optimizer state, counters at 0. Callbacks keep theirs.
 * What is saved stays until the first save behind it, which removes what has later steps (also the
 * best, and those kept for ever), so that a resume goes on with the new run and not with the old
 * one. UNSUPPORTED with ROLLBACK, which would go back to it. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_reset(quern_trainer *trainer);

/* Waits, and writes a checkpoint, durable when this returns: for the own loop. INVALID without
 * save.directory; IO. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_save(quern_trainer *trainer);
/* XXH3-128 over all tensors of the state, names and bytes in name order, as 32 hexadecimal digits:
 * that of a checkpoint taken now, with or without a folder. Waits; allocates. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_digest(quern_trainer *trainer, char text[33]);
/* The path of the checkpoint that create resumed from; NULL: it began anew. */
QUERN_API const char *quern_trainer_resumed(const quern_trainer *trainer);

QUERN_API quern_parameters *quern_trainer_parameters(quern_trainer *trainer);
/* The moving average, NULL without average_decay; its buffers are those of the parameters. Until
 * the first update it follows the parameters wherever an attempt, an evaluation or a prediction
 * begins; from then on what the application writes into the one does not change the other. */
QUERN_API quern_parameters *quern_trainer_average(quern_trainer *trainer);
/* Multiplies what the schedule gives for every update issued from now on, and is saved; from a
 * callback at log, eval_end, epoch_end or fit_begin, or between calls (waits for the attempts
 * issued, and returns their failure). INVALID: elsewhere; not finite, or not above 0. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_scale_learning_rate(quern_trainer *trainer,
                                                                          double factor);
/* Of the last update whose record has come back, which at update_end is the event's; NaN before the
 * first. */
QUERN_API double quern_trainer_learning_rate(const quern_trainer *trainer);
QUERN_API const char *quern_trainer_device_name(const quern_trainer *trainer);
/* Total updates and epochs planned, 0 when open-ended; total batches of an epoch. */
QUERN_API int64_t quern_trainer_planned_steps(const quern_trainer *trainer);
/* The step and epoch from which the fit at hand counts these and its limits: where it began, or
 * where the run had begun that was saved and is resumed. */
QUERN_API void quern_trainer_begun(const quern_trainer *trainer, int64_t *step, int64_t *epoch);

QUERN_END_C
#endif
