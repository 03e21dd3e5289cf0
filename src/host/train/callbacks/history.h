/* history.h - what the line-writing callbacks share: a file, a line that is long enough, and how a
 * resumed run goes on with the file.
 *
 * What a checkpoint keeps is the file's length when it was taken. A run that resumes cuts the file
 * back to it, so that no line comes twice; one that begins anew empties the file, unless it is to
 * be appended to. Nothing is cut before it is known which of the two it is. */
#ifndef QUERN_TRAIN_CALLBACKS_HISTORY_H
#define QUERN_TRAIN_CALLBACKS_HISTORY_H

#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

typedef struct history {
    const quern_host *host;
    char *path;
    int64_t path_bytes;
    file_writer writer;
    bool append, begun; /* begun: the file is as long as `length` says */
    int64_t length;     /* of the file; before it has begun: of what will stay */
    char *line;
    int64_t line_bytes;
} history;

/* Opens the file. IO names path and cause. After a failure nothing is held. */
QUERN_MUST_CHECK quern_status history_open(history *out, quern_device *device,
                                           const quern_history_desc *desc, const char *what);
void history_close(history *h);

/* init: room for a line that names every scalar of `event` twice. Only this allocates. */
QUERN_MUST_CHECK quern_status history_reserve(history *h, const quern_event *event);
/* load_end: the length is the checkpoint's, and becomes the file's. */
QUERN_MUST_CHECK quern_status history_resume(history *h);
/* Before the first line of a run that did not resume; does nothing once the file has begun. */
QUERN_MUST_CHECK quern_status history_begin(history *h);
text history_line(history *h);
/* Writes the line and a newline. */
QUERN_MUST_CHECK quern_status history_write(history *h, text *line);
/* What the callback returns. */
quern_action history_answer(const quern_event *event, quern_status status);
quern_callback_state history_state(history *h);

#endif
