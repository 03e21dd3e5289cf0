/* csv_text.h - the cells of a CSV text, and the numbers in them. */
#ifndef QUERN_DATA_CSV_TEXT_H
#define QUERN_DATA_CSV_TEXT_H

#include <quern/status.h>

#define CSV_CELL_BYTES 128 /* of a number or a header name, terminator included */

typedef struct csv_cursor {
    const char *path;
    const uint8_t *data;
    size_t bytes, at;
    int64_t row, column; /* of the cell read last; rows from 1, columns from 0 */
    bool row_ended;      /* it was its row's last one */
} csv_cursor;

typedef struct csv_cell {
    char text[CSV_CELL_BYTES]; /* spaces around it left out; cut when longer */
    size_t length;             /* of the whole */
} csv_cell;

csv_cursor csv_begin(const char *path, const uint8_t *data, size_t bytes);
bool csv_at_end(const csv_cursor *c);
/* The next cell; RFC 4180. INPUT names file, row and column. */
QUERN_MUST_CHECK quern_status csv_next(csv_cursor *c, csv_cell *cell);

/* Decimal numbers only, and "nan", "inf", "infinity" with any sign and case. */
bool csv_is_number(const csv_cell *cell);
/* INPUT for what is no number, or not finite in F32. Needs the "C" locale in this thread. */
QUERN_MUST_CHECK quern_status csv_float(const csv_cursor *c, const csv_cell *cell, float *out);
/* A class index: a whole number from 0 to 2^31 - 1, "3" or "3.0". */
QUERN_MUST_CHECK quern_status csv_class(const csv_cursor *c, const csv_cell *cell, int32_t *out);

#endif
