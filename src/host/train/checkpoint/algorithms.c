#include "algorithms.h"

#include <string.h>

typedef struct line {
    const char *key, *algorithm;
    size_t key_length, algorithm_length;
    size_t source_length; /* of the key: its library and device */
} line;

/* How far "<library> <version>; <device>; " goes; 0: it is not there. */
static size_t source_of(const char *key, size_t length) {
    size_t at = 0;
    for (int part = 0; part < 2; part++) {
        const char *stop = memchr(key + at, ';', length - at);
        if (stop == NULL || (size_t)(stop - key) + 1 >= length || stop[1] != ' ') return 0;
        at = (size_t)(stop - key) + 2;
    }
    return at < length ? at : 0;
}

static bool is_printable(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F) return false;
    return length > 0;
}

/* The line at *at, which moves behind it; false: there is none, or it is not one. */
static bool line_next(const char **at, line *out) {
    const size_t length = strcspn(*at, "\n");
    const char *tab = memchr(*at, '\t', length);
    if ((*at)[length] != '\n' || tab == NULL) return false;
    *out = (line){.key = *at, .algorithm = tab + 1, .key_length = (size_t)(tab - *at)};
    out->algorithm_length = length - out->key_length - 1;
    out->source_length = source_of(out->key, out->key_length);
    *at += length + 1;
    return out->source_length > 0 && is_printable(out->key, out->key_length) &&
           is_printable(out->algorithm, out->algorithm_length);
}

bool algorithms_are_whole(const char *text) {
    line l;
    while (*text != 0)
        if (!line_next(&text, &l)) return false;
    return true;
}

static bool same(const char *a, size_t a_length, const char *b, size_t b_length) {
    return a_length == b_length && memcmp(a, b, a_length) == 0;
}

typedef enum finding { UNCHANGED, CHANGED, ADDED, FOREIGN } finding;

static finding line_find(const char *before, const line *l) {
    line other;
    finding found = FOREIGN;
    while (line_next(&before, &other)) {
        if (same(l->key, l->key_length, other.key, other.key_length))
            return same(l->algorithm, l->algorithm_length, other.algorithm, other.algorithm_length)
                       ? UNCHANGED
                       : CHANGED;
        if (same(l->key, l->source_length, other.key, other.source_length)) found = ADDED;
    }
    return found;
}

/* Nothing now, where there was something: that run chose, this one has one way for everything. */
static algorithms_difference without_choices(const char *before) {
    line first;
    if (!line_next(&before, &first)) return (algorithms_difference){0};
    return (algorithms_difference){.foreign = 1, .key = first.key, .key_length = first.key_length};
}

algorithms_difference algorithms_compare(const char *before, const char *now) {
    algorithms_difference d = {0};
    line l;
    if (*now == 0) return without_choices(before);
    while (line_next(&now, &l)) {
        const finding found = line_find(before, &l);
        d.changed += found == CHANGED;
        d.foreign += found == FOREIGN;
        d.added += found == ADDED;
        if ((found != CHANGED && found != FOREIGN) || d.key != NULL) continue;
        d.key = l.key;
        d.key_length = l.key_length;
    }
    return d;
}
