/* fake_memory.c - device memory as pages that only the device can reach, each block ending at an
 * unreachable page; pinned memory as memory that is remembered. Both start as 0xFF bytes, NaN in
 * every float type. */
#define _GNU_SOURCE
#include "fake_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_up(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

void *fake_memory_allocate(size_t bytes) {
    const size_t inner = page_up(bytes), page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *mapping =
        mmap(NULL, inner + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return NULL;
    memset(mapping, 0xFF, inner);
    mprotect(mapping, inner + page, PROT_NONE);
    fake_block *b = fake_object_create(FAKE_BLOCK, sizeof *b);
    /* 256-byte aligned, as CUDA promises, and as near to the guard page as that allows */
    b->data = mapping + (inner - bytes) / 256 * 256;
    b->bytes = bytes;
    b->mapping = mapping;
    b->mapping_bytes = inner + page;
    return b->data;
}

void *fake_pinned_allocate(size_t bytes) {
    fake_block *b = fake_object_create(FAKE_PINNED, sizeof *b);
    b->data = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (b->data == NULL) abort();
    memset(b->data, 0xFF, bytes);
    b->bytes = bytes;
    return b->data;
}

bool fake_memory_release(void *pointer, fake_kind kind) {
    fake_block *b = fake_block_of(pointer);
    if (b == NULL || b->object.kind != kind || b->data != pointer) {
        fake_misuse("freeing what is no block of that kind");
        return false;
    }
    if (kind == FAKE_BLOCK)
        munmap(b->mapping, b->mapping_bytes);
    else
        free(b->data);
    fake_object_destroy(b);
    return true;
}

fake_block *fake_block_of(const void *pointer) {
    for (fake_object *o = fake_objects(); o != NULL; o = o->next) {
        fake_block *b = (fake_block *)(void *)o;
        if (o->kind != FAKE_BLOCK && o->kind != FAKE_PINNED) continue;
        const uintptr_t at = (uintptr_t)pointer, start = (uintptr_t)b->data;
        if (at >= start && at < start + b->bytes) return b;
    }
    return NULL;
}

bool fake_memory_fits(const void *pointer, size_t bytes) {
    const fake_block *b = fake_block_of(pointer);
    if (b == NULL) return true;
    return bytes <= b->bytes - ((uintptr_t)pointer - (uintptr_t)b->data);
}

static void protect_all(int rights) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (fake_object *o = fake_objects(); o != NULL; o = o->next) {
        fake_block *b = (fake_block *)(void *)o;
        if (o->kind == FAKE_BLOCK) mprotect(b->mapping, b->mapping_bytes - page, rights);
    }
}

void fake_memory_open(void) { protect_all(PROT_READ | PROT_WRITE); }
void fake_memory_close(void) { protect_all(PROT_NONE); }

size_t fake_memory_used(void) {
    size_t bytes = 0;
    for (const fake_object *o = fake_objects(); o != NULL; o = o->next) {
        if (o->kind == FAKE_BLOCK) bytes += ((const fake_block *)(const void *)o)->bytes;
        if (o->kind == FAKE_EXECUTABLE) bytes += fake.graph_bytes;
    }
    return bytes;
}
