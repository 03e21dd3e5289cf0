/* rendezvous.h - how the ranks of a world find each other: each connects to rank 0 and says who it
 * is; when all are there, rank 0 hands out the id of the group. The connections stay.
 *
 * Whoever can reach rank 0's port can take part: use it in a network that is trusted. */
#ifndef QUERN_DIST_RENDEZVOUS_H
#define QUERN_DIST_RENDEZVOUS_H

#include "../../kernels/collectives.h"
#include "environment.h"

typedef struct rendezvous {
    const world_place *place;
    const quern_host *host;
    const sockets *net;
    uint8_t backend;    /* all ranks have the same: quern_backend_kind */
    int64_t timeout_ns; /* until all are there */
} rendezvous;

/* Fills peers[size]: rank 0's own connections to all others, another rank's to rank 0 alone; and on
 * the other ranks *id with rank 0's. PEER_LOST when ranks are missing at the end of the time (the
 * sentence names them), INVALID when they do not agree on the world. What was connected by then is
 * the caller's to close. */
QUERN_MUST_CHECK quern_status rendezvous_meet(const rendezvous *r, peer *peers, collective_id *id);

#endif
