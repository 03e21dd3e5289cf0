/* update.h - the contract of an optimizer's arithmetic: one pass over flat blocks.
 *
 * All parameters of a graph lie in one block, their gradients in another of the same layout, and
 * each of the optimizer's states in one more. Segments are the ranges that share weight decay and
 * learning-rate scale; padding between tensors is zero in every block and stays so. */
#ifndef QUERN_UPDATE_H
#define QUERN_UPDATE_H

#include <quern/kernel.h>

QUERN_BEGIN_C

/* QUERN_OPTIMIZER_LIST(X): X(constant, name, state floats per parameter, the fields of
 * quern_optimizer_desc that it reads). */
/* clang-format off */
#define QUERN_OPTIMIZER_LIST(X)                                                       \
    X(ADAMW,   adamw,   2, BETA1 | BETA2 | EPSILON | WEIGHT_DECAY)                    \
    X(ADAM,    adam,    2, BETA1 | BETA2 | EPSILON | WEIGHT_DECAY)                    \
    X(SGD,     sgd,     1, MOMENTUM | NESTEROV | WEIGHT_DECAY)                        \
    X(RMSPROP, rmsprop, 2, BETA2 | EPSILON | MOMENTUM | WEIGHT_DECAY)                 \
    X(ADAGRAD, adagrad, 1, EPSILON | WEIGHT_DECAY)                                    \
    X(LION,    lion,    1, BETA1 | BETA2 | WEIGHT_DECAY)
/* clang-format on */
#define X(constant, name, states, reads) QUERN_OPTIMIZER_##constant,
typedef enum quern_optimizer_kind {
    QUERN_OPTIMIZER_LIST(X) QUERN_OPTIMIZER_COUNT
} quern_optimizer_kind;
#undef X

#define QUERN_OPTIMIZER_STATE_MAX 4

/* What the rule reads, in double, computed on the device for the update about to happen. */
typedef struct quern_hyper {
    double learning_rate; /* schedule included, segment scale not */
    double beta1, beta2, epsilon, momentum, weight_decay;
    double correct1, correct2; /* 1 / (1 - beta^n), n = 1 for the first update */
    double gradient_scale;     /* clipping and unscaling: multiply the gradient by it first */
    double clip_value;         /* then limit it to -clip_value … clip_value; infinity: off */
    int64_t n;                 /* 1 for the first update */
    bool nesterov;
} quern_hyper;

typedef struct quern_segment {
    int64_t start, count;                          /* elements of the flat blocks */
    float learning_rate_scale, weight_decay_scale; /* 0: none */
} quern_segment;

typedef struct quern_update {
    quern_dtype dtype; /* F32 or F64, of every block */
    void *parameters;
    const void *gradients;
    void *states[QUERN_OPTIMIZER_STATE_MAX];
    const quern_segment *segments; /* host memory */
    int32_t segment_count;
    const quern_hyper *hyper; /* device memory */
    const int32_t *applied;   /* device memory: 0 = leave every block as it is */
    /* The parameters' 16-bit copies (precision.h), to be written with them by the built-in rules;
     * what an own rule writes is copied behind it. NULL: there are none. */
    void *copies;
    quern_dtype copy_dtype; /* BF16, F16 */
    bool copy_stochastic;   /* drawn from (args->run->seed, hyper->n, element) */
    /* The parameters' moving average, which follows them likewise:
     *   average += (1 - decay) (value - average)
     * with warm-up decay at most (1 + n) / (10 + n), n = hyper->n. NULL: there is none. */
    void *average;
    double average_decay;
    bool average_warmup;
} quern_update;

/* An optimizer of the application's own; args->attributes is a const quern_update *. A function
 * per backend; a missing one is UNSUPPORTED there. */
typedef struct quern_update_rule {
    const char *name;
    int32_t state_count;
    uint32_t reads; /* QUERN_READS_BETA1 | … */
    quern_kernel_function update[QUERN_BACKEND_COUNT];
} quern_update_rule;

enum {
    QUERN_READS_BETA1 = 1,
    QUERN_READS_BETA2 = 2,
    QUERN_READS_EPSILON = 4,
    QUERN_READS_MOMENTUM = 8,
    QUERN_READS_NESTEROV = 16,
    QUERN_READS_WEIGHT_DECAY = 32
};

QUERN_END_C
#endif
