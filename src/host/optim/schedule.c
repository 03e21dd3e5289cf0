/* schedule.c - learning-rate schedules: the function, its desc's checks, and the device's ring. */
#include "schedule.h"

#include "../base/report.h"

#include <inttypes.h>
#include <math.h>

enum { RING = 1024, MILESTONE_MAX = 16 };
static const double PI = 3.14159265358979323846;

/* gamma's default; QUERN_ZERO is a zero that is meant. */
static double gamma_of(const quern_schedule *s) {
    return s->gamma == 0 && !signbit(s->gamma) ? 0.1 : s->gamma + 0.0;
}

/* The schedule proper, m = 0 at its start, over `span` updates. */
static double scale_after_warmup(const quern_schedule *s, int64_t m, int64_t span) {
    const double final = s->final_scale + 0.0;
    int64_t passed = 0;
    switch (s->kind) {
    case QUERN_SCHEDULE_STEP:
        passed = s->period > 0 ? m / s->period : 0;
        return pow(gamma_of(s), (double)passed);
    case QUERN_SCHEDULE_MULTI_STEP:
        for (int32_t i = 0; i < s->milestone_count && i < MILESTONE_MAX; i++)
            passed += s->milestones[i] <= m;
        return pow(gamma_of(s), (double)passed);
    case QUERN_SCHEDULE_LINEAR:
        return m >= span ? final : 1 + (final - 1) * ((double)m / (double)span);
    case QUERN_SCHEDULE_COSINE:
        if (m >= span) return final;
        return final + (1 - final) * 0.5 * (1 + cos(PI * ((double)m / (double)span)));
    default: return 1;
    }
}

double quern_schedule_scale(const quern_schedule *schedule, int64_t n) {
    if (!schedule || n < 0) return 1;
    if (n < schedule->warmup) return (double)(n + 1) / (double)schedule->warmup;
    const int64_t warmup = schedule->warmup > 0 ? schedule->warmup : 0;
    return scale_after_warmup(schedule, n - warmup, schedule->total - warmup);
}

const char *schedule_name(quern_schedule_kind kind) {
    static const char *const names[] = {"constant", "step", "multi_step", "linear", "cosine"};
    return (uint32_t)kind <= QUERN_SCHEDULE_COSINE ? names[kind] : "unknown";
}

static bool is_set(double x) { return x != 0 || signbit(x); }

static quern_status check_unread(const quern_schedule *s) {
    const bool steps = s->kind == QUERN_SCHEDULE_STEP || s->kind == QUERN_SCHEDULE_MULTI_STEP;
    const bool spans = s->kind == QUERN_SCHEDULE_LINEAR || s->kind == QUERN_SCHEDULE_COSINE;
    const char *field = NULL;
    if (is_set(s->gamma) && !steps) field = "gamma";
    if (s->period != 0 && s->kind != QUERN_SCHEDULE_STEP) field = "period";
    if (s->milestone_count != 0 && s->kind != QUERN_SCHEDULE_MULTI_STEP) field = "milestones";
    if (s->total != 0 && !spans) field = "total";
    if (is_set(s->final_scale) && !spans) field = "final_scale";
    if (!field) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "schedule %s does not read %s", schedule_name(s->kind), field);
}

static quern_status check_milestones(const quern_schedule *s) {
    if (s->milestone_count < 1 || s->milestone_count > MILESTONE_MAX)
        return quern_fail(QUERN_INVALID, "schedule multi_step: %d milestones, expected 1 to %d",
                          (int)s->milestone_count, MILESTONE_MAX);
    for (int32_t i = 0; i < s->milestone_count; i++) {
        const int64_t before = i == 0 ? 0 : s->milestones[i - 1];
        if (s->milestones[i] <= before)
            return quern_fail(QUERN_INVALID,
                              "schedule multi_step: milestone %" PRId64 " after %" PRId64
                              ", expected ascending and above 0",
                              s->milestones[i], before);
    }
    return QUERN_OK;
}

static quern_status resolve_total(quern_schedule *s, int64_t planned_updates) {
    const char *name = schedule_name(s->kind);
    if (s->total < 0 || (s->total > 0 && s->total < s->warmup))
        return quern_fail(QUERN_INVALID,
                          "schedule %s: total %" PRId64 " is below its warmup of %" PRId64, name,
                          s->total, s->warmup);
    if (s->total == 0) s->total = planned_updates;
    if (s->total == 0)
        return quern_fail(QUERN_INVALID,
                          "schedule %s needs total: the number of updates is not known", name);
    if (!isfinite(s->final_scale) || s->final_scale < 0)
        return quern_fail(QUERN_INVALID, "schedule %s: final_scale %g, expected 0 or more", name,
                          s->final_scale);
    return QUERN_OK;
}

static quern_status resolve_gamma(quern_schedule *s) {
    if (!is_set(s->gamma)) s->gamma = 0.1;
    if (isfinite(s->gamma) && s->gamma >= 0) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "schedule %s: gamma %g, expected 0 or more",
                      schedule_name(s->kind), s->gamma);
}

quern_status schedule_resolve(quern_schedule *schedule, int64_t planned_updates) {
    quern_schedule *s = schedule;
    if ((uint32_t)s->kind > QUERN_SCHEDULE_COSINE)
        return quern_fail(QUERN_INVALID, "schedule %d does not exist", (int)s->kind);
    if (s->warmup < 0)
        return quern_fail(QUERN_INVALID, "schedule %s: warmup %" PRId64 ", expected 0 or more",
                          schedule_name(s->kind), s->warmup);
    QUERN_TRY(check_unread(s));
    switch (s->kind) {
    case QUERN_SCHEDULE_STEP:
        if (s->period < 1)
            return quern_fail(QUERN_INVALID, "schedule step: period %" PRId64 ", expected above 0",
                              s->period);
        return resolve_gamma(s);
    case QUERN_SCHEDULE_MULTI_STEP: QUERN_TRY(check_milestones(s)); return resolve_gamma(s);
    case QUERN_SCHEDULE_LINEAR:
    case QUERN_SCHEDULE_COSINE: return resolve_total(s, planned_updates);
    default: return QUERN_OK;
    }
}

int64_t schedule_ring_count(const quern_schedule *resolved) {
    return resolved->kind == QUERN_SCHEDULE_CONSTANT && resolved->warmup <= 1 ? 1 : RING;
}

quern_status schedule_ring_create(schedule_ring *out, const quern_device *device,
                                  const quern_schedule *resolved, double *values) {
    const int64_t count = schedule_ring_count(resolved);
    void *staged = NULL;
    *out = (schedule_ring){.device = device};
    QUERN_TRY(
        device->backend->allocate_pinned(device->memory, &staged, (size_t)count * sizeof(double)));
    *out = (schedule_ring){device, *resolved, values, staged, count, 0};
    return QUERN_OK;
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
        ring->staged[slot + i] = quern_schedule_scale(&ring->schedule, ring->end + i);
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
        QUERN_TRY(ring->device->backend->stream_wait(stream));
        ring->end = step / half * half;
        QUERN_TRY(append(ring, stream, half));
        return append(ring, stream, half);
    }
    return ring->end - step <= half ? append(ring, stream, half) : QUERN_OK;
}
