/* jsonl.c - one JSON object a line:
 * {"event":"log","step":50,"attempts":50,"epoch":0,"seconds":1.2,"samples_per_second":9e3,
 *  "train/loss":0.7,…}. Not-finite values are null and named in "nonfinite". */
#include "history.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct quern_jsonl {
    history history;
};

quern_status quern_jsonl_create(quern_jsonl **out, quern_device *device,
                                const quern_history_desc *desc) {
    quern_jsonl *j = NULL;
    *out = NULL;
    QUERN_TRY(memory_allocate(&device->host, &j, 1, sizeof *j, "JSONL history"));
    quern_status status = history_open(&j->history, device, desc, "JSONL history");
    if (status == QUERN_OK && desc->header) {
        status = file_writer_write(&j->history.writer, desc->header, strlen(desc->header));
        if (status == QUERN_OK) status = file_writer_write(&j->history.writer, "\n", 1);
        if (status != QUERN_OK) history_close(&j->history);
    }
    if (status == QUERN_OK)
        *out = j;
    else
        memory_release(&device->host, j, 1, sizeof *j);
    return status;
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

static quern_action write_line(void *self, const quern_event *event) {
    history *h = &((quern_jsonl *)self)->history;
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
    return history_write(h, event, &line);
}

static quern_action reserve(void *self, const quern_event *event) {
    const quern_status status = history_reserve(&((quern_jsonl *)self)->history, event);
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

quern_callback quern_jsonl_callback(quern_jsonl *jsonl) {
    return (quern_callback){.name = "jsonl",
                            .band = QUERN_BAND_LOGGER,
                            .self = jsonl,
                            .init = reserve,
                            .log = write_line,
                            .eval_end = write_line,
                            .epoch_end = write_line};
}

void quern_jsonl_destroy(quern_jsonl *jsonl) {
    if (!jsonl) return;
    const quern_host *host = jsonl->history.host;
    history_close(&jsonl->history);
    memory_release(host, jsonl, 1, sizeof *jsonl);
}
