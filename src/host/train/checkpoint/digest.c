/* digest.c - XXH3-128 from xxHash's header, compiled in: the library exports and needs no symbol
 * of it. */
#include "digest.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(digest), "the state has to fit");
_Static_assert(alignof(XXH3_state_t) <= alignof(digest), "the state has to be aligned");

/* With these arguments neither reset nor update has a way to fail. */
void digest_begin(digest *d) { (void)XXH3_128bits_reset((XXH3_state_t *)(void *)d->state); }

void digest_add(digest *d, const void *bytes, size_t count) {
    if (count > 0) (void)XXH3_128bits_update((XXH3_state_t *)(void *)d->state, bytes, count);
}

static void write_text(XXH128_hash_t hash, char text[DIGEST_TEXT]) {
    snprintf(text, DIGEST_TEXT, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
             (uint64_t)hash.low64);
}

void digest_end(const digest *d, char text[DIGEST_TEXT]) {
    write_text(XXH3_128bits_digest((const XXH3_state_t *)(const void *)d->state), text);
}

void digest_of(const void *bytes, size_t count, char text[DIGEST_TEXT]) {
    write_text(XXH3_128bits(bytes, count), text);
}

static int compare_names(const void *a, const void *b) {
    const quern_safetensors_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

quern_status digest_of_tensors(const quern_host *host,
                               const quern_safetensors_entry *const *entries, int64_t count,
                               char text[DIGEST_TEXT]) {
    const quern_safetensors_entry **sorted = NULL;
    QUERN_TRY(memory_allocate(host, &sorted, count, sizeof(void *), "the tensors to be digested"));
    if (count > 0) {
        memcpy(sorted, entries, (size_t)count * sizeof(void *));
        qsort(sorted, (size_t)count, sizeof(void *), compare_names);
    }
    digest d;
    digest_begin(&d);
    for (int64_t i = 0; i < count; i++) {
        digest_add(&d, sorted[i]->name, strlen(sorted[i]->name) + 1);
        digest_add(&d, sorted[i]->data, sorted[i]->bytes);
    }
    digest_end(&d, text);
    memory_release(host, sorted, count, sizeof(void *));
    return QUERN_OK;
}
