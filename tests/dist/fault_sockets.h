/* fault_sockets.h - a network over the real one, whose n-th call fails, and whose waits can be cut
 * short. */
#ifndef QUERN_TESTS_DIST_FAULT_SOCKETS_H
#define QUERN_TESTS_DIST_FAULT_SOCKETS_H

#include "host/base/sockets.h"

#include <quern/host.h>

#include <stdatomic.h>

typedef struct fault_sockets {
    sockets net;    /* give this to the world */
    int64_t at;     /* the n-th call fails, from 1; 0: none */
    bool for_ever;  /* and all after it */
    int64_t error;  /* what it returns: a negated errno, or 0 for a connection that was closed */
    size_t at_most; /* bytes that go through one call; 0: no bound */
    /* Once it is set, whoever waits has waited long enough: a call that has to wait ends as though
     * its time were up, and `clock`, the host's then, runs ahead. NULL: never. */
    const atomic_bool *hurry;
    quern_clock clock;
    atomic_int_fast64_t calls, fired, open; /* open: handles */
    atomic_int_fast64_t ahead_ns;
    sockets inner;
} fault_sockets;

void fault_sockets_begin(fault_sockets *f);

#endif
