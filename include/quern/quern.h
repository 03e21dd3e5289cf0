/* quern.h - train neural networks from C, on NVIDIA GPUs and on the CPU.
 *
 * What it is: a library that runs the training loop inside your process, from your buffers: it
 * compiles a graph into a flat list of steps, plans every byte, and runs batches, forward, loss,
 * backward, update, metrics, validation and callbacks.
 * What it is not: an array library, an interpreter, a Python binding. It never prints, exits or
 * aborts, installs no signal handler, and changes no setting of the process.
 *
 * Step by step
 *   1. quern_device_create        where to compute; carries seed, threads and host functions
 *   2. quern_dataset_mnist, …     samples with named fields
 *   3. quern_graph_create, then builders: quern_input, quern_dense, quern_relu, …; a loss
 *   4. quern_trainer_create       checks all, allocates all
 *   5. quern_trainer_fit          trains; or your own loop around quern_trainer_step
 *   6. quern_x_destroy            in reverse order; NULL is allowed
 *
 * Conventions
 *   Descs     `&(quern_x_desc){ .field = … }`: zero-initialise; a zero field means the default in
 *             its comment. A set field that the chosen thing does not read is an error.
 *   Errors    quern_status, and one sentence in quern_error(). See status.h.
 *   NULL      a NULL desc is all zeros. NULL for anything else that is needed is INVALID, never a
 *             crash; a function without a status then does nothing and returns NULL, 0 or "".
 *             Builders pass NULL on, so that only the end of a chain has to be checked.
 *   Shapes    row-major, batch first. B batch, C channels or classes, H height, W width, N samples.
 *   Sizes     int64_t counts elements, samples, steps; size_t counts bytes.
 *   Owning    a graph owns its tensors; a trainer borrows its graph, datasets and callbacks.
 *   Threads   one object, one thread at a time; different objects on different threads.
 * The headers are the manual; this is their reading order. */
#ifndef QUERN_H
#define QUERN_H

#include <quern/status.h>
#include <quern/host.h>
#include <quern/device.h>
#include <quern/profile.h>
#include <quern/graph.h>
#include <quern/ops.h>
#include <quern/nn.h>
#include <quern/models.h>
#include <quern/data.h>
#include <quern/optim.h>
#include <quern/metric.h>
#include <quern/event.h>
#include <quern/callbacks.h>
#include <quern/train.h>
#include <quern/find.h>
#include <quern/verify.h>
#include <quern/precision.h>
#include <quern/program.h>
#include <quern/safetensors.h>
#include <quern/checkpoint.h>
#include <quern/kernel.h>
#include <quern/update.h>

#endif
