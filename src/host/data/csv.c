/* csv.c - a table of numbers as a dataset: one row a sample, held in memory as F32.
 *
 * Two passes over the text: the first finds the header, counts rows, and refuses a row with more
 * or fewer cells than the first; the second reads the numbers. A cell takes at least one byte, so
 * the memory asked for is bounded by the file's length. Source of the grammar: RFC 4180; a UTF-8
 * mark and spaces around a cell are accepted too. */
#include "dataset.h"

#include "../base/file.h"
#include "../base/memory.h"
#include "../base/report.h"
#include "../device/device.h"
#include "csv_text.h"

#include <inttypes.h>
#include <locale.h>
#include <string.h>

#define CSV_FILE_LIMIT ((size_t)1 << 35) /* 32 GiB: more is not held in memory */

typedef struct csv_table {
    const char *path;
    uint8_t *content;
    size_t bytes;
    bool has_header;
    int64_t rows, columns; /* rows of numbers */
    int64_t chosen;        /* the label or target column; -1: none */
    bool is_class;
} csv_table;

/* One row: its cells counted, and whether one of them is text (neither number nor empty). */
static quern_status scan_row(csv_cursor *c, int64_t *cells, bool *has_text) {
    csv_cell cell;
    *cells = 0;
    *has_text = false;
    do {
        QUERN_TRY(csv_next(c, &cell));
        ++*cells;
        if (cell.length > 0 && !csv_is_number(&cell)) *has_text = true;
    } while (!c->row_ended);
    return QUERN_OK;
}

static quern_status scan(csv_table *t) {
    csv_cursor c = csv_begin(t->path, t->content, t->bytes);
    if (csv_at_end(&c)) return quern_fail(QUERN_INPUT, "%s: the file is empty", t->path);
    QUERN_TRY(scan_row(&c, &t->columns, &t->has_header));
    t->rows = t->has_header ? 0 : 1;
    while (!csv_at_end(&c)) {
        int64_t cells;
        bool has_text;
        QUERN_TRY(scan_row(&c, &cells, &has_text));
        if (cells != t->columns)
            return quern_fail(QUERN_INPUT,
                              "%s: row %" PRId64 ": expected %" PRId64 " columns as in "
                              "row 1, found %" PRId64,
                              t->path, c.row, t->columns, cells);
        t->rows++;
    }
    if (t->rows == 0) return quern_fail(QUERN_INPUT, "%s: no samples behind the header", t->path);
    return QUERN_OK;
}

/* The column that the header gives this name, or -1. */
static quern_status find_in_header(const csv_table *t, const char *name, int64_t *out) {
    csv_cursor c = csv_begin(t->path, t->content, t->bytes);
    csv_cell cell;
    *out = -1;
    for (int64_t i = 0; i < t->columns && t->has_header; i++) {
        QUERN_TRY(csv_next(&c, &cell));
        if (strcmp(cell.text, name) != 0) continue;
        if (*out >= 0)
            return quern_fail(QUERN_INPUT,
                              "%s: columns %" PRId64 " and %" PRId64 " are both named "
                              "'%s'",
                              t->path, *out, i, name);
        *out = i;
    }
    return QUERN_OK;
}

/* A name of the header first, else a number from 0. */
static quern_status find_column(const csv_table *t, const char *name, int64_t *out) {
    QUERN_TRY(find_in_header(t, name, out));
    if (*out >= 0) return QUERN_OK;
    const size_t length = strlen(name);
    int64_t number = 0;
    if (length > 0 && length < 10 && strspn(name, "0123456789") == length) {
        for (size_t i = 0; i < length; i++) number = number * 10 + (name[i] - '0');
        if (number < t->columns) {
            *out = number;
            return QUERN_OK;
        }
    }
    return quern_fail(QUERN_INPUT, "%s: no column '%.60s' among %" PRId64 " columns %s", t->path,
                      name, t->columns, t->has_header ? "with a header" : "without a header");
}

/* Fills x (rows, columns - 1) and the chosen column. */
static quern_status read_numbers(const csv_table *t, float *x, void *chosen) {
    csv_cursor c = csv_begin(t->path, t->content, t->bytes);
    csv_cell cell;
    for (int64_t i = 0; i < t->columns && t->has_header; i++) QUERN_TRY(csv_next(&c, &cell));
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t column = 0; column < t->columns; column++) {
            QUERN_TRY(csv_next(&c, &cell));
            if (column != t->chosen)
                QUERN_TRY(csv_float(&c, &cell, x++));
            else if (t->is_class)
                QUERN_TRY(csv_class(&c, &cell, (int32_t *)chosen + row));
            else
                QUERN_TRY(csv_float(&c, &cell, (float *)chosen + row));
        }
    return QUERN_OK;
}

