/* jsonl.c - one JSON object a line:
 * {"event":"log","step":50,"attempts":50,"epoch":0,"seconds":1.2,"samples_per_second":9e3,
 *  "train/loss":0.7,…}. Not-finite values are null and named in "nonfinite". */
#include "history.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct quern_jsonl {
    history history;
    char *header; /* NULL: none */
    int64_t header_bytes;
};

static quern_status header_keep(quern_jsonl *j, const char *header) {
    if (!header) return QUERN_OK;
    j->header_bytes = (int64_t)strlen(header) + 1;
    QUERN_TRY(memory_allocate(j->history.host, &j->header, j->header_bytes, 1, "a header"));
    memcpy(j->header, header, (size_t)j->header_bytes);
    j->header[j->header_bytes - 1] = '\n'; /* its length is known */
    return QUERN_OK;
}

static quern_status head_write(history *h) {
    const quern_jsonl *j = (quern_jsonl *)h;
    if (!j->header) return QUERN_OK;
    QUERN_TRY(file_writer_write(&h->writer, j->header, (size_t)j->header_bytes));
    h->length += j->header_bytes;
    return QUERN_OK;
}

static void add_nonfinite(text *line, const quern_event *event) {
    bool any = false;
    for (int32_t i = 0; i < event->scalar_count; i++) {
        if (isfinite(event->scalars[i].value)) continue;
        text_add(line, any ? "," : ",\"nonfinite\":[");
        text_add_json_string(line, event->scalars[i].name);
        any = true;
    }
    if (any) text_add(line, "]");
}

static quern_status event_write(history *h, const quern_event *event) {
    text line = history_line(h);
    text_add(&line,
             "{\"event\":\"%s\",\"step\":%" PRId64 ",\"attempts\":%" PRId64 ",\"epoch\":%" PRId64
             ",\"seconds\":",
             quern_event_name(event->kind), event->step, event->attempts, event->epoch);
    text_add_json_number(&line, event->seconds);
    if (event->kind != QUERN_EVENT_eval_end) {
        text_add(&line, ",\"samples_per_second\":");
        text_add_json_number(&line, event->samples_per_second);
    }
    for (int32_t i = 0; i < event->scalar_count; i++) {
        text_add(&line, ",");
        text_add_json_string(&line, event->scalars[i].name);
        text_add(&line, ":");
        text_add_json_number(&line, event->scalars[i].value);
    }
    add_nonfinite(&line, event);
    text_add(&line, "}");
    return history_write(h, &line);
}

static const history_kind kind = {.name = "jsonl", .head = head_write, .write = event_write};

quern_status quern_jsonl_create(quern_jsonl **out, quern_device *device,
                                const quern_history_desc *desc) {
    quern_jsonl *j = NULL;
    *out = NULL;
    QUERN_TRY(memory_allocate(&device->host, &j, 1, sizeof *j, "JSONL history"));
    quern_status status = history_open(&j->history, &kind, device, desc, "JSONL history");
    if (status == QUERN_OK) {
        status = header_keep(j, desc->header);
        if (status != QUERN_OK) history_close(&j->history);
    }
    if (status == QUERN_OK)
        *out = j;
    else
        memory_release(&device->host, j, 1, sizeof *j);
    return status;
}

quern_callback quern_jsonl_callback(quern_jsonl *jsonl) {
    return history_callback(&jsonl->history);
}

void quern_jsonl_destroy(quern_jsonl *jsonl) {
    if (!jsonl) return;
    const quern_host *host = jsonl->history.host;
    memory_release(host, jsonl->header, jsonl->header_bytes, 1);
    history_close(&jsonl->history);
    memory_release(host, jsonl, 1, sizeof *jsonl);
}
