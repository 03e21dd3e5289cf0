/* history.h - what the line-writing callbacks share: a file and a line that is long enough. */
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
    char *line;
    int64_t line_bytes;
} history;

/* Opens the file. IO names path and cause. After a failure nothing is held. */
QUERN_MUST_CHECK quern_status history_open(history *out, quern_device *device,
                                           const quern_history_desc *desc, const char *what);
void history_close(history *h);

/* Room for a line that names every scalar of `event` twice. Only init allocates. */
QUERN_MUST_CHECK quern_status history_reserve(history *h, const quern_event *event);
text history_line(history *h);
/* Writes the line and a newline; what the callback returns. */
quern_action history_write(history *h, const quern_event *event, text *line);

#endif
