/* pool.h - the worker threads of a device.
 *
 * pool_run calls body(context, chunk) once for every chunk and returns when all are done; the
 * calling thread works too. Which thread takes which chunk is not fixed, so a chunk must write
 * only what is its own. When the pool is busy with another caller's run, the caller does all its
 * chunks itself: same results. */
#ifndef QUERN_BASE_POOL_H
#define QUERN_BASE_POOL_H

#include <quern/host.h>

typedef struct pool pool;
QUERN_MUST_CHECK quern_status pool_create(pool **out, const quern_host *host, int32_t thread_count);
void pool_destroy(pool *p);
void pool_run(pool *p, int64_t chunk_count, void (*body)(void *context, int64_t chunk),
              void *context);
int32_t pool_thread_count(const pool *p); /* the caller included */

#endif
