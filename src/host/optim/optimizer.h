/* optimizer.h - an update rule bound to a graph's parameters: what the trainer and the public
 * quern_optimizer share.
 *
 * An optimizer owns its states, the norm's scratch and the schedule ring (one block of device
 * memory) and the arguments of the tasks that it issues, so it must not move between bind and
 * release. It borrows the parameters and a task_state in device memory. One attempt is, after the
 * backward pass:
 *   optimizer_feed, optimizer_issue_norm, _decide, _update, _commit, then the caller's record.
 * feed (with the updates known to be applied) stays outside a capture, the others may be captured.
 * Nothing here allocates after bind. */
#ifndef QUERN_OPTIM_OPTIMIZER_H
#define QUERN_OPTIM_OPTIMIZER_H

#include "../graph/parameters.h"
#include "schedule.h"

/* Every default filled in; given may be NULL. planned_updates: of the run, 0 when open-ended.
 * INVALID names the rule, the field and the value. */
QUERN_MUST_CHECK quern_status optimizer_resolve(quern_optimizer_desc *out,
                                                const quern_optimizer_desc *given,
                                                int64_t planned_updates);
const char *optimizer_name(const quern_optimizer_desc *resolved);
/* Blocks of the parameters' size that the rule keeps: fewer than its row says without momentum. */
int32_t optimizer_state_count(const quern_optimizer_desc *resolved);

/* What bind allocates on the device; parameters may have been planned only. */
QUERN_MUST_CHECK quern_status optimizer_bytes(const quern_optimizer_desc *resolved,
                                              const quern_parameters *parameters, size_t *out);

typedef struct bound_optimizer {
    quern_optimizer_desc desc; /* resolved */
    quern_device *device;
    quern_parameters *parameters;
    quern_stream *stream; /* everything is issued to it */
    int32_t state_count;
    size_t block_bytes; /* of one state: trainable_count elements of the parameters' dtype */
    void *memory;       /* device */
    size_t memory_bytes;
    schedule_ring schedule;
    quern_kernel_function rule;
    quern_update update; /* update.states are the state blocks */
    task_norm norm;
    task_decide decide;
    task_commit commit;
    quern_view *committed; /* [2 * commit.count]: to, then from */
    quern_kernel_args update_args, norm_args, decide_args, commit_args;
} bound_optimizer;

typedef struct optimizer_bind_desc {
    const quern_optimizer_desc *desc; /* resolved */
    quern_parameters *parameters;
    task_state *state; /* device memory */
    quern_stream *stream;
    int64_t not_finite_limit; /* in a row, before what follows is frozen */
    task_scaler scaler;
} optimizer_bind_desc;

/* Allocates, and issues the clearing of the states. UNSUPPORTED: the application's rule has no
 * function for this backend. After a failure release is allowed. */
QUERN_MUST_CHECK quern_status optimizer_bind(bound_optimizer *out, const optimizer_bind_desc *desc);
void optimizer_release(bound_optimizer *o);

/* The factor on the whole schedule, schedule.scale, for updates issued from now on; nothing that
 * was issued before may still be under way. */
void optimizer_rescale(bound_optimizer *o, double scale);
/* As after bind: no state, no scale on the learning rate. Everything issued has run to its end. */
QUERN_MUST_CHECK quern_status optimizer_clear(bound_optimizer *o);
QUERN_MUST_CHECK quern_status optimizer_feed(bound_optimizer *o, int64_t step);
QUERN_MUST_CHECK quern_status optimizer_issue_norm(const bound_optimizer *o);
QUERN_MUST_CHECK quern_status optimizer_issue_decide(const bound_optimizer *o);
QUERN_MUST_CHECK quern_status optimizer_issue_update(const bound_optimizer *o);
QUERN_MUST_CHECK quern_status optimizer_issue_commit(const bound_optimizer *o);

#endif
