/* history.c - the file behind the JSONL and CSV histories. Each line is one raw write, so that what
 * has been logged is there when the process dies, and a full disk is noticed at once. */
#include "history.h"

#include <inttypes.h>
#include <string.h>

static quern_status path_copy(history *h, const char *path) {
    h->path_bytes = (int64_t)strlen(path) + 1;
    QUERN_TRY(memory_allocate(h->host, &h->path, h->path_bytes, 1, "a path"));
    memcpy(h->path, path, (size_t)h->path_bytes);
    return QUERN_OK;
}

quern_status history_open(history *out, const history_kind *kind, quern_device *device,
                          const quern_history_desc *desc, const char *what) {
    *out = (history){.kind = kind, .host = &device->host};
    if (!desc || !desc->path || !desc->path[0])
        return quern_fail(QUERN_INVALID, "%s: path is missing", what);
    QUERN_TRY(path_copy(out, desc->path));
    out->append = desc->append;
    const quern_status status =
        file_writer_open(&out->writer, out->host, out->path, QUERN_FILE_APPEND);
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

/* 0 for what has no size, a pipe or a terminal. */
static quern_status size_of(const history *h, int64_t *out) {
    quern_file_info info = {0};
    const int64_t failure = file_info(h->host, h->path, &info);
    *out = info.byte_count;
    return failure >= 0 ? QUERN_OK : file_fail(QUERN_IO, "asking the size of", h->path, failure);
}

/* Cuts the file back to the length that is to stay. */
static quern_status cut(history *h) {
    int64_t size = 0;
    QUERN_TRY(size_of(h, &size));
    if (size > h->length) QUERN_TRY(file_writer_truncate(&h->writer, h->length));
    if (size < h->length)
        log_write(h->host, QUERN_LOG_WARNING,
                  "%s has %" PRId64 " bytes, not the %" PRId64
                  " of the checkpoint: lines are missing in between",
                  h->path, size, h->length);
    if (size < h->length) h->length = size;
    h->begun = true;
    return QUERN_OK;
}

static quern_status resume(history *h) {
    h->resumed = true;
    if (h->length >= 0) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "%s: a length of %" PRId64 " bytes in the checkpoint", h->path,
                      h->length);
}

/* With the first event behind create. */
static quern_status begin(history *h) {
    if (h->begun) return QUERN_OK;
    QUERN_TRY(cut(h));
    return h->resumed && h->length > 0 ? QUERN_OK : h->kind->head(h);
}

/* The longest line. */
static quern_status reserve(history *h, const quern_event *event) {
    int64_t needed = 1024;
    for (int32_t i = 0; i < event->scalar_count; i++)
        needed += 2 * (6 * (int64_t)strlen(event->scalars[i].name) + 40);
    if (h->append && !h->begun) QUERN_TRY(size_of(h, &h->length));
    QUERN_TRY(memory_grow(h->host, &h->line, &h->line_bytes, 0, needed, 1, "a line of history"));
    return h->kind->prepare ? h->kind->prepare(h, event) : QUERN_OK;
}

text history_line(history *h) { return text_over(h->line, (size_t)h->line_bytes); }

quern_status history_write(history *h, text *line) {
    text_add(line, "\n");
    if (line->overflow)
        return quern_fail(QUERN_INTERNAL, "a line for %s is longer than planned", h->path);
    QUERN_TRY(file_writer_write(&h->writer, line->data, line->length));
    h->length += (int64_t)line->length;
    return QUERN_OK;
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action on_init(void *self, const quern_event *event) {
    return answer(event, reserve(self, event));
}

static quern_action on_load_end(void *self, const quern_event *event) {
    return answer(event, resume(self));
}

static quern_action on_fit_begin(void *self, const quern_event *event) {
    return answer(event, begin(self));
}

static quern_action on_event(void *self, const quern_event *event) {
    history *h = self;
    quern_status status = begin(h);
    if (status == QUERN_OK) status = h->kind->write(h, event);
    return answer(event, status);
}

static quern_callback_state state_of(void *self) {
    history *h = self;
    return (quern_callback_state){.data = &h->length, .bytes = sizeof h->length};
}

quern_callback history_callback(history *h) {
    return (quern_callback){.name = h->kind->name,
                            .band = QUERN_BAND_LOGGER,
                            .self = h,
                            .state = state_of,
                            .init = on_init,
                            .load_end = on_load_end,
                            .fit_begin = on_fit_begin,
                            .log = on_event,
                            .eval_end = on_event,
                            .epoch_end = on_event};
}
