/* algorithms.h - the text of an algorithm record (kernels/backend.h), as a checkpoint holds it. */
#ifndef QUERN_CHECKPOINT_ALGORITHMS_H
#define QUERN_CHECKPOINT_ALGORITHMS_H

#include <quern/status.h>

/* Whether every line is "<library> <version>; <device>; …", a tab, an algorithm and a newline, of
 * printable characters. The empty text is whole. */
bool algorithms_are_whole(const char *text);

/* How a run's record differs from the one it began with; both whole. */
typedef struct algorithms_difference {
    int64_t changed; /* the same key has another algorithm */
    int64_t foreign; /* keys of a library and device that the other has none of */
    int64_t added;   /* other new ones: programs that were not compiled before */
    const char *key; /* the first that is changed or foreign, key_length long; NULL: none is */
    size_t key_length;
} algorithms_difference;
algorithms_difference algorithms_compare(const char *before, const char *now);

#endif
