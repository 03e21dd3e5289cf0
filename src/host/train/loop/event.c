/* event.c - names of events and outcomes, and reading an event's scalars. */
#include <quern/event.h>

#include <math.h>
#include <string.h>

const char *quern_event_name(quern_event_kind kind) {
#define X(name, actions, text) #name,
    static const char *const names[] = {QUERN_EVENT_LIST(X)};
#undef X
    return (unsigned)kind < QUERN_EVENT_COUNT ? names[kind] : "unknown";
}

const char *quern_outcome_name(quern_outcome outcome) {
    switch (outcome) {
    case QUERN_OUTCOME_APPLIED: return "applied";
    case QUERN_OUTCOME_EMPTY: return "empty";
    case QUERN_OUTCOME_NOT_FINITE: return "not_finite";
    case QUERN_OUTCOME_SKIPPED: return "skipped";
    case QUERN_OUTCOME_FROZEN: return "frozen";
    case QUERN_OUTCOME_OVERFLOW: return "overflow";
    }
    return "unknown";
}

double quern_event_scalar(const quern_event *event, const char *name) {
    for (int32_t i = 0; event && name && i < event->scalar_count; i++) {
        if (strcmp(event->scalars[i].name, name) == 0) return event->scalars[i].value;
    }
    return (double)NAN;
}
