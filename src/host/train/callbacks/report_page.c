/* report_page.c - a file written through one small buffer, beside its place and then renamed into
 * it: whoever opens a report finds a whole one. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

quern_status page_open(report_page *p, const quern_host *host, const char *path, const char *part) {
    p->path = path;
    p->part = part;
    p->text = text_over(p->buffer, sizeof p->buffer);
    return file_writer_open(&p->writer, host, part, QUERN_FILE_CREATE);
}

static quern_status flush(report_page *p) {
    const quern_status status = file_writer_write(&p->writer, p->text.data, p->text.length);
    p->text = text_over(p->buffer, sizeof p->buffer);
    return status;
}

/* The writer keeps the first failure until page_close. */
static void make_room(report_page *p) {
    if (p->text.capacity - p->text.length > REPORT_PIECE) return;
    const quern_status status = flush(p);
    (void)status;
}

void page_add(report_page *p, const char *format, ...) {
    char piece[REPORT_PIECE];
    va_list list;
    va_start(list, format);
    vsnprintf(piece, sizeof piece, format, list);
    va_end(list);
    make_room(p);
    text_add(&p->text, "%s", piece);
}

static const char *escape_of(char c) {
    switch (c) {
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '&': return "&amp;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

void page_escaped(report_page *p, const char *value) {
    for (const char *at = value; *at;) {
        const size_t bytes = text_sequence(at);
        const unsigned char first = (unsigned char)*at;
        make_room(p);
        if (bytes == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F)
            text_add(&p->text, "\xEF\xBF\xBD"); /* U+FFFD */
        else if (escape_of(*at))
            text_add(&p->text, "%s", escape_of(*at));
        else
            text_add(&p->text, "%.*s", (int)bytes, at);
        at += bytes > 0 ? bytes : 1;
    }
}

void page_number(report_page *p, double value, int digits) {
    make_room(p);
    text_add_number(&p->text, value, digits);
}

quern_status page_close(report_page *p) {
    quern_status status = flush(p);
    if (status == QUERN_OK) status = file_writer_sync(&p->writer);
    const quern_status closed = file_writer_close(&p->writer);
    if (status == QUERN_OK) status = closed;
    if (status == QUERN_OK) status = file_rename(p->writer.host, p->part, p->path);
    if (status == QUERN_OK) return QUERN_OK;
    file_discard(p->writer.host, p->part);
    return status;
}
