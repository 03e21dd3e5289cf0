/* nearest.h - which of the known names the user probably meant. */
#ifndef QUERN_TOOL_NEAREST_H
#define QUERN_TOOL_NEAREST_H

#include <stddef.h>

/* Levenshtein distance; names longer than 63 bytes are cut. */
int edit_distance(const char *a, const char *b);

/* Keeps the best of the names offered one after another. Zero-initialise with `wanted`. */
typedef struct nearest {
    const char *wanted, *best;
    int distance;
} nearest;
void nearest_offer(nearest *n, const char *name);
/* The best one when so much of it is what was typed that it was probably meant; else NULL. */
const char *nearest_meant(const nearest *n);

/* Copies choice `index` of "|first|second" to `out`; 0 when there is none. */
int choice_get(const char *choices, int index, char *out, size_t bytes);

#endif
