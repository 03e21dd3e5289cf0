/* save.h - what of saving and resuming the rest of the trainer sees.
 *
 *   state.c                the state as one table of named tensors, read by all the others
 *   algorithms.c           which algorithms its plans use: from a checkpoint, and into the next
 *   configuration_text.c   the resolved desc as one JSON object
 *   data_digest.c          which samples it is trained on
 *   model_digest.c         which model, whatever its nodes are called
 *   save.c                 snapshots, the writer behind them, their outcomes and events
 *   resume.c               a checkpoint becomes the state of a new trainer
 *   rollback.c             a checkpoint's weights come back after a failure (ROLLBACK) */
#ifndef QUERN_TRAIN_SAVE_H
#define QUERN_TRAIN_SAVE_H

#include <quern/checkpoint.h>
#include <quern/train.h>

typedef struct trainer_save trainer_save; /* state.h */

/* save.c: defaults and checks; then, once the trainer stands, snapshots and writer, and resume. */
QUERN_MUST_CHECK quern_status save_resolve(quern_trainer_desc *desc);
QUERN_MUST_CHECK quern_status save_create(quern_trainer *t);
void save_release(quern_trainer *t);
/* Tells of what became durable, or failed, without waiting. */
QUERN_MUST_CHECK quern_status save_poll(quern_trainer *t);
/* Takes a snapshot with its events; the writer goes on from there. No attempt is in flight. */
QUERN_MUST_CHECK quern_status save_run(quern_trainer *t);
/* The run ends: what is not saved yet is, unless it is to end at once; IO when the last state could
 * not be. */
QUERN_MUST_CHECK quern_status save_finish(quern_trainer *t);
/* Until nothing is left to be written, with the events of that. A second signal makes the writer
 * give up what is not durable behind the file operation under way, which nothing can cut short. */
QUERN_MUST_CHECK quern_status save_wait(quern_trainer *t);
/* The run has failed: waits for what was handed to the writer, saves nothing. */
void save_settle(quern_trainer *t);
/* What may have changed the state so far: events, and what was written into the parameters. */
int64_t save_activity(const quern_trainer *t);
/* The checkpoint that holds the state as it is now; NULL: none does. */
const char *save_path(const quern_trainer *t);

/* algorithms.c: before anything is planned: finds the checkpoint that is resumed, whose record the
 * plans follow. */
QUERN_MUST_CHECK quern_status algorithms_create(quern_trainer *t);
void algorithms_release(quern_trainer *t);
/* What is saved from now on says what has been planned by now. */
QUERN_MUST_CHECK quern_status algorithms_note(quern_trainer *t);

/* rollback.c: whether what is not finite lets the run go back, not end. */
bool rollback_wanted(const quern_trainer *t);
QUERN_MUST_CHECK quern_status rollback_check(const quern_trainer *t);
/* There has to be something to go back to. */
QUERN_MUST_CHECK quern_status rollback_prepare(quern_trainer *t);
/* With the failure's sentence, nothing in flight: goes back, or fails as the attempt did. */
QUERN_MUST_CHECK quern_status rollback_run(quern_trainer *t);

#endif
