/* train.h - the training loop.
 *
 * Two counters: `attempts`, windows of data consumed, and `step`, updates applied. Data position
 * reads attempts, the schedule reads step; an update that is not applied advances only attempts.
 * Order at a boundary: update, counters and learning rate, step_end, log, evaluation. At an
 * epoch's end: evaluation, epoch_end.
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

typedef struct quern_trainer_desc {
    quern_graph *graph;        /* required */
    quern_tensor *loss;        /* required; (): a loss builder's, or any scalar */
    quern_tensor *loss_weight; /* (); default: quern_loss_weight(loss), else the samples */
    const quern_metric *metrics;
    int32_t metric_count;
    quern_tensor *const *outputs; /* to be read by predict or quern_trainer_read */
    int32_t output_count;

    const quern_dataset *train; /* NULL: only step, evaluate and predict */
    const quern_dataset *valid; /* evaluated at each epoch's end, and where step_limit ends a run */
    const quern_transform *transforms;
    int32_t transform_count;
    int64_t batch_size; /* default 64; the last batch of an epoch is smaller, and exact */
    bool drop_last;     /* leave an uneven last batch out */
    bool no_shuffle;
    int32_t worker_count; /* loader threads; default 0: the calling thread reads */
    int32_t prefetch;     /* batches that the workers read ahead; default 2 */

    int64_t epoch_count; /* default 1; 0 with step_limit: as many as that takes */
    int64_t step_limit;  /* updates; default none */
    int64_t log_every;   /* updates; default 50 */
    int32_t run_ahead;   /* attempts the host may be ahead of the device; default 2, 1 … 8 */

    quern_optimizer_desc optimizer;
    const quern_callback *callbacks;
    int32_t callback_count;
    bool no_fusion, no_capture; /* one step per node; no recorded replay: for comparison */
} quern_trainer_desc;

typedef enum quern_stop_reason {
    QUERN_STOPPED_EPOCHS,
    QUERN_STOPPED_STEPS,
    QUERN_STOPPED_CALLBACK,
    QUERN_STOPPED_REQUEST, /* quern_trainer_stop */
    QUERN_STOPPED_DATA,    /* a stream ended */
    QUERN_STOPPED_FAILURE,
} quern_stop_reason;
QUERN_API const char *quern_stop_reason_name(quern_stop_reason reason); /* "epochs" */

typedef struct quern_result {
    quern_stop_reason reason;
    int64_t step, attempts, epochs, samples; /* of this trainer so far */
    double train_seconds;                    /* of this fit, evaluation excluded */
    double samples_per_second;
    double train_loss;     /* mean over the last epoch, or the part of it that was seen */
    double valid_loss;     /* NaN without a validation set, and where a stop cut it short */
    double valid_accuracy; /* of the metric named "accuracy"; NaN without one */
    size_t peak_bytes;
    int64_t host_waits; /* times the host waited for the device in this fit */
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
 * for as many more epochs or steps: 5 + 5 steps are 10. NOT_FINITE names step and first bad tensor;
 * CALLBACK, INPUT, DEVICE_LOST. `result` may be NULL and is filled on failure too. */
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
} quern_batch;

/* One attempt: forward, backward, update. Returns when it is issued (host data has been taken);
 * NOT_FINITE and failures of the device come with a later call, and with every call from then on.
 * Fires step_begin … log; a STOP shows as the reason in quern_trainer_wait's result. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_step(quern_trainer *trainer,
                                                           const quern_batch *batch);
/* The device buffer of a whole batch of an input, once the attempts issued have read it; NULL when
 * there is no such input. To be asked for before each writing. */
QUERN_API void *quern_trainer_input(quern_trainer *trainer, const char *name);

/* Forward only, in evaluation mode, over a whole dataset in order. scalars: "loss" and each metric
 * that is a number in an evaluation; at most `capacity`, *count receives how many there are. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_evaluate(quern_trainer *trainer,
                                                               const quern_dataset *dataset,
                                                               quern_scalar *scalars,
                                                               int32_t capacity, int32_t *count);

/* The same, writing `output` (one of desc.outputs, batch first) for every sample to `to`. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_predict(quern_trainer *trainer,
                                                              const quern_dataset *dataset,
                                                              const quern_tensor *output, void *to,
                                                              size_t bytes);

/* The sums of a CONFUSION metric from the last evaluation: C * C counts, or INVALID. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_confusion(const quern_trainer *trainer,
                                                                const char *metric, double *counts,
                                                                int64_t capacity);

/* Waits for all issued attempts, then copies an output of the last one; counted as a host wait.
 * INVALID when an evaluation or prediction has come since: they use the same memory. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_read(quern_trainer *trainer,
                                                           const quern_tensor *tensor, void *to,
                                                           size_t bytes);

/* Waits for all issued attempts and returns the run's state and its first failure. */
QUERN_API QUERN_MUST_CHECK quern_status quern_trainer_wait(quern_trainer *trainer,
                                                           quern_result *result);

/* Asks the run to end after the attempts already issued; any thread, also a signal handler. */
QUERN_API void quern_trainer_stop(quern_trainer *trainer);

QUERN_API quern_parameters *quern_trainer_parameters(quern_trainer *trainer);
/* Of the last update whose record has come back, which at update_end is the event's; NaN before the
 * first. */
QUERN_API double quern_trainer_learning_rate(const quern_trainer *trainer);
QUERN_API const char *quern_trainer_device_name(const quern_trainer *trainer);
/* Total updates and epochs planned, 0 when open-ended; total batches of an epoch. */
QUERN_API int64_t quern_trainer_planned_steps(const quern_trainer *trainer);

QUERN_END_C
#endif
