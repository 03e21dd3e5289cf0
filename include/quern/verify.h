/* verify.h - one training step of the application's model, on the CPU reference and on a device,
 * tensor by tensor.
 *
 * The reference is F64 on the CPU. Against it stand F32 on the CPU and, where a CUDA device is
 * given, F32 on that: the same seed, so the same starting values and random draws; the same batch;
 * values of the reference are those of F32 widened. Each of these runs takes the step twice: once
 * with every tensor kept, to be looked at, and once compiled as a trainer does, fused and with
 * memory shared; parameters' gradients, statistics and weights are those of the second.
 *
 * Tensors come in the order in which a step computes them, so that the first that is out of
 * tolerance is where it went wrong: activations as in the graph, the loss, gradients from the loss
 * backwards, running statistics, updated weights. Strided aliases and integers are left out.
 *
 * error = max |found - reference| / scale, where scale is the largest magnitude in the tensor on
 * either side, but at least a thousandth of the largest in the reference among tensors of its role:
 * a sum that is zero but for rounding (the gradient of a bias before a batch norm) has no relative
 * error of its own. NaN and infinity are out of any tolerance.
 *
 * Weights are judged by the change that the update makes, beyond one rounding of the weight
 * (2^-23), against what the F64 rule makes of the run's own gradients, which have been judged by
 * then: the first update of Adam is the rate times the sign of the gradient, however small that is.
 *
 * Kinks: where the input of a ReLU (leaky, PReLU) or two inputs of a max-pooling window are nearer
 * to each other than F32 can tell, both sides may rightly take another branch. Such flips are
 * counted, only where the activation itself is in tolerance. In a run without any, gradients are
 * judged by element. In one with flips they are judged by norm, error = |found - reference|_2 /
 * scale_2, with a tolerance wider by 4 sqrt(sum of flips / elements over the layers that have
 * some); `by_norm` says so. Another seed or batch then gives a strict verdict. Branches of other
 * ops (max, clamp, l1) are not excused. */
#ifndef QUERN_VERIFY_H
#define QUERN_VERIFY_H

#include <quern/safetensors.h>
#include <quern/train.h>

QUERN_BEGIN_C

/* What a builder has built: all but the loss may be NULL. */
typedef struct quern_verify_model {
    quern_tensor *loss, *loss_weight; /* as in quern_trainer_desc */
} quern_verify_model;

#define QUERN_VERIFY_ROLE_LIST(X)                                                                  \
    X(ACTIVATION, "activation")                                                                    \
    X(LOSS, "loss")                                                                                \
    X(ACTIVATION_GRADIENT, "gradient of activation")                                               \
    X(GRADIENT, "gradient")                                                                        \
    X(STATISTIC, "running statistic")                                                              \
    X(WEIGHT, "updated weight")
#define X(name, text) QUERN_VERIFY_##name,
typedef enum quern_verify_role {
    QUERN_VERIFY_ROLE_LIST(X) QUERN_VERIFY_ROLE_COUNT
} quern_verify_role;
#undef X
QUERN_API const char *quern_verify_role_name(quern_verify_role role); /* "running statistic" */

/* Of F32, whose rounding is 6e-8. A step's sums of thousands of terms round to 1e-6 of their
 * result, layer upon layer to 1e-5; a kernel that forgets an element, a sign or a factor is wrong
 * by 1e-2 and more. */
typedef struct quern_verify_tolerance {
    double activation; /* and the loss; default 1e-4 */
    double gradient;   /* both kinds; default 1e-3: they pass through twice as many layers, and
                          through divisions by small variances */
    double statistic;  /* default 1e-4 */
    double weight;     /* of the change; default 1e-3: the rules divide by roots of sums */
} quern_verify_tolerance;

typedef struct quern_verify_tensor {
    quern_device_kind device; /* the run: CPU or CUDA, always F32 */
    quern_verify_role role;
    char name[96];
    char shape[96]; /* "(64, 10)" */
    int64_t count;
    int64_t index;           /* where the difference is largest, row-major; -1 in an empty tensor */
    double reference, found; /* the values there */
    double error, tolerance;
    bool by_norm, ok;
} quern_verify_tensor;

typedef struct quern_verify_desc {
    /* Builds the model in `graph`; called once for each dtype and device, the same each time. */
    quern_status (*build)(void *self, quern_graph *graph, quern_verify_model *out); /* required */
    void *self;
    quern_device *device; /* CUDA: compared with too. CPU: computes both sides. NULL: a CPU device
                             of seed 0. Its seed and host are those of the reference */
    const quern_dataset *dataset;      /* its first batch; this or */
    const quern_batch *batch;          /* a batch in host memory, floats as F32 */
    const quern_transform *transforms; /* of the dataset; never cropped or flipped */
    int32_t transform_count;
    const quern_safetensors *weights; /* parameters and statistics begin as this file's, of F32;
                                          NULL: as they are initialised */
    int64_t batch_size; /* of the dataset; default 64, and at most the samples that it has */
    quern_optimizer_desc optimizer;
    quern_verify_tolerance tolerance;
    /* Every tensor, in order; may be NULL. A failure ends verify with it. */
    quern_status (*visit)(void *self, const quern_verify_tensor *tensor);
    void *visit_self;
} quern_verify_desc;

typedef struct quern_verify_result {
    int64_t compared, bad; /* tensors; how many are out of tolerance */
    int64_t samples;
    int64_t flips;             /* branches of kinks that differ, in all runs */
    quern_verify_tensor first; /* the first one out of tolerance; name "": there is none */
    quern_verify_tensor worst; /* the largest share of its tolerance */
} quern_verify_result;

/* INTERNAL when a tensor is out of tolerance, naming the first one: that every backend computes the
 * same function is an invariant of the library, and of the application's kernels where it has its
 * own; the command's exit code is then 1, as that of cmp. NOT_FINITE, naming the tensor, when the
 * reference itself has a value that is not finite: then there is nothing to compare with. INVALID,
 * SHAPE, UNSUPPORTED, INPUT and failures of memory and device as from quern_trainer_create.
 * `result` may be NULL; it is filled as far as things went. */
QUERN_API QUERN_MUST_CHECK quern_status quern_verify(quern_verify_result *result,
                                                     const quern_verify_desc *desc);

QUERN_END_C
#endif
