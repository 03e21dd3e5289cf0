/* ends.h - a callback that counts every event, and raises a signal at one of them. */
#ifndef QUERN_TESTS_TRAIN_ENDS_H
#define QUERN_TESTS_TRAIN_ENDS_H

#include <quern/quern.h>

typedef struct ends {
    int fired[QUERN_EVENT_COUNT];
    quern_event_kind kind; /* `number` is raised so many `times` at the nth of these */
    int nth, number, times;
    int save_at;              /* a save is asked for at the nth step_end; 0: none */
    char reason[32];          /* stop_requested's */
    quern_status save_status; /* the last save_durable's */
} ends;

quern_callback ends_callback(ends *e);
/* stop_requested at most once, fit_end once, exception only of a failure. */
void ends_check(const ends *e, bool stopped, bool failed);

#endif
