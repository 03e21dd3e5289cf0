/* callbacks.h - the callbacks that ship; each uses only what event.h offers to everybody.
 * create returns an object; quern_x_callback() the struct that goes into .callbacks; destroy after
 * the trainer. Writers use the device's file operations and fail with IO, naming path and cause. */
#ifndef QUERN_CALLBACKS_H
#define QUERN_CALLBACKS_H

#include <quern/device.h>
#include <quern/event.h>

QUERN_BEGIN_C

/* Progress through `write` (text, bytes), which goes to a terminal or a file that the application
 * chooses: with `terminal` one bar, redrawn at most every 50 ms, with ETA and throughput; else a
 * plain line per log and per epoch. */
typedef struct quern_progress quern_progress;
typedef struct quern_progress_desc {
    void (*write)(void *self, const char *text, size_t bytes); /* required */
    void *self;
    bool terminal, color;
    int32_t width; /* columns; default 80 */
} quern_progress_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_progress_create(quern_progress **out,
                                                              quern_device *device,
                                                              const quern_progress_desc *desc);
QUERN_API quern_callback quern_progress_callback(quern_progress *progress);
QUERN_API void quern_progress_destroy(quern_progress *progress);

/* One JSON object a line, for every log, eval_end and epoch_end, NaN written as null with a
 * "nonfinite" list naming it; the first line is `header` if given (already JSON). */
typedef struct quern_jsonl quern_jsonl;
typedef struct quern_history_desc {
    const char *path;
    const char *header; /* JSONL only */
    bool append;
} quern_history_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_jsonl_create(quern_jsonl **out, quern_device *device,
                                                           const quern_history_desc *desc);
QUERN_API quern_callback quern_jsonl_callback(quern_jsonl *jsonl);
QUERN_API void quern_jsonl_destroy(quern_jsonl *jsonl);

/* A row per log, eval_end and epoch_end: event, step, epoch, seconds, then the scalars; columns
 * are fixed by the trainer at init. */
typedef struct quern_csv_history quern_csv_history;
QUERN_API QUERN_MUST_CHECK quern_status quern_csv_history_create(quern_csv_history **out,
                                                                 quern_device *device,
                                                                 const quern_history_desc *desc);
QUERN_API quern_callback quern_csv_history_callback(quern_csv_history *history);
QUERN_API void quern_csv_history_destroy(quern_csv_history *history);

/* Records (event, step, attempts, epoch, batch) of every event, in order, up to `capacity`. */
typedef struct quern_tape quern_tape;
typedef struct quern_tape_entry {
    quern_event_kind kind;
    int64_t step, attempts, epoch, batch;
} quern_tape_entry;
QUERN_API QUERN_MUST_CHECK quern_status quern_tape_create(quern_tape **out, quern_device *device,
                                                          int64_t capacity, bool inside_step);
QUERN_API quern_callback quern_tape_callback(quern_tape *tape);
QUERN_API int64_t quern_tape_entries(const quern_tape *tape, const quern_tape_entry **out);
QUERN_API void quern_tape_destroy(quern_tape *tape);

QUERN_END_C
#endif
