/* text.c - bounded text, and JSON values that any reader accepts: strings are valid UTF-8 whatever
 * came in, numbers read back to the same double and never depend on the application's locale. */
#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

text text_over(char *buffer, size_t capacity) {
    if (capacity > 0) buffer[0] = 0;
    return (text){.data = buffer, .capacity = capacity, .overflow = capacity == 0};
}

void text_add(text *t, const char *format, ...) {
    if (t->overflow) return; /* what follows a gap would mislead */
    const size_t room = t->capacity - t->length;
    va_list list;
    va_start(list, format);
    const int wanted = vsnprintf(t->data + t->length, room, format, list);
    va_end(list);
    t->overflow = wanted < 0 || (size_t)wanted >= room;
    t->length = t->overflow ? t->length + strlen(t->data + t->length) : t->length + (size_t)wanted;
}

void text_end_line(text *t) {
    if (t->capacity < 2) return;
    const size_t at = t->length < t->capacity - 1 ? t->length : t->capacity - 2;
    t->data[at] = '\n';
    t->data[at + 1] = 0;
    t->length = at + 1;
}

/* Bytes of the UTF-8 sequence at s, 0 when it is none (overlong, surrogate, cut, beyond U+10FFFF:
 * Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    const size_t bytes = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    const unsigned low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return bytes;
}

static void add_json_byte(text *t, unsigned char c) {
    switch (c) {
    case '"': text_add(t, "\\\""); break;
    case '\\': text_add(t, "\\\\"); break;
    case '\n': text_add(t, "\\n"); break;
    case '\r': text_add(t, "\\r"); break;
    case '\t': text_add(t, "\\t"); break;
    default: text_add(t, c < 0x20 ? "\\u%04x" : "%c", c);
    }
}

void text_add_json_string(text *t, const char *value) {
    text_add(t, "\"");
    for (const unsigned char *s = (const unsigned char *)value; *s != 0;) {
        const size_t bytes = utf8_sequence(s);
        if (bytes == 1) {
            add_json_byte(t, *s);
        } else if (bytes > 1) {
            text_add(t, "%.*s", (int)bytes, (const char *)s);
        } else {
            text_add(t, "\\ufffd");
        }
        s += bytes > 0 ? bytes : 1;
    }
    text_add(t, "\"");
}

/* The application's locale may print a decimal comma, or several bytes: one '.' for each run of
 * characters that no number has. */
static void use_decimal_point(char *number) {
    char *to = number;
    for (const char *from = number; *from != 0; from++) {
        if (strchr("0123456789+-e", *from) != NULL) {
            *to++ = *from;
        } else if (to == number || to[-1] != '.') {
            *to++ = '.';
        }
    }
    *to = 0;
}

void text_add_json_number(text *t, double value) {
    if (!isfinite(value)) {
        text_add(t, "null"); /* JSON has no other word for it */
        return;
    }
    char number[40];
    if (fabs(value) < 1e15 && floor(value) == value) {
        snprintf(number, sizeof number, "%.0f", value); /* 100000, not 1e+05 */
    } else {
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(number, sizeof number, "%.*g", digits, value);
            const double back = strtod(number, NULL);
            if (!(back < value || back > value)) break;
        }
        use_decimal_point(number);
    }
    text_add(t, "%s", number);
}

double text_plain_nan(double value) { return isnan(value) ? (double)NAN : value; }

void text_add_number(text *t, double value, int digits) {
    char number[64];
    snprintf(number, sizeof number, "%.*g", digits < 1 ? 1 : digits > 17 ? 17 : digits, value);
    if (isfinite(value)) use_decimal_point(number);
    text_add(t, "%s", isnan(value) ? "nan" : number);
}

size_t text_sequence(const char *at) { return utf8_sequence((const unsigned char *)at); }