/* Numbers have a point, whatever this thread's locale says: it is changed and put back. */
static quern_status read_numbers_in_c_locale(const csv_table *t, float *x, void *chosen) {
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) return quern_fail(QUERN_HOST_MEMORY, "no memory for the \"C\" locale");
    const locale_t before = uselocale(c);
    const quern_status status = read_numbers(t, x, chosen);
    uselocale(before);
    freelocale(c);
    return status;
}

static quern_status set_class_count(const csv_table *t, int64_t class_count, quern_field *field,
                                    const int32_t *labels) {
    for (int64_t i = 0; i < t->rows && class_count == 0; i++)
        if (labels[i] >= field->class_count) field->class_count = (int64_t)labels[i] + 1;
    if (class_count > 0) field->class_count = class_count;
    if (field->class_count > INT32_MAX)
        return quern_fail(QUERN_INPUT, "%s: a label is 2^31 - 1, expected fewer classes", t->path);
    return field_check_values(t->path, field, labels, 0, t->rows);
}

/* Allocates both columns' memory into `held` and fills it. */
static quern_status read_fields(const quern_host *host, const csv_table *t, int64_t class_count,
                                dataset_held *held) {
    const int64_t x_columns = t->columns - (t->chosen >= 0 ? 1 : 0), x_count = t->rows * x_columns;
    if (x_columns == 0)
        return quern_fail(QUERN_INPUT,
                          "%s: the only column is the label or target, none is left for "
                          "'x'",
                          t->path);
    float *x;
    int32_t *chosen = NULL; /* or floats: the same size */
    QUERN_TRY(memory_allocate(host, &x, x_count, sizeof *x, "CSV columns"));
    held->blocks[0] = (dataset_block){.pointer = x, .bytes = (size_t)x_count * sizeof *x};
    held->data[0] = x;
    held->fields[0] = (quern_field){.name = "x", .dtype = QUERN_F32, .rank = 1, .dim = {x_columns}};
    held->length = t->rows;
    held->field_count = t->chosen >= 0 ? 2 : 1;
    if (t->chosen >= 0) {
        QUERN_TRY(memory_allocate(host, &chosen, t->rows, sizeof *chosen, "CSV column"));
        held->blocks[1] =
            (dataset_block){.pointer = chosen, .bytes = (size_t)t->rows * sizeof *chosen};
        held->data[1] = chosen;
        held->fields[1] = (quern_field){.name = t->is_class ? "label" : "target",
                                        .dtype = t->is_class ? QUERN_I32 : QUERN_F32};
    }
    QUERN_TRY(read_numbers_in_c_locale(t, x, chosen));
    return t->is_class ? set_class_count(t, class_count, &held->fields[1], chosen) : QUERN_OK;
}

static quern_status read_table(const quern_host *host, csv_table *t, const quern_csv_desc *desc,
                               dataset_held *held) {
    QUERN_TRY(file_read_all(host, t->path, CSV_FILE_LIMIT, &t->content, &t->bytes));
    QUERN_TRY(scan(t));
    const char *chosen = desc->label_column != NULL ? desc->label_column : desc->target_column;
    t->is_class = desc->label_column != NULL;
    t->chosen = -1;
    if (chosen != NULL) QUERN_TRY(find_column(t, chosen, &t->chosen));
    return read_fields(host, t, desc->class_count, held);
}

quern_status quern_dataset_csv(quern_dataset **out, quern_device *device,
                               const quern_csv_desc *desc) {
    if (out == NULL) return quern_fail(QUERN_INVALID, "quern_dataset_csv: out is NULL");
    *out = NULL;
    if (device == NULL || desc == NULL || desc->path == NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_csv: device or path is NULL");
    if (desc->label_column != NULL && desc->target_column != NULL)
        return quern_fail(QUERN_INVALID, "quern_dataset_csv: label_column and target_column are "
                                         "both set");
    if (desc->class_count < 0 || desc->class_count > INT32_MAX ||
        (desc->class_count > 0 && desc->label_column == NULL))
        return quern_fail(QUERN_INVALID, "quern_dataset_csv: class_count %" PRId64 " %s",
                          desc->class_count,
                          desc->label_column == NULL ? "without label_column" : "");
    csv_table t = {.path = desc->path};
    dataset_held held = {.format = "csv"};
    quern_status status = read_table(&device->host, &t, desc, &held);
    if (status == QUERN_OK) status = dataset_create_held(out, device, &held);
    memory_release(&device->host, t.content, (int64_t)t.bytes, 1);
    if (status != QUERN_OK) dataset_release_blocks(&device->host, held.blocks, QUERN_FIELD_MAX);
    return status;
}
