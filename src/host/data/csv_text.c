#include "csv_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

csv_cursor csv_begin(const char *path, const uint8_t *data, size_t bytes) {
    const bool mark = bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0; /* UTF-8's */
    return (csv_cursor){.path = path,
                        .data = data,
                        .bytes = bytes,
                        .at = mark ? 3 : 0,
                        .column = -1,
                        .row_ended = true};
}

bool csv_at_end(const csv_cursor *c) { return c->at >= c->bytes && c->row_ended; }

static quern_status cell_failure(const csv_cursor *c, const csv_cell *cell, const char *expected) {
    char shown[41];
    size_t length = 0;
    for (; length < sizeof shown - 1 && length < cell->length && cell->text[length] != '\0';
         length++)
        shown[length] =
            (char)(cell->text[length] >= 32 && cell->text[length] < 127 ? cell->text[length] : '?');
    shown[length] = '\0';
    return quern_fail(QUERN_INPUT,
                      "%s: row %" PRId64 ", column %" PRId64 ": expected %s, found '%s'", c->path,
                      c->row, c->column, expected, shown);
}

static void cell_add(csv_cell *cell, uint8_t byte) {
    if (cell->length < CSV_CELL_BYTES - 1) cell->text[cell->length] = (char)byte;
    cell->length++;
}

/* The position is behind the opening quote; afterwards behind the closing one. */
static quern_status read_quoted(csv_cursor *c, csv_cell *cell) {
    for (; c->at < c->bytes; c->at++) {
        const uint8_t byte = c->data[c->at];
        if (byte == '"') {
            if (c->at + 1 >= c->bytes || c->data[c->at + 1] != '"') {
                c->at++;
                return QUERN_OK;
            }
            c->at++; /* "" is one quote */
        }
        cell_add(cell, byte);
    }
    return quern_fail(QUERN_INPUT,
                      "%s: row %" PRId64 ", column %" PRId64 ": expected a closing "
                      "quote, found the end of the file",
                      c->path, c->row, c->column);
}

static bool line_break_at(const csv_cursor *c, size_t at) {
    return c->data[at] == '\n' ||
           (c->data[at] == '\r' && at + 1 < c->bytes && c->data[at + 1] == '\n');
}

static quern_status read_plain(csv_cursor *c, csv_cell *cell) {
    for (; c->at < c->bytes && c->data[c->at] != ',' && !line_break_at(c, c->at); c->at++) {
        if (c->data[c->at] == '"')
            return quern_fail(QUERN_INPUT,
                              "%s: row %" PRId64 ", column %" PRId64 ": a quote inside "
                              "a cell that does not begin with one",
                              c->path, c->row, c->column);
        cell_add(cell, c->data[c->at]);
    }
    return QUERN_OK;
}

static void trim(csv_cell *cell) {
    size_t begin = 0, end = cell->length < CSV_CELL_BYTES ? cell->length : CSV_CELL_BYTES - 1;
    if (end < cell->length) { /* cut: keep as it is, no number is that long */
        cell->text[end] = '\0';
        return;
    }
    while (begin < end && (cell->text[begin] == ' ' || cell->text[begin] == '\t')) begin++;
    while (end > begin && (cell->text[end - 1] == ' ' || cell->text[end - 1] == '\t')) end--;
    memmove(cell->text, cell->text + begin, end - begin);
    cell->length = end - begin;
    cell->text[cell->length] = '\0';
}

quern_status csv_next(csv_cursor *c, csv_cell *cell) {
    c->column = c->row_ended ? 0 : c->column + 1;
    if (c->row_ended) c->row++;
    c->row_ended = false;
    cell->length = 0;
    const bool quoted = c->at < c->bytes && c->data[c->at] == '"';
    if (quoted) c->at++;
    const quern_status status = quoted ? read_quoted(c, cell) : read_plain(c, cell);
    if (status != QUERN_OK) return status;
    trim(cell);
    if (c->at >= c->bytes) {
        c->row_ended = true;
    } else if (line_break_at(c, c->at)) {
        c->at += c->data[c->at] == '\r' ? 2 : 1;
        c->row_ended = true;
    } else if (c->data[c->at] == ',') {
        c->at++;
    } else {
        return quern_fail(QUERN_INPUT,
                          "%s: row %" PRId64 ", column %" PRId64 ": expected a comma "
                          "after the closing quote, found byte %02x",
                          c->path, c->row, c->column, c->data[c->at]);
    }
    return QUERN_OK;
}

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

static bool is_decimal(const char *text) {
    if (*text == '+' || *text == '-') text++;
    const size_t whole = digits(text);
    text += whole;
    size_t fraction = 0;
    if (*text == '.') {
        fraction = digits(text + 1);
        text += 1 + fraction;
    }
    if (whole + fraction == 0) return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-') text++;
        const size_t exponent = digits(text);
        if (exponent == 0) return false;
        text += exponent;
    }
    return *text == '\0';
}

static bool same_word(const char *text, const char *lower) {
    for (; *text != '\0' && *lower != '\0'; text++, lower++)
        if ((*text | 0x20) != *lower) return false;
    return *text == *lower;
}

static bool is_word_number(const char *text) {
    if (*text == '+' || *text == '-') text++;
    return same_word(text, "nan") || same_word(text, "inf") || same_word(text, "infinity");
}

/* A NUL byte inside would hide what follows it. */
static bool is_whole_text(const csv_cell *cell) {
    return cell->length < CSV_CELL_BYTES && strlen(cell->text) == cell->length;
}

bool csv_is_number(const csv_cell *cell) {
    return is_whole_text(cell) && (is_decimal(cell->text) || is_word_number(cell->text));
}

quern_status csv_float(const csv_cursor *c, const csv_cell *cell, float *out) {
    if (!is_whole_text(cell) || !is_decimal(cell->text))
        return cell_failure(c, cell, csv_is_number(cell) ? "a finite number" : "a number");
    *out = strtof(cell->text, NULL);
    return isfinite(*out) ? QUERN_OK : cell_failure(c, cell, "a number that fits F32");
}

quern_status csv_class(const csv_cursor *c, const csv_cell *cell, int32_t *out) {
    const bool decimal = is_whole_text(cell) && is_decimal(cell->text);
    const double value = decimal ? strtod(cell->text, NULL) : -1;
    if (!(value >= 0 && value <= (double)INT32_MAX) || value != floor(value))
        return cell_failure(c, cell, "a class index");
    *out = (int32_t)value;
    return QUERN_OK;
}
