/* watch.h - which tensors a verification looks at, in the order in which a step computes them, and
 * what the reference found there. */
#ifndef QUERN_TRAIN_VERIFY_WATCH_H
#define QUERN_TRAIN_VERIFY_WATCH_H

#include "side.h"

typedef struct watch {
    quern_verify_role role;
    int32_t tensor; /* id */
    int64_t count;
    double *reference;
    double *before; /* of a weight: its starting value; else NULL */
} watch;

typedef struct watch_list {
    watch *watches;
    int32_t count, capacity;
    int64_t largest_count; /* elements */
} watch_list;

/* Of a side whose programs are compiled, everything from `memory`. */
QUERN_MUST_CHECK quern_status watch_list_make(watch_list *out, arena *memory, const side *s);

#endif
