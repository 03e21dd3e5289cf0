/* flight.c - the attempts in flight: issued, their records not read yet. A ring by attempt, of
 * `lanes`, and the events that say how far the device is.
 *
 * An event stands behind a group of half a ring, and behind the newest attempt when that is waited
 * for: one wait then serves all that were issued before. Which attempts share one is a function of
 * the run alone, so that the order of what follows from their records is too. */
#include "../trainer.h"

#include <string.h>

int32_t flight_group(int32_t lanes) { return lanes > 2 ? lanes / 2 : 1; }

static attempt *attempt_of(const quern_trainer *t, int64_t number) {
    return &t->in_flight[number % t->lanes];
}

quern_status flight_create(quern_trainer *t) {
    t->lanes = t->desc.run_ahead + 1;
    QUERN_TRY(
        arena_allocate(&t->memory, &t->in_flight, t->lanes, sizeof *t->in_flight, "attempts"));
    QUERN_TRY(arena_allocate(&t->memory, &t->events, t->lanes, sizeof *t->events, "events"));
    for (int32_t i = 0; i < t->lanes; i++)
        QUERN_TRY(t->backend->event_create(t->device->memory, &t->events[i]));
    return QUERN_OK;
}

void flight_release(quern_trainer *t) {
    for (int32_t i = 0; i < t->lanes && t->events; i++)
        if (t->events[i]) t->backend->event_destroy(t->events[i]);
    t->events = NULL;
}

attempt *attempt_next(quern_trainer *t) { return attempt_of(t, t->attempts_issued); }

int64_t flight_oldest(const quern_trainer *t) { return t->attempts_issued - t->in_flight_count; }

/* Where it cannot be recorded nothing can be known of what was issued. */
static quern_status mark(quern_trainer *t) {
    const int64_t newest = t->attempts_issued - 1;
    for (int64_t n = t->marked; n <= newest; n++) attempt_of(t, n)->marked_by = newest;
    t->marked = newest + 1;
    quern_status status = launch_all(t);
    if (status == QUERN_OK)
        status = t->backend->event_record(t->events[newest % t->lanes], t->stream);
    if (status == QUERN_OK) return QUERN_OK;
    t->dropping = true;
    if (t->lost == QUERN_OK) error_save(&t->lost_text);
    if (t->lost == QUERN_OK) t->lost = status; /* told where the first of them is read */
    return status;
}

quern_status flight_add(quern_trainer *t, const attempt *a) {
    attempt *to = attempt_next(t);
    window_batch *own = to->microbatches;
    if (t->in_flight_count == 0) t->mended_before = device_mended(t->device);
    if (own != a->microbatches) memcpy(own, a->microbatches, (size_t)a->count * sizeof *own);
    *to = *a;
    to->microbatches = own;
    t->in_flight_count++;
    t->attempts_issued++;
    t->sums_current = false;
    return flight_mark(t, t->lanes);
}

quern_status flight_mark(quern_trainer *t, int32_t lanes) {
    return t->attempts_issued - t->marked >= flight_group(lanes) ? mark(t) : QUERN_OK;
}

bool flight_mended(const quern_trainer *t) { return t->mended_before != device_mended(t->device); }

quern_status flight_reach(quern_trainer *t, int64_t number) {
    if (number < t->reached && !flight_mended(t)) return QUERN_OK;
    if (number >= t->marked) QUERN_TRY(mark(t));
    const int64_t behind = attempt_of(t, number)->marked_by;
    QUERN_TRY(device_wait_event(t->device, t->events[behind % t->lanes]));
    t->reached = behind + 1;
    return QUERN_OK;
}

const attempt *flight_take(quern_trainer *t) {
    const attempt *oldest = attempt_of(t, flight_oldest(t));
    t->in_flight_count--;
    return oldest;
}

quern_status flight_mark_again(quern_trainer *t) {
    const int64_t newest = t->attempts_issued - 1;
    if (t->reached > newest) t->reached = newest;
    return mark(t);
}
