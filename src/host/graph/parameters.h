/* parameters.h - the values of a graph's parameters and buffers: flat blocks on the device.
 *
 * Layout of `values` (elements, each tensor padded with zeros to a multiple of 16): unfrozen
 * parameters by their two scales, which are the segments; then the frozen ones.
 * `gradients` covers only the unfrozen. `buffers` and `pending` have one layout. */
#ifndef QUERN_GRAPH_PARAMETERS_H
#define QUERN_GRAPH_PARAMETERS_H

#include "graph.h"
#include "../../kernels/task.h"
#include <quern/program.h>
#include <quern/update.h>

struct quern_parameters {
    quern_graph *graph;
    quern_dtype dtype;
    int64_t value_count, trainable_count, buffer_count; /* elements with padding */
    void *values, *gradients, *buffers, *pending;
    quern_segment *segments;
    int32_t segment_count, segment_capacity;
    quern_stream *stream; /* whose work the public read and write wait for; a trainer sets its own,
                             NULL: the device's */

    const double *gradient_scale; /* device memory: what the gradients are multiplied by; NULL: 1 */

    /* parameter_copies.c */
    quern_dtype copy_dtype; /* BF16, F16; F32: there are none */
    void *copies;
    bool stochastic;
    bool stale; /* values have been written since the copies were */

    int64_t writes; /* by quern_parameters_write, so far */
    task_round round;
    quern_kernel_args round_args;
};

/* Computes the layout and seals the graph; allocates nothing on the device. */
QUERN_MUST_CHECK quern_status parameters_plan(quern_parameters *out, quern_graph *graph,
                                              quern_precision precision);
/* Device blocks, zeroed. nn/initialize.c makes the public create of these two and the values. */
QUERN_MUST_CHECK quern_status parameters_allocate(quern_parameters *p, bool gradients);
void parameters_release(quern_parameters *p);

/* The 16-bit copies; where there are none all of this does nothing. */
size_t parameters_copy_bytes(const quern_parameters *p);
QUERN_MUST_CHECK quern_status parameters_copies_allocate(quern_parameters *p);
void parameters_copies_release(quern_parameters *p);
/* Whose updates draw the chances of stochastic rounding; NULL: none any more. Until then copies are
 * rounded to nearest. Waits for a rounding that is under way; its failure is returned. */
QUERN_MUST_CHECK quern_status parameters_copies_follow(quern_parameters *p,
                                                       const task_state *state);
/* Issues the rounding of all; _renew: if they are stale. */
QUERN_MUST_CHECK quern_status parameters_copies_issue(quern_parameters *p, quern_stream *stream);
QUERN_MUST_CHECK quern_status parameters_copies_renew(quern_parameters *p, quern_stream *stream);

/* The view of a parameter, a buffer, their gradient or pending value; data NULL if not allocated.
 */
quern_view parameters_view(const quern_parameters *p, const quern_tensor *tensor);
quern_view parameters_gradient_view(const quern_parameters *p, const quern_tensor *tensor);
quern_view parameters_pending_view(const quern_parameters *p, const quern_tensor *tensor);

#endif
