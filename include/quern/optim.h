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

/* Schedules: pure functions of the number of updates applied so far, n = 0, 1, …, in double: the
 * factor on the learning rate. After the warm-up m = 0, 1, … is counted, of M = total - warmup.
 * QUERN_SCHEDULE_LIST(X): X(constant, name, the fields that it reads beside the warm-up's). */
/* clang-format off */
#define QUERN_SCHEDULE_LIST(X)                                                                     \
    X(CONSTANT,        constant,        0)                   /* 1 */                               \
    X(STEP,            step,            GAMMA | PERIOD)      /* gamma ^ floor(m / period) */       \
    X(MULTI_STEP,      multi_step,      GAMMA | MILESTONES)  /* gamma ^ (milestones <= m) */       \
    X(EXPONENTIAL,     exponential,     GAMMA | PERIOD)      /* gamma ^ (m / period) */            \
    X(LINEAR,          linear,          TOTAL | FINAL_SCALE) /* from 1 to final_scale at M */      \
    X(COSINE,          cosine,          TOTAL | FINAL_SCALE) /* half a wave, from 1 as linear */   \
    X(COSINE_RESTARTS, cosine_restarts, PERIOD | PERIOD_FACTOR | FINAL_SCALE)                      \
                                        /* the same over each period (Loshchilov & Hutter 2017) */ \
    X(POLYNOMIAL,      polynomial,      TOTAL | FINAL_SCALE | POWER)                               \
                                        /* final_scale + (1 - final_scale) (1 - m / M) ^ power */  \
    X(ONE_CYCLE,       one_cycle,       TOTAL | FINAL_SCALE | START_SCALE | PEAK)                  \
                                        /* Smith 2018, cosine up and down as torch's OneCycleLR:   \
                                           start_scale, 1 at peak M - 1, final_scale at M - 1 */   \
    X(WARMUP_STABLE_DECAY, warmup_stable_decay, TOTAL | FINAL_SCALE | DECAY)                       \
                                        /* 1, then linear to final_scale at M (Hu et al. 2024) */  \
    X(FUNCTION,        function,        USER_FUNCTION)       /* function(self, m) */
/* clang-format on */
#define X(name, text, reads) QUERN_SCHEDULE_##name,
typedef enum quern_schedule_kind {
    QUERN_SCHEDULE_LIST(X) QUERN_SCHEDULE_COUNT
} quern_schedule_kind;
#undef X
QUERN_API const char *quern_schedule_name(quern_schedule_kind kind); /* "multi_step" */

typedef enum quern_warmup_kind {
    QUERN_WARMUP_LINEAR,
    QUERN_WARMUP_EXPONENTIAL, /* the same factor from each update to the next */
} quern_warmup_kind;

/* A field that is set but that the kind does not read is INVALID. QUERN_ZERO says exactly zero
 * where zero is not the default. */
typedef struct quern_schedule {
    quern_schedule_kind kind;
    int64_t warmup; /* the first updates rise to the whole rate, which the last of them has; the
                       schedule proper begins behind it at m = 0 */
    quern_warmup_kind warmup_kind;
    double warmup_scale;   /* factor of the first update of the warm-up; default 1 / warmup */
    int64_t total;         /* updates, the warm-up's included; default: the run's planned number.
                              Beyond it the factor stays at final_scale */
    double final_scale;    /* default 0; ONE_CYCLE start_scale / 10000 */
    double gamma;          /* default 0.1 */
    int64_t period;        /* STEP, COSINE_RESTARTS: required; EXPONENTIAL: default: the updates
                              planned behind the warm-up */
    int64_t period_factor; /* each cycle lasts so many times the one before; default 1 */
    double power;          /* default 1 */
    double start_scale;    /* default 1/25 */
    double peak;           /* share of M, 0 … 1; default 0.3 */
    int64_t decay;         /* the last updates, which decay; default a tenth of M, at least 1 */
    int32_t milestone_count;
    int64_t milestones[16]; /* ascending, above 0 */
    /* Pure: the same m, the same factor. Called up to 1024 updates ahead, on the thread that
     * trains. An update for which it is negative or not finite ends the run as NOT_FINITE. */
    double (*function)(void *self, int64_t m);
    void *self;
} quern_schedule;

/* The factor on the learning rate for update n; NaN where FUNCTION gave no factor. */
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
    double weight_decay;           /* default 0. AdamW, Lion: decoupled; others: in the gradient */
    double clip_norm;  /* > 0: the gradient is scaled so that its global L2 norm is at most this */
    double clip_value; /* > 0: then each element is limited to -clip_value … clip_value */
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
