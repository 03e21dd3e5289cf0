/* status.c - the status table's texts and the calling thread's last failure as one sentence. The
 * sentence is the only mutable state of the library that belongs to no object. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local error_text sentence;

typedef struct status_row {
    const char *name, *text;
    int exit_code;
} status_row;

#define X(name, exit_code, text) {"QUERN_" #name, text, exit_code},
static const status_row rows[QUERN_STATUS_COUNT] = {QUERN_STATUS_LIST(X)};
#undef X

static const status_row *row_of(quern_status status) {
    static const status_row unknown = {"QUERN_?", "not a status of this library", 1};
    const unsigned i = (unsigned)status;
    return i < QUERN_STATUS_COUNT ? &rows[i] : &unknown;
}

const char *quern_status_name(quern_status status) { return row_of(status)->name; }
const char *quern_status_text(quern_status status) { return row_of(status)->text; }
int quern_status_exit_code(quern_status status) { return row_of(status)->exit_code; }

const char *quern_error(void) { return sentence.text; }

/* The arguments may point into the sentence itself, so it is replaced only when all is formatted.
 */
quern_status quern_fail(quern_status status, const char *format, ...) {
    error_text next;
    va_list list;
    va_start(list, format);
    if (vsnprintf(next.text, sizeof next.text, format, list) < 0) next.text[0] = 0;
    va_end(list);
    memcpy(sentence.text, next.text, strlen(next.text) + 1);
    return status;
}

quern_status error_prefix(quern_status status, const char *format, ...) {
    char prefix[512];
    va_list list;
    va_start(list, format);
    if (vsnprintf(prefix, sizeof prefix, format, list) < 0) prefix[0] = 0;
    va_end(list);
    return quern_fail(status, "%s: %s", prefix, sentence.text);
}

void error_save(error_text *out) { memcpy(out->text, sentence.text, strlen(sentence.text) + 1); }

void error_restore(const error_text *saved) {
    memmove(sentence.text, saved->text, strlen(saved->text) + 1);
}
