/* program.h - a graph compiled for one batch size and mode: a flat list of steps.
 *
 * Two phases, so that several programs can share one arena: program_plan decides everything and
 * allocates host memory only; program_bind sets every pointer. Passes, one file each:
 * autodiff.c appends backward steps, fuse.c merges neighbours, precision.c and layout.c assign
 * types and layouts, plan.c places the buffers. */
#ifndef QUERN_GRAPH_PROGRAM_H
#define QUERN_GRAPH_PROGRAM_H

#include "graph.h"
#include "parameters.h"
#include <quern/program.h>

/* Of a window's first microbatch: forward, and backward, which overwrites the parameters'
 * gradients. Of the following ones: forward, where a node that renews running statistics goes on
 * from their pending value (any other node reads the committed one); and backward, which adds. */
typedef enum program_part {
    PROGRAM_FORWARD,
    PROGRAM_FORWARD_FOLLOWING,
    PROGRAM_BACKWARD,
    PROGRAM_BACKWARD_FOLLOWING,
} program_part;

/* bytes_only: it will not run; then desc->parameters may have been planned only (data NULL). */
QUERN_MUST_CHECK quern_status program_plan(quern_program **out, const quern_program_desc *desc,
                                           bool bytes_only);

size_t program_arena_bytes(const quern_program *program);
size_t program_input_bytes(const quern_program *program);
size_t program_workspace_bytes(const quern_program *program); /* within the arena */

/* activations (the arena) and inputs: device memory of at least those bytes; run: device memory.
 * May be called again. Programs of one graph place the same input at different offsets. */
QUERN_MUST_CHECK quern_status program_bind(quern_program *program, void *arena, void *inputs,
                                           const quern_run *run);

/* Issues one kernel call after another to the stream. */
QUERN_MUST_CHECK quern_status program_issue(const quern_program *program, program_part part,
                                            quern_stream *stream);

/* Whether `tensor` is of this program's graph and was there when it was compiled: a graph may grow
 * afterwards. Of any other tensor the views below are empty. */
bool program_knows(const quern_program *program, const quern_tensor *tensor);

/* The bound view of an input or an output, and of the gradient of `loss` (to be seeded) or of an
 * input that wants one; data NULL when the program has no such tensor. */
quern_view program_view(const quern_program *program, const quern_tensor *tensor);
quern_view program_gradient_view(const quern_program *program, const quern_tensor *tensor);

/* Whether this program's forward writes the pending value of a buffer, so that an update has to
 * commit it. */
bool program_writes_pending(const quern_program *program, const quern_tensor *buffer);

#endif
