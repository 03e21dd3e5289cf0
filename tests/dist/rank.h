/* rank.h - a world whose ranks are threads of this process, each with a CPU device of its own. */
#ifndef QUERN_TESTS_DIST_RANK_H
#define QUERN_TESTS_DIST_RANK_H

#include "quern_test.h"

#include "host/dist/world.h"
#include "support/fault_host.h"

#include <pthread.h>

enum { RANK_MAX = 4 };

typedef struct rank {
    fault_host faults;
    backend_device *device;
    quern_stream *stream;
    world *world;
    world_desc desc;
    quern_status status; /* of the world, then of the body */
    char sentence[1024];
    const void *context; /* of the body */
    quern_status (*body)(struct rank *r);
    const quern_backend *backend; /* default: the CPU's */
    atomic_bool *lost;            /* set once it has failed and is over; NULL: nobody asks */
    pthread_t thread;
} rank;

/* A port at which nobody listens, and which the system gives to nobody else before the next call:
 * other tests run at the same time. */
uint16_t free_port(void);

/* Until somebody sets it; for a minute, which a test that waits in vain ends with. */
void rest_until(const atomic_bool *set);

/* Runs `body` on each of `size` ranks, which have joined one world and which leave it afterwards;
 * ranks[i].status is then what became of rank i. `change`, which may be NULL, edits the desc of a
 * rank before it joins. Nothing may have leaked. */
void ranks_run(rank *ranks, int32_t size, quern_status (*body)(rank *r), const void *context,
               void (*change)(rank *r));

/* The same for one rank alone, whatever the others are; it is there until it is joined. */
void rank_start(rank *r, int32_t number, int32_t size, uint16_t port, quern_status (*body)(rank *r),
                const void *context, void (*change)(rank *r));
void rank_join(rank *r);

/* Issues, records an event, waits for it. One tensor of `dtype`. */
quern_status rank_collect(rank *r, collective what, const void *in, int64_t in_count, void *out,
                          int64_t out_count, quern_dtype dtype, collective_call call);

#endif
