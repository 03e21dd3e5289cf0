/* side.h - one run of a verification: the model on one device, in one dtype, for one step.
 *
 * Two programs over the same parameters: `observed` keeps every activation and its gradient,
 * `trained` is compiled as a trainer does. Both draw what attempt 0 draws. */
#ifndef QUERN_TRAIN_VERIFY_SIDE_H
#define QUERN_TRAIN_VERIFY_SIDE_H

#include "../../graph/program.h"
#include "batch.h"

typedef struct side {
    quern_device *device;
    arena memory;
    quern_graph *graph;
    quern_verify_model model;
    const quern_safetensors *weights; /* that it begins with; NULL: as initialised */
    quern_parameters *parameters;
    quern_program *observed, *trained;
    quern_tensor **tensors; /* by id */
    int32_t tensor_count;
    int64_t batch_size;
} side;

/* Builds the model, starting values included. After a failure release is allowed. */
QUERN_MUST_CHECK quern_status side_open(side *s, quern_device *device, quern_dtype dtype,
                                        const quern_verify_desc *desc);
/* Whether a tensor's value is looked at: it can be read, is of floats and no pending state. */
bool side_observes(const side *s, const quern_tensor *tensor);
/* Forward and backward of both programs. */
QUERN_MUST_CHECK quern_status side_run(side *s, const verify_batch *batch);
/* One update with the gradients as they are, by an optimizer without a past. */
QUERN_MUST_CHECK quern_status side_update(side *s, const quern_optimizer_desc *desc);
/* What the role says of the tensor, as doubles. `raw` has room for `count` of them. */
QUERN_MUST_CHECK quern_status side_read(const side *s, quern_verify_role role,
                                        const quern_tensor *tensor, int64_t count, void *raw,
                                        double *out);
/* Whether the observed backward pass reaches the tensor. */
bool side_has_gradient(const side *s, const quern_tensor *tensor);
/* The parameters as they began, and `values` (count F64) as the gradient of one. */
QUERN_MUST_CHECK quern_status side_restart(side *s);
QUERN_MUST_CHECK quern_status side_write_gradient(side *s, const quern_tensor *tensor,
                                                  const double *values, int64_t count);
void side_release(side *s);

#endif
