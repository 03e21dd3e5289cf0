/* memory.h - host memory through the device's allocator, and arenas on top of it.
 * Every failure leaves a sentence that names `what` and the bytes, status HOST_MEMORY. */
#ifndef QUERN_BASE_MEMORY_H
#define QUERN_BASE_MEMORY_H

#include <quern/host.h>

/* Zeroed memory for count elements; count 0 gives NULL and QUERN_OK. */
QUERN_MUST_CHECK quern_status memory_allocate(const quern_host *host, void *out_pointer,
                                              int64_t count, size_t element_bytes,
                                              const char *what);
/* count and element_bytes as given to allocate; pointer may be NULL. */
void memory_release(const quern_host *host, void *pointer, int64_t count, size_t element_bytes);

/* Grows an array to hold `needed` elements (doubling), keeping `used`; zero-fills the rest. */
QUERN_MUST_CHECK quern_status memory_grow(const quern_host *host, void *array_pointer,
                                          int64_t *capacity, int64_t used, int64_t needed,
                                          size_t element_bytes, const char *what);

/* Many small objects with one life: blocks are freed together. Zero-initialise with a host. */
typedef struct arena_block arena_block;
typedef struct arena {
    const quern_host *host;
    arena_block *last;
} arena;
QUERN_MUST_CHECK quern_status arena_allocate(arena *a, void *out_pointer, int64_t count,
                                             size_t element_bytes, const char *what);
QUERN_MUST_CHECK quern_status arena_copy_string(arena *a, const char **out, const char *text);
void arena_release(arena *a);

#endif
