/* flight.h - attempts behind attempt_issue: launched, in flight, read back. */
#ifndef QUERN_TRAIN_LOOP_FLIGHT_H
#define QUERN_TRAIN_LOOP_FLIGHT_H

#include "attempt.h"
#include <quern/train.h>

/* launch.c */
QUERN_MUST_CHECK quern_status launch_check(const quern_trainer_desc *desc);
/* Behind the plan, when run_ahead has its default: whether there are rows, or why not, and so how
 * far ahead they ask to be. */
void launch_fill_defaults(quern_trainer *t);
/* Records the rows, when units and feeds are there. */
QUERN_MUST_CHECK quern_status launch_create(quern_trainer *t);
void launch_release(quern_trainer *t);
/* Whether this attempt, which is to be the next in flight, is launched later, in a row. */
bool launch_put_off(quern_trainer *t, const attempt *a);
/* It is in flight: a full row is launched. */
QUERN_MUST_CHECK quern_status launch_row(quern_trainer *t);
/* What was put off is launched, before anything else is issued, waited for or looked at. */
QUERN_MUST_CHECK quern_status launch_all(quern_trainer *t);

/* flight.c */
QUERN_MUST_CHECK quern_status flight_create(quern_trainer *t);
void flight_release(quern_trainer *t);
/* The place of the next attempt, to be filled. */
attempt *attempt_next(quern_trainer *t);
/* It has been issued; `a` is copied. */
QUERN_MUST_CHECK quern_status flight_add(quern_trainer *t, const attempt *a);
int64_t flight_oldest(const quern_trainer *t);
/* Where at most `lanes` are in flight, so many share an event, and are read with one wait. */
int32_t flight_group(int32_t lanes);
/* An event behind the newest, once they are so many. */
QUERN_MUST_CHECK quern_status flight_mark(quern_trainer *t, int32_t lanes);
/* Waits until this one has run. The failure is of any that shares its event. */
QUERN_MUST_CHECK quern_status flight_reach(quern_trainer *t, int64_t number);
/* Something has been issued behind the newest that whoever reaches it is to wait for too. */
QUERN_MUST_CHECK quern_status flight_mark_again(quern_trainer *t);
/* A wait since the oldest was issued has returned a failure, and what came behind has run. */
bool flight_mended(const quern_trainer *t);
/* The oldest is in flight no more; it stays as it is until its lane is needed. */
const attempt *flight_take(quern_trainer *t);

/* records.c */
/* Once more than run_ahead are in flight, reads half of what may be. */
QUERN_MUST_CHECK quern_status records_keep_up(quern_trainer *t);
/* The same with at most `lanes` of the ring. */
QUERN_MUST_CHECK quern_status records_keep_below(quern_trainer *t, int32_t lanes);
/* Reads as long as the next attempt to be issued could lie behind a trigger. */
QUERN_MUST_CHECK quern_status records_make_room(quern_trainer *t);
QUERN_MUST_CHECK quern_status records_drain(quern_trainer *t);
/* After a failure: counters are brought up to date, nothing fires, slots come back. */
void records_drain_silently(quern_trainer *t);
/* The same in a destroy: what failed since the last call goes to the log. */
void records_drain_last(quern_trainer *t);
/* The log event for what came since the last one. */
QUERN_MUST_CHECK quern_status records_log(quern_trainer *t);
/* So many attempts in a row that are not finite are skipped by the device; one more freezes it. */
int64_t trainer_not_finite_limit(const quern_trainer *t);
QUERN_MUST_CHECK quern_status trainer_wait_stream(quern_trainer *t);

#endif
