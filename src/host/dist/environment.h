/* environment.h - which rank this process is, as its launcher says: torchrun, or mpirun of Open MPI
 * with MASTER_ADDR and MASTER_PORT passed on. */
#ifndef QUERN_DIST_ENVIRONMENT_H
#define QUERN_DIST_ENVIRONMENT_H

#include <quern/status.h>

typedef struct world_place {
    int32_t rank, size;
    int32_t local_rank; /* on this machine: the index of the device that is this rank's */
    char address[256];  /* of rank 0, "" in a world of one */
    uint16_t port;
} world_place;

/* The most ranks of a world. */
enum { WORLD_SIZE_MAX = 4096 };

/* Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; in the place of the first three
 * OMPI_COMM_WORLD_RANK, _SIZE and _LOCAL_RANK. None of the ranks' variables: a world of one.
 * INVALID names the variable that is missing or makes no sense. */
QUERN_MUST_CHECK quern_status world_place_read(world_place *out);
/* INVALID unless 0 <= rank < size, and an address and a port are there for more than one. */
QUERN_MUST_CHECK quern_status world_place_check(const world_place *place);

#endif
