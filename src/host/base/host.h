/* host.h - the host tables that a device works with. */
#ifndef QUERN_BASE_HOST_H
#define QUERN_BASE_HOST_H

#include <quern/host.h>

/* Fills every table that is wholly zero with the default. A table with some of its functions but
 * not all is INVALID and named, so that nothing calls through NULL later. */
QUERN_MUST_CHECK quern_status host_resolve(quern_host *host);

/* The POSIX file operations (posix_files.c). */
quern_files host_posix_files(void);

#endif
