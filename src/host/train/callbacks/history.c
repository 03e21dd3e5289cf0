/* history.c - the file behind the JSONL and CSV histories. Each line is one raw write, so that what
 * has been logged is there when the process dies, and a full disk is noticed at once. */
#include "history.h"

#include <string.h>

static quern_status path_copy(history *h, const char *path) {
    h->path_bytes = (int64_t)strlen(path) + 1;
    QUERN_TRY(memory_allocate(h->host, &h->path, h->path_bytes, 1, "a path"));
    memcpy(h->path, path, (size_t)h->path_bytes);
    return QUERN_OK;
}

quern_status history_open(history *out, quern_device *device, const quern_history_desc *desc,
                          const char *what) {
    *out = (history){.host = &device->host};
    if (!desc || !desc->path || !desc->path[0])
        return quern_fail(QUERN_INVALID, "%s: path is missing", what);
    QUERN_TRY(path_copy(out, desc->path));
    const quern_status status = file_writer_open(
        &out->writer, out->host, out->path, desc->append ? QUERN_FILE_APPEND : QUERN_FILE_CREATE);
    if (status == QUERN_OK) return QUERN_OK;
    memory_release(out->host, out->path, out->path_bytes, 1);
    *out = (history){0};
    return status;
}

void history_close(history *h) {
    /* every write has been checked; there is nobody left to tell */
    const quern_status closed = file_writer_close(&h->writer);
    (void)closed;
    memory_release(h->host, h->line, h->line_bytes, 1);
    memory_release(h->host, h->path, h->path_bytes, 1);
}

quern_status history_reserve(history *h, const quern_event *event) {
    int64_t needed = 1024;
    for (int32_t i = 0; i < event->scalar_count; i++)
        needed += 2 * (6 * (int64_t)strlen(event->scalars[i].name) + 40);
    return memory_grow(h->host, &h->line, &h->line_bytes, 0, needed, 1, "a line of history");
}

text history_line(history *h) { return text_over(h->line, (size_t)h->line_bytes); }

quern_action history_write(history *h, const quern_event *event, text *line) {
    text_add(line, "\n");
    if (line->overflow)
        return quern_event_fail(
            event, quern_fail(QUERN_INTERNAL, "a line for %s is longer than planned", h->path));
    const quern_status status = file_writer_write(&h->writer, line->data, line->length);
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}
