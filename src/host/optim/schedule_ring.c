/* schedule_ring.c - the schedule in device memory: a ring of factors, written ahead of the updates
 * that read it. 16 KiB at most; one factor where it never changes. */
#include "schedule.h"

#include "../base/report.h"

enum { RING = 1024 };

int64_t schedule_ring_count(const quern_schedule *resolved) {
    return resolved->kind == QUERN_SCHEDULE_CONSTANT && resolved->warmup <= 1 ? 1 : RING;
}

quern_status schedule_ring_create(schedule_ring *out, quern_device *device,
                                  const quern_schedule *resolved, double *values) {
    const int64_t count = schedule_ring_count(resolved);
    void *staged = NULL;
    *out = (schedule_ring){.device = device};
    QUERN_TRY(
        device->backend->allocate_pinned(device->memory, &staged, (size_t)count * sizeof(double)));
    *out = (schedule_ring){device, *resolved, values, staged, count, 0, 1};
    return QUERN_OK;
}

void schedule_ring_rescale(schedule_ring *ring, double scale) {
    ring->scale = scale;
    ring->end = 0; /* as at the beginning: the next feed writes what it needs */
}

void schedule_ring_destroy(schedule_ring *ring) {
    if (ring->staged)
        ring->device->backend->release_pinned(ring->device->memory, ring->staged,
                                              (size_t)ring->count * sizeof(double));
    ring->staged = NULL;
}

/* Factors of `count` updates from ring->end on; they do not wrap around the ring's end. */
static quern_status append(schedule_ring *ring, quern_stream *stream, int64_t count) {
    const int64_t slot = ring->end % ring->count;
    for (int64_t i = 0; i < count; i++)
        ring->staged[slot + i] = ring->scale * quern_schedule_scale(&ring->schedule, ring->end + i);
    ring->end += count;
    return ring->device->backend->copy(stream, ring->values + slot, ring->staged + slot,
                                       (size_t)count * sizeof(double));
}

/* The ring is written half by half. A half is written again only when `step` has passed all of it:
 * then the updates that read it, and its earlier copy, are known to be done. */
quern_status schedule_ring_feed(schedule_ring *ring, quern_stream *stream, int64_t step) {
    if (ring->count == 1) return ring->end == 0 ? append(ring, stream, 1) : QUERN_OK;
    const int64_t half = ring->count / 2;
    if (step < ring->end - ring->count || step >= ring->end) {
        QUERN_TRY(device_wait_stream(ring->device, stream));
        ring->end = step / half * half;
        QUERN_TRY(append(ring, stream, half));
        return append(ring, stream, half);
    }
    return ring->end - step <= half ? append(ring, stream, half) : QUERN_OK;
}
