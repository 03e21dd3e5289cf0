/* world.h - the ranks that train one model together, as one of them sees them.
 *
 * A world of one needs no network and still runs every collective truly. One thread at a time uses
 * a world; world_abort may come from any. The backend device and the host tables outlive it.
 *
 *     world *w;
 *     QUERN_TRY(world_create(&w, &(world_desc){.host = …, .backend = …, .device = …}));
 *     const collective_call mean = {.group = world_group(w), .reduction = COLLECTIVE_MEAN};
 *     args = (quern_kernel_args){.attributes = &mean, .in = &gradient, .out = &gradient, …};
 *     QUERN_TRY(world_issue(w, stream, COLLECTIVE_all_reduce, &args));
 *     …
 *     QUERN_TRY(world_watch(w, event)); … and wait for the event
 *     world_destroy(w); */
#ifndef QUERN_DIST_WORLD_H
#define QUERN_DIST_WORLD_H

#include "../../kernels/backend.h"
#include "../../kernels/collectives.h"
#include "environment.h"

typedef struct world world;

typedef struct world_desc {
    const quern_host *host;
    const quern_backend *backend;
    backend_device *device;
    world_place place;  /* zero: a world of one */
    double timeout_s;   /* until all ranks are there, and for a rank that the others wait for, which
                           may be writing a checkpoint; default 300 */
    const sockets *net; /* default: sockets_posix() */
} world_desc;

/* Returns when all ranks are there. INVALID: the ranks do not agree, or the place makes no sense.
 * PEER_LOST: not all came. UNSUPPORTED: this backend's library is not there. */
QUERN_MUST_CHECK quern_status world_create(world **out, const world_desc *desc);
/* What this rank has issued runs to its end first, unless a rank is gone. Accepts NULL. */
void world_destroy(world *w);

const world_place *world_place_of(const world *w);
collective_group *world_group(const world *w);
const char *world_library(const world *w); /* "NCCL", "sockets" */

/* Issues one collective to the stream; args->attributes is a collective_call. INVALID where the
 * tensors, the root or the reduction make none. */
QUERN_MUST_CHECK quern_status world_issue(world *w, quern_stream *stream, collective what,
                                          const quern_kernel_args *args);
/* To be called before the host waits for an event behind a collective: returns once that wait is
 * sure to end. Where the library would hang because of a rank that is gone, it looks until the
 * event has come; a rank that is lost meanwhile, or timeout_s without the event, aborts what hangs
 * on this rank and is PEER_LOST, which names the rank where it is known. */
QUERN_MUST_CHECK quern_status world_watch(world *w, backend_event *event);
/* Without waiting: PEER_LOST once a rank is known to be gone. */
QUERN_MUST_CHECK quern_status world_status(world *w);
/* What is under way on this rank ends; the other ranks see it as lost. From any thread. */
void world_abort(world *w);

#endif
