/* collective.h - a group of ranks on the CPU: a star. Every rank but 0 is connected to rank 0
 * alone, which takes what the others have, piece by piece, reduces it in the order of the ranks and
 * sends the result back. That is slower than a ring, and the same bits whatever arrives first: it
 * is the reference, and what data-parallel training is tested with where there are no GPUs. */
#ifndef QUERN_KERNELS_CPU_COLLECTIVE_H
#define QUERN_KERNELS_CPU_COLLECTIVE_H

#include "../../host/base/report.h"
#include "../collectives.h"

#include <stdatomic.h>

/* What goes over a connection at once; a multiple of every element's size. */
enum { COLLECTIVE_PIECE_BYTES = 256 * 1024 };

struct collective_group {
    const quern_host *host;
    int32_t rank, size;
    const peer *peers;
    uint64_t sequence; /* collectives so far */
    char *pieces;      /* rank 0: one of each other rank, in their order */
    /* the first failure; its sentence is written before it */
    _Atomic(quern_status) status;
    error_text error;
};

quern_status cpu_all_reduce(const quern_kernel_args *args);
quern_status cpu_reduce_scatter(const quern_kernel_args *args);
quern_status cpu_all_gather(const quern_kernel_args *args);
quern_status cpu_broadcast(const quern_kernel_args *args);
quern_status cpu_barrier(const quern_kernel_args *args);

extern const collectives cpu_collectives;

/* to[i] = own[i] and piece r's [i], in this order, r from 0 to others - 1; `to` may be `own` or
 * the first piece. */
void collective_reduce(void *to, const void *own, const char *pieces, int32_t others, int64_t count,
                       quern_dtype dtype, collective_reduction reduction);

/* OK, or the first failure of the group again. */
QUERN_MUST_CHECK quern_status collective_group_status(collective_group *group);
/* Keeps the sentence that is this thread's last failure; rank 0 tells the others. */
quern_status collective_group_fail(collective_group *group, quern_status status);

#endif
