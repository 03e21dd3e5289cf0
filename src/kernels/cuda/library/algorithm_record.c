#include "algorithm_record.h"

#include <stdio.h>
#include <string.h>

enum { RECORD_KEY_BYTES = 4096 };

typedef struct record_entry {
    char *key, *algorithm; /* one block: two strings, `bytes` in all */
    size_t bytes;
    bool used; /* by this run */
} record_entry;

struct backend_record {
    const quern_host *host;
    record_entry *entries; /* in the order in which they were read or first used */
    int64_t count, capacity;
};

static record_entry *find(const backend_record *r, const char *key, size_t length) {
    for (int64_t i = 0; i < r->count; i++)
        if (strncmp(r->entries[i].key, key, length) == 0 && r->entries[i].key[length] == 0)
            return &r->entries[i];
    return NULL;
}

static quern_status grow(backend_record *r) {
    if (r->count < r->capacity) return QUERN_OK;
    const int64_t capacity = r->capacity == 0 ? 64 : 2 * r->capacity;
    record_entry *entries;
    QUERN_TRY(cuda_services()->allocate(r->host, &entries, capacity, sizeof *entries,
                                        "the algorithm record"));
    if (r->count > 0) memcpy(entries, r->entries, (size_t)r->count * sizeof *entries);
    cuda_services()->release(r->host, r->entries, r->capacity, sizeof *entries);
    r->entries = entries;
    r->capacity = capacity;
    return QUERN_OK;
}

static quern_status fill(const backend_record *r, record_entry *e, const char *key,
                         size_t key_length, const char *algorithm, size_t algorithm_length) {
    const size_t bytes = key_length + 1 + algorithm_length + 1;
    char *block;
    QUERN_TRY(cuda_services()->allocate(r->host, &block, (int64_t)bytes, 1, "an algorithm"));
    memcpy(block, key, key_length);
    block[key_length] = 0;
    char *to = block + key_length + 1;
    for (size_t i = 0; i < algorithm_length; i++)
        to[i] = (unsigned char)algorithm[i] < ' ' ? ' ' : algorithm[i];
    to[algorithm_length] = 0;
    cuda_services()->release(r->host, e->key, (int64_t)e->bytes, 1);
    *e = (record_entry){.key = block, .algorithm = to, .bytes = bytes, .used = e->used};
    return QUERN_OK;
}

static quern_status add(backend_record *r, const char *key, size_t key_length,
                        const char *algorithm, size_t algorithm_length) {
    record_entry *e = find(r, key, key_length);
    if (e != NULL) return fill(r, e, key, key_length, algorithm, algorithm_length);
    QUERN_TRY(grow(r));
    e = &r->entries[r->count];
    *e = (record_entry){0};
    QUERN_TRY(fill(r, e, key, key_length, algorithm, algorithm_length));
    r->count++;
    return QUERN_OK;
}

static uint64_t hash_add(uint64_t hash, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return hash;
}

enum { SEAL = 17 }; /* 16 hexadecimal digits and a space */

/* FNV-1a of key and algorithm: a plan of another graph must not be taken for this one's. */
static void seal_write(char to[SEAL + 1], const char *key, size_t key_length, const char *algorithm,
                       size_t algorithm_length) {
    const uint64_t hash = hash_add(UINT64_C(14695981039346656037), key, key_length + 1);
    snprintf(to, SEAL + 1, "%016llx ",
             (unsigned long long)hash_add(hash, algorithm, algorithm_length));
}

/* A line of ours: key, tab, seal, algorithm. Any other is as if it were not there. */
static quern_status read_line(backend_record *r, const char *line, size_t length) {
    char seal[SEAL + 1], key[RECORD_KEY_BYTES];
    const char *tab = memchr(line, '\t', length);
    const size_t key_length = tab == NULL ? 0 : (size_t)(tab - line);
    if (key_length == 0 || key_length >= sizeof key || length < key_length + 1 + SEAL)
        return QUERN_OK;
    const char *algorithm = tab + 1 + SEAL;
    const size_t algorithm_length = length - key_length - 1 - SEAL;
    memcpy(key, line, key_length);
    key[key_length] = 0;
    seal_write(seal, key, key_length, algorithm, algorithm_length);
    if (memcmp(seal, tab + 1, SEAL) != 0) return QUERN_OK;
    return add(r, key, key_length, algorithm, algorithm_length);
}

static quern_status read_lines(backend_record *r, const char *at) {
    while (*at != 0) {
        const size_t length = strcspn(at, "\n");
        QUERN_TRY(read_line(r, at, length));
        at += length + (at[length] == '\n');
    }
    return QUERN_OK;
}

quern_status cuda_record_create(backend_device *device, backend_record **out, const char *text) {
    const quern_host *host = cuda_device_host(device);
    backend_record *r;
    *out = NULL;
    QUERN_TRY(cuda_services()->allocate(host, &r, 1, sizeof *r, "an algorithm record"));
    r->host = host;
    const quern_status status = read_lines(r, text);
    if (status == QUERN_OK)
        *out = r;
    else
        cuda_record_destroy(r);
    return status;
}

void cuda_record_destroy(backend_record *r) {
    if (r == NULL) return;
    for (int64_t i = 0; i < r->count; i++)
        cuda_services()->release(r->host, r->entries[i].key, (int64_t)r->entries[i].bytes, 1);
    cuda_services()->release(r->host, r->entries, r->capacity, sizeof *r->entries);
    cuda_services()->release(r->host, r, 1, sizeof *r);
}

static void line_write(const record_entry *e, char *to) {
    const size_t key = strlen(e->key), algorithm = strlen(e->algorithm);
    memcpy(to, e->key, key);
    to[key] = '\t';
    seal_write(to + key + 1, e->key, key, e->algorithm, algorithm);
    memcpy(to + key + 1 + SEAL, e->algorithm, algorithm);
    to[key + 1 + SEAL + algorithm] = '\n';
    to[key + 1 + SEAL + algorithm + 1] = 0;
}

/* An entry's two strings end in a tab and a newline instead. */
size_t cuda_record_write(const backend_record *r, char *to, size_t bytes) {
    size_t length = 0;
    for (int64_t i = 0; i < r->count; i++) {
        const record_entry *e = &r->entries[i];
        if (!e->used) continue;
        if (length + e->bytes + SEAL < bytes) line_write(e, to + length);
        length += e->bytes + SEAL;
    }
    if (length == 0 && bytes > 0) to[0] = 0;
    return length;
}

const char *algorithm_record_find(const backend_record *r, const char *key) {
    const record_entry *e = r != NULL ? find(r, key, strlen(key)) : NULL;
    return e != NULL ? e->algorithm : NULL;
}

quern_status algorithm_record_keep(backend_record *r, const char *key, const char *algorithm) {
    if (r == NULL) return QUERN_OK;
    const size_t length = strlen(key);
    record_entry *e = find(r, key, length);
    if (e == NULL || strcmp(e->algorithm, algorithm) != 0)
        QUERN_TRY(add(r, key, length, algorithm, strlen(algorithm)));
    find(r, key, length)->used = true;
    return QUERN_OK;
}
