#include "ends.h"

#include "quern_test.h"

#include <signal.h>
#include <stdio.h>

static quern_action note_end(void *self, const quern_event *event) {
    ends *e = self;
    const int n = ++e->fired[event->kind];
    if (event->kind == QUERN_EVENT_stop_requested)
        snprintf(e->reason, sizeof e->reason, "%s", event->reason);
    if (event->kind == QUERN_EVENT_save_durable) e->save_status = event->status;
    if (event->kind == QUERN_EVENT_step_end && n == e->save_at)
        CHECK_OK(quern_event_request(event, QUERN_REQUEST_SAVE));
    if (event->kind == e->kind && n == e->nth)
        for (int i = 0; i < e->times; i++) CHECK(raise(e->number) == 0);
    return QUERN_CONTINUE;
}

quern_callback ends_callback(ends *e) {
#define X(name, actions, text) .name = note_end,
    quern_callback callback = {.name = "ends", .self = e, QUERN_EVENT_LIST(X)};
#undef X
    return callback;
}

void ends_check(const ends *e, bool stopped, bool failed) {
    CHECK(e->fired[QUERN_EVENT_stop_requested] == (stopped ? 1 : 0));
    CHECK(e->fired[QUERN_EVENT_fit_end] == 1);
    CHECK(e->fired[QUERN_EVENT_exception] == (failed ? 1 : 0));
}
