/* history.h - what the line-writing callbacks share: a file, a line that is long enough, and how a
 * resumed run goes on with the file.
 *
 * What a checkpoint keeps is the file's length when it was taken. A run that resumes cuts the file
 * back to it, so that no line comes twice; one that begins anew empties the file, unless it is to
 * be appended to. Nothing is cut before it is known which of the two it is, and that
 * no callback refuses the checkpoint: when the first fit begins. */
#ifndef QUERN_TRAIN_CALLBACKS_HISTORY_H
#define QUERN_TRAIN_CALLBACKS_HISTORY_H

#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

typedef struct history history;

/* What one way of writing lines adds. */
typedef struct history_kind {
    const char *name;                                              /* the callback's */
    quern_status (*prepare)(history *h, const quern_event *event); /* at init; NULL: nothing */
    quern_status (*head)(history *h);                              /* of a file that begins */
    quern_status (*write)(history *h, const quern_event *event);   /* one event */
} history_kind;

/* The first member of a callback's own object. */
struct history {
    const history_kind *kind;
    const quern_host *host;
    char *path;
    int64_t path_bytes;
    file_writer writer;
    bool append, resumed;
    bool begun;     /* the file is as long as `length` says */
    int64_t length; /* of the file; before it has begun: of what will stay */
    char *line;
    int64_t line_bytes;
};

/* Opens the file. IO names path and cause. After a failure nothing is held. */
QUERN_MUST_CHECK quern_status history_open(history *out, const history_kind *kind,
                                           quern_device *device, const quern_history_desc *desc,
                                           const char *what);
void history_close(history *h);
text history_line(history *h);
/* Writes the line and a newline. */
QUERN_MUST_CHECK quern_status history_write(history *h, text *line);
quern_callback history_callback(history *h);

#endif
