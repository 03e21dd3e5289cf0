/* world_parts.h - what the files of a world share. */
#ifndef QUERN_DIST_WORLD_PARTS_H
#define QUERN_DIST_WORLD_PARTS_H

#include "../base/report.h"
#include "world.h"

#include <stdatomic.h>

struct world {
    quern_host host;
    const quern_backend *backend;
    backend_device *device;
    world_place place;
    sockets net;
    int64_t timeout_ns;
    peer *peers; /* [size] */
    collective_group *group;
    const char *last; /* the collective that was issued last */
    int64_t issued;
    atomic_bool aborted; /* others are to see this rank die, not leave */
    bool lost;           /* a rank is gone: `why` says which */
    quern_status lost_status;
    error_text why;
};

#endif
