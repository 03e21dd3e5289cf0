#include "algorithm_cache.h"

#include "algorithm_text.h"
#include "cache_file.h"
#include "libraries.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = ALGORITHM_TEXT + 1 + ALGORITHM_KEY_BYTES + 1 };
#define FILE_LIMIT ((size_t)32 << 20)
#define FIRST_LINE "quern products 1\n"

static int head_write(const cuda_libraries *l, char *to, size_t bytes) {
    return snprintf(to, bytes, FIRST_LINE "cublasLt %zu %s\n", l->blas.cublasLtGetVersion(),
                    l->device);
}

/* False: nothing is remembered on disk. */
static bool path_write(const cuda_libraries *l, char *to, size_t bytes) {
    char head[256];
    const int length = head_write(l, head, sizeof head);
    if (l->folder[0] == 0 || length < 0 || (size_t)length >= sizeof head) return false;
    const int path = snprintf(to, bytes, "%s/products-%016" PRIx64 ".txt", l->folder,
                              cache_hash(head, (size_t)length));
    return path > 0 && (size_t)path < bytes;
}

const cublasLtMatmulAlgo_t *algorithm_cache_find(const algorithm_cache *cache, const char *key) {
    for (int64_t i = 0; i < cache->count; i++)
        if (strcmp(cache->entries[i].key, key) == 0) return &cache->entries[i].algorithm;
    return NULL;
}

static quern_status grow(algorithm_cache *cache, const quern_host *host) {
    if (cache->count < cache->capacity) return QUERN_OK;
    const int64_t capacity = cache->capacity == 0 ? 64 : 2 * cache->capacity;
    algorithm_entry *entries;
    QUERN_TRY(cuda_services()->allocate(host, &entries, capacity, sizeof *entries,
                                        "the products' algorithms"));
    if (cache->count > 0) memcpy(entries, cache->entries, (size_t)cache->count * sizeof *entries);
    cuda_services()->release(host, cache->entries, cache->capacity, sizeof *entries);
    cache->entries = entries;
    cache->capacity = capacity;
    return QUERN_OK;
}

static quern_status put(algorithm_cache *cache, const quern_host *host, const char *key,
                        size_t key_length, const cublasLtMatmulAlgo_t *algorithm) {
    if (cache->count >= ALGORITHM_COUNT_MAX) return QUERN_OK;
    QUERN_TRY(grow(cache, host));
    algorithm_entry *entry = &cache->entries[cache->count++];
    entry->algorithm = *algorithm;
    memcpy(entry->key, key, key_length);
    entry->key[key_length] = 0;
    return QUERN_OK;
}

void algorithm_cache_clear(algorithm_cache *cache, const quern_host *host) {
    cuda_services()->release(host, cache->entries, cache->capacity, sizeof *cache->entries);
    *cache = (algorithm_cache){0};
}

/* The entries between `at` and `end`; *why stays NULL when all is well. */
static quern_status lines_read(cuda_libraries *l, const char *at, const char *end,
                               const char **why) {
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t length = stop == NULL ? 0 : (size_t)(stop - at);
        cublasLtMatmulAlgo_t algorithm;
        if (length < ALGORITHM_TEXT + 2 || length >= ALGORITHM_TEXT + 1 + ALGORITHM_KEY_BYTES ||
            at[ALGORITHM_TEXT] != ' ' || !algorithm_text_read(at, &algorithm)) {
            *why = "a line is not an algorithm and its product";
            return QUERN_OK;
        }
        QUERN_TRY(put(&l->algorithms, l->host, at + ALGORITHM_TEXT + 1, length - ALGORITHM_TEXT - 1,
                      &algorithm));
        at = stop + 1;
    }
    return QUERN_OK;
}

/* Where the last line, "end <hash>\n", begins; NULL when it is not there or not right. */
static const char *body_end(const char *data, size_t bytes) {
    const size_t last = sizeof "end 0123456789abcdef\n" - 1;
    char expected[sizeof "end 0123456789abcdef\n"];
    if (bytes < last) return NULL;
    snprintf(expected, sizeof expected, "end %016" PRIx64 "\n", cache_hash(data, bytes - last));
    return memcmp(data + bytes - last, expected, last) == 0 ? data + bytes - last : NULL;
}

quern_status algorithm_cache_load(cuda_libraries *l) {
    char path[1200], head[256];
    if (!path_write(l, path, sizeof path)) return QUERN_OK;
    size_t bytes;
    char unread[CACHE_WHY_BYTES];
    char *data = cache_file_read(l->host, path, FILE_LIMIT, &bytes, unread);
    if (unread[0] != 0) libraries_tell_unusable(l, path, unread);
    if (data == NULL) return QUERN_OK;
    const char *why = NULL, *end = body_end(data, bytes);
    const size_t head_length = (size_t)head_write(l, head, sizeof head);
    quern_status status = QUERN_OK;
    if (end == NULL)
        why = "it is cut short or damaged";
    else if ((size_t)(end - data) < head_length || memcmp(data, head, head_length) != 0)
        why = "it is of another library, device or format";
    else
        status = lines_read(l, data + head_length, end, &why);
    cuda_services()->release(l->host, data, (int64_t)bytes + 1, 1);
    if (why != NULL || status != QUERN_OK) algorithm_cache_clear(&l->algorithms, l->host);
    if (why != NULL) libraries_tell_unusable(l, path, why);
    return status;
}

static size_t line_write(char *to, const algorithm_entry *entry) {
    const size_t key = strlen(entry->key);
    algorithm_text_write(&entry->algorithm, to);
    to[ALGORITHM_TEXT] = ' ';
    memcpy(to + ALGORITHM_TEXT + 1, entry->key, key);
    to[ALGORITHM_TEXT + 1 + key] = '\n';
    return ALGORITHM_TEXT + 2 + key;
}

static quern_status save(const cuda_libraries *l) {
    char path[1200], *data;
    if (!path_write(l, path, sizeof path)) return QUERN_OK;
    const int64_t capacity = 512 + l->algorithms.count * LINE_BYTES;
    QUERN_TRY(cuda_services()->allocate(l->host, &data, capacity, 1, "the products' file"));
    size_t length = (size_t)head_write(l, data, 256);
    for (int64_t i = 0; i < l->algorithms.count; i++)
        length += line_write(data + length, &l->algorithms.entries[i]);
    length += (size_t)snprintf(data + length, (size_t)capacity - length, "end %016" PRIx64 "\n",
                               cache_hash(data, length));
    if (!cache_file_write(l->host, path, data, length))
        cuda_services()->log(l->host, QUERN_LOG_WARNING,
                             "%s cannot be written: the measured algorithms are forgotten", path);
    cuda_services()->release(l->host, data, capacity, 1);
    return QUERN_OK;
}

quern_status algorithm_cache_keep(cuda_libraries *l, const char *key,
                                  const cublasLtMatmulAlgo_t *algorithm) {
    algorithm_cache *cache = &l->algorithms;
    for (int64_t i = 0; i < cache->count; i++)
        if (strcmp(cache->entries[i].key, key) == 0) {
            cache->entries[i].algorithm = *algorithm;
            return save(l);
        }
    QUERN_TRY(put(cache, l->host, key, strlen(key), algorithm));
    return save(l);
}
