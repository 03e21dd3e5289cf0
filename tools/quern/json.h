/* json.h - JSON and text as the command writes them: a text is built in memory, then written
 * with raw writes whose every return value is checked, because stdio hides a full disk. */
#ifndef QUERN_TOOL_JSON_H
#define QUERN_TOOL_JSON_H

#include <quern/status.h>
#include <stdio.h>

void json_write_text(FILE *to, const char *value); /* quoted and escaped; NULL: null */
void json_write_number(FILE *to, double value);    /* shortest that reads back; not finite: null */
/* For printf, which shows NaN's sign; it means nothing. */
double unsigned_nan(double value);

/* An object, field by field. */
typedef struct json {
    FILE *to;
    const char *gap; /* before fields: "\n  ", or " " for one line */
    int field_count;
} json;
void json_begin(json *j, FILE *to, const char *gap);
void json_key(json *j, const char *key); /* the caller writes the value */
void json_text(json *j, const char *key, const char *value);
void json_number(json *j, const char *key, double value);
void json_count(json *j, const char *key, int64_t value);
void json_flag(json *j, const char *key, bool value);
void json_end(json *j);

/* A text in memory. */
typedef struct sheet {
    char *data;
    size_t bytes;
    FILE *to;
} sheet;
quern_status sheet_open(sheet *s);                   /* HOST_MEMORY */
quern_status sheet_print(sheet *s);                  /* to standard output; IO. Releases it. */
quern_status sheet_save(sheet *s, const char *path); /* replaces the file, synced. Releases it. */
quern_status sheet_finish(sheet *s);                 /* data is complete and terminated */
void sheet_release(sheet *s);

#endif
