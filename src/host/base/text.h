/* text.h - bounded text building and the JSON that the library writes (jansson only reads). */
#ifndef QUERN_BASE_TEXT_H
#define QUERN_BASE_TEXT_H

#include <quern/status.h>

/* Appends into a fixed buffer; `overflow` says that something did not fit. */
typedef struct text {
    char *data;
    size_t capacity, length; /* length < capacity; always terminated */
    bool overflow;
} text;
text text_over(char *buffer, size_t capacity);
void text_add(text *t, const char *format, ...) QUERN_PRINTF(2, 3);
void text_end_line(text *t); /* a newline, in place of the last byte where nothing else fits */
void text_add_json_string(text *t, const char *value); /* quoted and escaped */
void text_add_json_number(text *t, double value);      /* shortest that reads back; else null */
/* The same, but a NaN's sign, which says nothing and which printf would write, is gone. */
double text_plain_nan(double value);
/* %.*g in every locale; nan, inf, -inf. */
void text_add_number(text *t, double value, int digits);
/* Bytes of the UTF-8 sequence at `at`; 0 when it is none. */
size_t text_sequence(const char *at);

#endif
