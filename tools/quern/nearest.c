/* nearest.c - edit distance over one row of the classic table. */
#include "nearest.h"

#include <string.h>

enum { NAME_LIMIT = 63 };

static int smaller(int a, int b) { return a < b ? a : b; }

int edit_distance(const char *a, const char *b) {
    const int rows = (int)strnlen(a, NAME_LIMIT), columns = (int)strnlen(b, NAME_LIMIT);
    int row[NAME_LIMIT + 1];
    for (int j = 0; j <= columns; j++) row[j] = j;
    for (int i = 1; i <= rows; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            const int above = row[j];
            const int changed = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = smaller(changed, smaller(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[columns];
}

void nearest_offer(nearest *n, const char *name) {
    const int distance = edit_distance(n->wanted, name);
    if (n->best && distance >= n->distance) return;
    n->best = name;
    n->distance = distance;
}

const char *nearest_meant(const nearest *n) {
    if (!n->best) return NULL;
    const size_t wanted = strlen(n->wanted), best = strlen(n->best);
    const size_t longer = wanted > best ? wanted : best;
    return 2 * (size_t)n->distance <= longer ? n->best : NULL;
}

int choice_get(const char *choices, int index, char *out, size_t bytes) {
    const char *start = choices;
    for (int i = 0; start && i < index; i++) start = strchr(start + 1, '|');
    if (!start) return 0;
    const size_t length = strcspn(start + 1, "|");
    if (length >= bytes) return 0;
    memcpy(out, start + 1, length);
    out[length] = '\0';
    return 1;
}
