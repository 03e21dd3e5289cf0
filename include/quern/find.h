/* find.h - a learning rate and a batch size to begin with, found before the run.
 *
 * Both work on what they make themselves from the trainer's desc and destroy again: no trainer that
 * exists is touched, and one that is created afterwards is the same to the bit as without them. */
#ifndef QUERN_FIND_H
#define QUERN_FIND_H

#include <quern/train.h>

QUERN_BEGIN_C

/* The range test (Smith 2017, "Cyclical learning rates"): from fresh parameters, updates whose rate
 * grows by the same factor from `lowest` to `highest`, until the smoothed loss is `stop_factor`
 * times its best, or not finite. */
typedef struct quern_find_learning_rate_desc {
    double lowest, highest; /* defaults 1e-7 and 10 */
    int64_t step_count;     /* updates at most; default 100 */
    double stop_factor;     /* above 1; default 4 */
} quern_find_learning_rate_desc;

typedef struct quern_find_point {
    double learning_rate, loss;
    double smoothed; /* mean of the losses so far, each weighing 0.9 of the one after it */
} quern_find_point;

typedef struct quern_found_learning_rate {
    double steepest; /* where the smoothed loss fell fastest over the logarithm of the rate: a rate
                        to train with (the first ten points, or the first quarter, do not count);
                        NaN when it never fell */
    double lowest;   /* where it was lowest: already too large */
    int64_t point_count;
} quern_found_learning_rate;

/* What the desc says of validation, metrics, outputs, callbacks, limits, logging and schedule does
 * not count here. `desc` may be NULL; `points` receives the first `capacity` points. INVALID (also
 * without a training set), UNSUPPORTED (a stream, whose samples would be gone), and the failures of
 * quern_trainer_create and fit, except that a loss that is not finite ends the test. */
QUERN_API QUERN_MUST_CHECK quern_status quern_find_learning_rate(
    quern_found_learning_rate *out, const quern_trainer_desc *trainer,
    const quern_find_learning_rate_desc *desc, quern_find_point *points, int64_t capacity);

/* The largest batch whose plan fits. Every byte is planned before a run, so nothing is run. Sets
 * that are resident by AUTO take no part: a trainer keeps them only in room that is left. */
typedef struct quern_find_batch_size_desc {
    size_t byte_limit; /* of device memory; default: what the device has free now */
    int64_t largest;   /* default: the samples of the training set, 65536 without a length */
    bool any;          /* also other sizes than powers of two */
} quern_find_batch_size_desc;

/* `desc` and `memory` (the plan of the batch found) may be NULL. DEVICE_MEMORY when not even one
 * sample fits, and the failures of quern_trainer_memory. */
QUERN_API QUERN_MUST_CHECK quern_status
quern_find_batch_size(int64_t *out, quern_memory *memory, const quern_trainer_desc *trainer,
                      const quern_find_batch_size_desc *desc);

QUERN_END_C
#endif
