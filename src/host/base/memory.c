/* memory.c - checked, zeroed host allocations and arenas. Everything goes through the host's
 * allocator, so that an application can count, bound or place it. */
#include "memory.h"

#include "size.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static quern_status out_of_memory(const char *what, size_t bytes) {
    return quern_fail(QUERN_HOST_MEMORY, "no host memory for %s: %zu bytes", what, bytes);
}

quern_status memory_allocate(const quern_host *host, void *out_pointer, int64_t count,
                             size_t element_bytes, const char *what) {
    void *p = NULL;
    memcpy(out_pointer, &p, sizeof p); /* out_pointer is some T **, so no assignment through it */
    size_t bytes;
    if (!count_bytes(count, element_bytes, &bytes))
        return quern_fail(QUERN_HOST_MEMORY,
                          "no host memory for %s: %" PRId64 " elements of %zu bytes overflow", what,
                          count, element_bytes);
    if (bytes == 0) return QUERN_OK;
    p = host->allocator.allocate(host->allocator.self, bytes);
    if (p == NULL) return out_of_memory(what, bytes);
    memset(p, 0, bytes);
    memcpy(out_pointer, &p, sizeof p);
    return QUERN_OK;
}

void memory_release(const quern_host *host, void *pointer, int64_t count, size_t element_bytes) {
    if (pointer == NULL) return;
    host->allocator.release(host->allocator.self, pointer, (size_t)count * element_bytes);
}

quern_status memory_grow(const quern_host *host, void *array_pointer, int64_t *capacity,
                         int64_t used, int64_t needed, size_t element_bytes, const char *what) {
    if (needed <= *capacity) return QUERN_OK;
    int64_t larger = *capacity < 8 ? 8 : *capacity;
    while (larger < needed)
        if (!count_multiply(larger, 2, &larger)) larger = needed;
    void *from, *to;
    memcpy(&from, array_pointer, sizeof from);
    const quern_status status = memory_allocate(host, &to, larger, element_bytes, what);
    if (status != QUERN_OK) return status;
    if (used > 0) memcpy(to, from, (size_t)used * element_bytes);
    memory_release(host, from, *capacity, element_bytes);
    memcpy(array_pointer, &to, sizeof to);
    *capacity = larger;
    return QUERN_OK;
}

/* A block is its header followed by its bytes; objects are handed out from the front. */
struct arena_block {
    struct arena_block *previous;
    size_t capacity, used; /* header included */
};

#define ARENA_BLOCK_BYTES ((size_t)16384)
#define ARENA_ALIGN _Alignof(max_align_t)
#define ARENA_HEADER ((sizeof(arena_block) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN)

static quern_status arena_add_block(arena *a, size_t bytes, const char *what, arena_block **out) {
    const size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
    arena_block *block;
    const quern_status status = memory_allocate(a->host, &block, 1, capacity, what);
    if (status != QUERN_OK) return status;
    block->capacity = capacity;
    block->used = ARENA_HEADER;
    if (a->last != NULL && bytes > ARENA_BLOCK_BYTES) { /* keep filling the block at hand */
        block->previous = a->last->previous;
        a->last->previous = block;
    } else {
        block->previous = a->last;
        a->last = block;
    }
    *out = block;
    return QUERN_OK;
}

quern_status arena_allocate(arena *a, void *out_pointer, int64_t count, size_t element_bytes,
                            const char *what) {
    void *p = NULL;
    memcpy(out_pointer, &p, sizeof p);
    size_t bytes, with_header;
    if (!count_bytes(count, element_bytes, &bytes) || !size_align(bytes, &with_header) ||
        !size_add(with_header, ARENA_HEADER, &with_header))
        return quern_fail(QUERN_HOST_MEMORY,
                          "no host memory for %s: %" PRId64 " elements of %zu bytes overflow", what,
                          count, element_bytes);
    if (bytes == 0) return QUERN_OK;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    arena_block *block = a->last;
    if (block == NULL || block->capacity - block->used < bytes) {
        const quern_status status = arena_add_block(a, with_header, what, &block);
        if (status != QUERN_OK) return status;
    }
    p = (char *)block + block->used;
    block->used += bytes;
    memcpy(out_pointer, &p, sizeof p);
    return QUERN_OK;
}

quern_status arena_copy_string(arena *a, const char **out, const char *string) {
    const size_t length = strlen(string);
    char *copy;
    const quern_status status = arena_allocate(a, &copy, (int64_t)length + 1, 1, "a name");
    if (status == QUERN_OK) memcpy(copy, string, length + 1);
    *out = copy;
    return status;
}

void arena_release(arena *a) {
    while (a->last != NULL) {
        arena_block *previous = a->last->previous;
        memory_release(a->host, a->last, 1, a->last->capacity);
        a->last = previous;
    }
}
