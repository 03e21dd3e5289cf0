/* optim.h - how parameters follow their gradients, and how fast.
 *
 * An element-wise rule is one scalar function (src/kernels/optim), compiled for each backend and
 * applied in one pass over one flat block of all parameters, with clipping, weight-decay groups
 * and the skip decision inside that pass. */
#ifndef QUERN_OPTIM_H
#define QUERN_OPTIM_H

#include <quern/program.h>
#include <quern/update.h>

QUERN_BEGIN_C

/* Schedules: pure functions of the number of updates applied so far, n = 0, 1, …, in double. */
typedef enum quern_schedule_kind {
    QUERN_SCHEDULE_CONSTANT,
    QUERN_SCHEDULE_STEP,       /* gamma ^ floor(n / period) */
    QUERN_SCHEDULE_MULTI_STEP, /* gamma ^ (milestones <= n) */
    QUERN_SCHEDULE_LINEAR,     /* from 1 to final_scale over total updates */
    QUERN_SCHEDULE_COSINE,     /* from 1 to final_scale over total updates */
} quern_schedule_kind;

typedef struct quern_schedule {
    quern_schedule_kind kind;
    int64_t warmup;     /* the first updates go linearly from 1/warmup of the rate to all of it; the
                           schedule proper then begins at its n = 0 */
    int64_t total;      /* updates of the schedule proper with warm-up; default: the run's planned
                           number of updates */
    double final_scale; /* default 0 */
    double gamma;       /* default 0.1 */
    int64_t period;     /* STEP: required */
    int32_t milestone_count;
    int64_t milestones[16]; /* MULTI_STEP: ascending */
} quern_schedule;

/* The factor on the learning rate for update n. */
QUERN_API double quern_schedule_scale(const quern_schedule *schedule, int64_t n);

/* A field that is set but that the rule does not read is INVALID ("sgd does not read beta1").
 * Doubles, because an F64 run is compared with others to the ninth digit; QUERN_ZERO says exactly
 * zero where zero is not the default. */
typedef struct quern_optimizer_desc {
    quern_optimizer_kind kind;     /* default AdamW */
    const quern_update_rule *rule; /* the application's own rule instead of `kind` */
    double learning_rate;          /* default 1e-3 */
    double beta1, beta2;           /* Adam, AdamW 0.9, 0.999; Lion 0.9, 0.99; RMSprop beta2 0.99 */
    double epsilon;                /* default 1e-8; Adagrad 1e-10 */
    double momentum;               /* SGD, RMSprop; default 0 */
    bool nesterov;                 /* SGD with momentum */
    double weight_decay;           /* AdamW, Lion: decoupled; the others: added to the gradient */
    double clip_norm; /* > 0: the gradient is scaled so that its global L2 norm is at most this */
    quern_schedule schedule;
} quern_optimizer_desc;

/* For use without a trainer. Owns its state; borrows parameters (made with gradients). A schedule
 * over `total` updates must say how many. */
typedef struct quern_optimizer quern_optimizer;
QUERN_API QUERN_MUST_CHECK quern_status quern_optimizer_create(quern_optimizer **out,
                                                               quern_parameters *parameters,
                                                               const quern_optimizer_desc *desc);
QUERN_API void quern_optimizer_destroy(quern_optimizer *optimizer);
QUERN_API quern_optimizer_desc quern_optimizer_resolved(const quern_optimizer *optimizer);

/* Issues one update with the gradients as they are, and moves running statistics on. A gradient
 * that is not finite changes nothing; NOT_FINITE then comes once, from a later update (at most 8
 * later; that one is not issued) or from wait. The updates after it go on. */
QUERN_API QUERN_MUST_CHECK quern_status quern_optimizer_update(quern_optimizer *optimizer);

/* Waits for all issued updates. NOT_FINITE as above, or the device's failure. */
QUERN_API QUERN_MUST_CHECK quern_status quern_optimizer_wait(quern_optimizer *optimizer);

QUERN_END_C
#endif
