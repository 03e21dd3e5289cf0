/* temporary.h - a directory for one test's files, removed with all that is in it. */
#ifndef QUERN_TESTS_SUPPORT_TEMPORARY_H
#define QUERN_TESTS_SUPPORT_TEMPORARY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct temporary {
    char path[256];
    char joined[512];
} temporary;

/* Below $TMPDIR, else /tmp. */
bool temporary_begin(temporary *t);
void temporary_end(temporary *t);

/* "directory/name", valid until the next call. */
const char *temporary_join(temporary *t, const char *name);

/* Writes and reads whole files without the library under test. */
bool temporary_write(temporary *t, const char *name, const void *from, size_t bytes);
/* Bytes of the file, at most `capacity` of them stored; -1 when it is not there. */
long temporary_read(temporary *t, const char *name, void *to, size_t capacity);

#endif
