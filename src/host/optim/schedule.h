/* schedule.h - the learning rate's factor as a function of the updates applied so far.
 *
 * quern_schedule_scale (optim.h, schedule.c) is the function; schedule_resolve.c has its desc's
 * defaults and checks, schedule_ring.c the ring in device memory from which the decide task reads
 * it. */
#ifndef QUERN_OPTIM_SCHEDULE_H
#define QUERN_OPTIM_SCHEDULE_H

#include "../device/device.h"
#include <quern/optim.h>

/* Fills defaults in place. INVALID for a set field that the kind does not read, a missing one
 * (`total`, when planned_updates is 0 too) and a value out of range. */
QUERN_MUST_CHECK quern_status schedule_resolve(quern_schedule *schedule, int64_t planned_updates);
/* The updates of WARMUP_STABLE_DECAY's decay, of `span` updates behind the warm-up. */
int64_t schedule_decay(const quern_schedule *schedule, int64_t span);
#define SCHEDULE_MILESTONE_MAX 16

/* The factor for update n lies at values[n % count]. Not moved once created. */
typedef struct schedule_ring {
    quern_device *device;
    quern_schedule schedule;
    double *values; /* device memory, of the caller: schedule_ring_count doubles */
    double *staged; /* pinned, same layout */
    int64_t count;
    int64_t end;  /* factors for [end - count, end) have been issued */
    double scale; /* on every factor; 1 after create */
} schedule_ring;

/* 1 when the factor never changes. */
int64_t schedule_ring_count(const quern_schedule *resolved);
QUERN_MUST_CHECK quern_status schedule_ring_create(schedule_ring *out, quern_device *device,
                                                   const quern_schedule *resolved, double *values);
/* For updates issued from now on: all that was written ahead is made again. What was issued before
 * has run to its end. */
void schedule_ring_rescale(schedule_ring *ring, double scale);
void schedule_ring_destroy(schedule_ring *ring);

/* Makes sure that the factors for updates step … step + 256 are there for work issued to `stream`
 * from now on. `step`: updates known to be applied (read back from the device). Allocates nothing;
 * waits only when `step` jumped. */
QUERN_MUST_CHECK quern_status schedule_ring_feed(schedule_ring *ring, quern_stream *stream,
                                                 int64_t step);

#endif
