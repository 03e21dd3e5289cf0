/* csv_history.c - a table: event, step, epoch, seconds, then a column per scalar that the trainer
 * named at init. A cell without a value in that event is empty; NaN is written nan. */
#include "history.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct quern_csv_history {
    history history;
    const char **columns;
    int64_t column_count;
};

/* RFC 4180: a name with a comma, a quote or a line break is quoted. */
static void add_name(text *line, const char *name) {
    if (!strpbrk(name, ",\"\r\n")) {
        text_add(line, ",%s", name);
        return;
    }
    text_add(line, ",\"");
    for (; *name; name++) text_add(line, *name == '"' ? "\"\"" : "%c", *name);
    text_add(line, "\"");
}

static quern_status columns_keep(history *h, const quern_event *event) {
    quern_csv_history *csv = (quern_csv_history *)h;
    int64_t capacity = csv->column_count;
    QUERN_TRY(memory_grow(csv->history.host, &csv->columns, &capacity, 0, event->scalar_count,
                          sizeof *csv->columns, "columns"));
    csv->column_count = capacity;
    for (int64_t i = 0; i < capacity; i++)
        csv->columns[i] = i < event->scalar_count ? event->scalars[i].name : NULL;
    return QUERN_OK;
}

/* A table that was there already has its header. */
static quern_status head_write(history *h) {
    const quern_csv_history *csv = (quern_csv_history *)h;
    if (h->length > 0) return QUERN_OK;
    text line = history_line(h);
    text_add(&line, "event,step,epoch,seconds");
    for (int64_t i = 0; i < csv->column_count && csv->columns[i]; i++)
        add_name(&line, csv->columns[i]);
    return history_write(h, &line);
}

static const quern_scalar *scalar_find(const quern_event *event, const char *name) {
    for (int32_t i = 0; i < event->scalar_count; i++)
        if (strcmp(event->scalars[i].name, name) == 0) return &event->scalars[i];
    return NULL;
}

static void add_number(text *line, double value) {
    if (isfinite(value))
        text_add_json_number(line, value);
    else
        text_add(line, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

static quern_status row_write(history *h, const quern_event *event) {
    const quern_csv_history *csv = (quern_csv_history *)h;
    text line = history_line(h);
    text_add(&line, "%s,%" PRId64 ",%" PRId64 ",", quern_event_name(event->kind), event->step,
             event->epoch);
    add_number(&line, event->seconds);
    for (int64_t i = 0; i < csv->column_count && csv->columns[i]; i++) {
        const quern_scalar *scalar = scalar_find(event, csv->columns[i]);
        text_add(&line, ",");
        if (scalar) add_number(&line, scalar->value);
    }
    return history_write(h, &line);
}

static const history_kind kind = {
    .name = "csv_history", .prepare = columns_keep, .head = head_write, .write = row_write};

quern_status quern_csv_history_create(quern_csv_history **out, quern_device *device,
                                      const quern_history_desc *desc) {
    quern_csv_history *csv = NULL;
    *out = NULL;
    if (!desc) return quern_fail(QUERN_INVALID, "CSV history: desc is missing");
    if (desc->header) return quern_fail(QUERN_INVALID, "CSV history does not read header");
    QUERN_TRY(memory_allocate(&device->host, &csv, 1, sizeof *csv, "CSV history"));
    const quern_status status = history_open(&csv->history, &kind, device, desc, "CSV history");
    if (status != QUERN_OK) {
        memory_release(&device->host, csv, 1, sizeof *csv);
        return status;
    }
    *out = csv;
    return QUERN_OK;
}

quern_callback quern_csv_history_callback(quern_csv_history *csv) {
    return history_callback(&csv->history);
}

void quern_csv_history_destroy(quern_csv_history *csv) {
    if (!csv) return;
    const quern_host *host = csv->history.host;
    memory_release(host, csv->columns, csv->column_count, sizeof *csv->columns);
    history_close(&csv->history);
    memory_release(host, csv, 1, sizeof *csv);
}
