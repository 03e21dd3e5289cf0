/* writer.h - checkpoints written by a thread of their own while training goes on.
 *
 * Life of a save, all calls from the training thread:
 *
 *     while (checkpoint_writer_poll(w, &outcome)) …       durable, or failed and why
 *     checkpoint_writer_reserve(w, &snapshot)             a free slot; waits while all are busy
 *     … copy the live state to snapshot->model[i].data and ->state[i].data …
 *     checkpoint_writer_submit(w, snapshot)               training may go on
 *
 * The snapshot memory, the buffers and the thread are there from create on: none of these calls
 * allocates. Destroy at any time: what was submitted is written first, what was only reserved is
 * dropped. */
#ifndef QUERN_CHECKPOINT_WRITER_H
#define QUERN_CHECKPOINT_WRITER_H

#include "store.h"
#include "../../base/report.h"

#define CHECKPOINT_SLOT_MAX 2

typedef struct checkpoint_writer checkpoint_writer;

/* To be filled: everything is as in `largest`, and *_data[i] is the memory behind model[i],
 * state[i] and callbacks[i]. Before submitting, the caller sets the counters and the metric, and
 * may lower content.state_count, content.callback_count, and the dims and bytes of state tensors
 * and callbacks. */
typedef struct checkpoint_snapshot {
    checkpoint_content content; /* its lists are the ones below */
    quern_safetensors_entry *model, *state;
    checkpoint_callback *callbacks;
    void **model_data, **state_data, **callback_data;
} checkpoint_snapshot;

typedef struct checkpoint_writer_desc {
    checkpoint_store_desc store;
    int32_t
        slot_count; /* 1: a save waits for the one before; 2: it does not, for twice the memory */
    void *blocks[CHECKPOINT_SLOT_MAX]; /* the tensors' memory, checkpoint_snapshot_bytes each, 64
                                          bytes aligned, pinned for instance; NULL: the host's */
} checkpoint_writer_desc;

QUERN_MUST_CHECK quern_status checkpoint_snapshot_bytes(const checkpoint_content *largest,
                                                        size_t *out);

/* What checkpoint_store_create says; HOST_MEMORY when there is no thread to be had. Every string
 * and list of `largest` is copied. */
QUERN_MUST_CHECK quern_status checkpoint_writer_create(checkpoint_writer **out,
                                                       const checkpoint_writer_desc *desc);
void checkpoint_writer_destroy(checkpoint_writer *writer);

/* *out is NULL with QUERN_OK when an outcome has to be polled before a slot is free. */
void checkpoint_writer_reserve(checkpoint_writer *writer, checkpoint_snapshot **out);
void checkpoint_writer_submit(checkpoint_writer *writer, checkpoint_snapshot *snapshot);
/* Gives a slot back unwritten. */
void checkpoint_writer_drop(checkpoint_writer *writer, checkpoint_snapshot *snapshot);

typedef struct checkpoint_outcome {
    int64_t step;
    quern_status status; /* QUERN_OK: durable */
    error_text reason;   /* the sentence when it failed */
    int64_t write_ns;
    const char *path; /* the checkpoint's, also of one that failed; valid until the next reserve */
} checkpoint_outcome;

/* The oldest outcome that was not polled yet; false: there is none. */
bool checkpoint_writer_poll(checkpoint_writer *writer, checkpoint_outcome *out);
/* Until nothing submitted is unwritten. */
void checkpoint_writer_wait(checkpoint_writer *writer);
/* Waits likewise; then checkpoint_store_admit: only texts may be longer than in `largest`. */
QUERN_MUST_CHECK quern_status checkpoint_writer_admit(checkpoint_writer *writer,
                                                      const checkpoint_content *content);

#endif
