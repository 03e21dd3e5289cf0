/* inflate.c - gzip files (RFC 1952, members one after another) inflated into memory. The output is
 * bounded before it is allocated: by the caller's limit, and by what deflate can produce at most
 * from the input (1032 : 1), whatever the file's own size field says. zlib's state comes from the
 * host allocator too. */
#include "file.h"

#include "memory.h"
#include "report.h"
#include "size.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#define ZLIB_HEADER 64 /* keeps the block's size in front of what zlib gets, and its alignment */
#define ZLIB_PIECE ((size_t)1 << 30) /* zlib counts in 32 bits */

static void *zlib_allocate(void *self, uInt count, uInt bytes) {
    const quern_host *host = self;
    size_t total;
    if (!size_multiply(count, bytes, &total) || !size_add(total, ZLIB_HEADER, &total)) return NULL;
    uint8_t *block = host->allocator.allocate(host->allocator.self, total);
    if (block == NULL) return NULL;
    memcpy(block, &total, sizeof total);
    return block + ZLIB_HEADER;
}

static void zlib_release(void *self, void *pointer) {
    if (pointer == NULL) return;
    const quern_host *host = self;
    uint8_t *block = (uint8_t *)pointer - ZLIB_HEADER;
    size_t total;
    memcpy(&total, block, sizeof total);
    host->allocator.release(host->allocator.self, block, total);
}

typedef struct inflation {
    const quern_host *host;
    const char *path;
    const uint8_t *in;
    size_t in_bytes, in_used;
    size_t limit;
    uint8_t *out;
    int64_t capacity, used;
    z_stream zlib;
} inflation;

static bool is_gzip(const uint8_t *data, size_t bytes) {
    return bytes >= 2 && data[0] == 0x1F && data[1] == 0x8B;
}

static quern_status damaged(const inflation *f, const char *reason) {
    return quern_fail(QUERN_INPUT, "%s: damaged gzip data at offset %zu: %s", f->path, f->in_used,
                      reason);
}

static int64_t most_output(const inflation *f) {
    size_t possible;
    if (!size_multiply(f->in_bytes, 1032, &possible)) possible = SIZE_MAX;
    const size_t most = possible < f->limit ? possible : f->limit;
    return most < INT64_MAX ? (int64_t)most : INT64_MAX;
}

/* The file's last four bytes say how long its last member is, modulo 2^32: a good first guess. */
static int64_t first_guess(const inflation *f) {
    const uint8_t *end = f->in + f->in_bytes;
    const int64_t most = most_output(f);
    if (f->in_bytes < 18) return 0; /* no whole member */
    const int64_t size =
        (int64_t)end[-4] | (int64_t)end[-3] << 8 | (int64_t)end[-2] << 16 | (int64_t)end[-1] << 24;
    return size < most ? size : most;
}

static quern_status out_resize(inflation *f, int64_t capacity) {
    uint8_t *out;
    QUERN_TRY(memory_allocate(f->host, &out, capacity, 1, "inflated content"));
    if (f->used > 0) memcpy(out, f->out, (size_t)f->used);
    memory_release(f->host, f->out, f->capacity, 1);
    f->out = out;
    f->capacity = capacity;
    return QUERN_OK;
}

/* The output is full: twice the room, but never more than there can be. */
static quern_status out_extend(inflation *f) {
    const int64_t most = most_output(f);
    if (f->capacity == most && (uint64_t)most < f->limit)
        return damaged(f, "more content than so few bytes can hold");
    if (f->capacity == most)
        return quern_fail(QUERN_INPUT,
                          "%s: its content is longer than the %zu bytes that are accepted here",
                          f->path, f->limit);
    int64_t larger;
    if (!count_multiply(f->capacity < 32 ? 32 : f->capacity, 2, &larger) || larger > most)
        larger = most;
    return out_resize(f, larger);
}

/* One call of zlib: moves both positions on. Room may be 0, for the end of a member takes none. */
static int inflate_piece(inflation *f) {
    const size_t in = f->in_bytes - f->in_used, out = (size_t)(f->capacity - f->used);
    z_stream *z = &f->zlib;
    z->next_in = (z_const Bytef *)(uintptr_t)(f->in + f->in_used);
    z->avail_in = (uInt)(in < ZLIB_PIECE ? in : ZLIB_PIECE);
    Bytef nowhere;
    z->next_out = out > 0 ? f->out + f->used : &nowhere;
    z->avail_out = (uInt)(out < ZLIB_PIECE ? out : ZLIB_PIECE);
    const uInt in_given = z->avail_in, out_given = z->avail_out;
    const int result = inflate(z, Z_NO_FLUSH);
    f->in_used += in_given - z->avail_in;
    f->used += (int64_t)(out_given - z->avail_out);
    return result;
}

/* A member has ended: *more when another one follows. */
static quern_status next_member(inflation *f, bool *more) {
    *more = f->in_used < f->in_bytes;
    if (!*more) return QUERN_OK;
    if (!is_gzip(f->in + f->in_used, f->in_bytes - f->in_used))
        return damaged(f, "bytes after the end that are no gzip member");
    return inflateReset(&f->zlib) == Z_OK ? QUERN_OK : damaged(f, "zlib cannot go on");
}

static quern_status inflate_all(inflation *f) {
    QUERN_TRY(out_resize(f, first_guess(f)));
    for (bool more = true; more;) {
        const int result = inflate_piece(f);
        if (result == Z_STREAM_END) {
            QUERN_TRY(next_member(f, &more));
        } else if (result == Z_MEM_ERROR) {
            return quern_fail(QUERN_HOST_MEMORY, "no host memory for inflating %s", f->path);
        } else if (result == Z_BUF_ERROR) { /* no progress */
            if (f->used < f->capacity) return damaged(f, "it ends in the middle of a member");
            QUERN_TRY(out_extend(f));
        } else if (result != Z_OK) {
            return damaged(f, f->zlib.msg != NULL ? f->zlib.msg : "zlib refuses it");
        }
    }
    return f->used < f->capacity ? out_resize(f, f->used) : QUERN_OK; /* released by its length */
}

static quern_status inflate_content(const quern_host *host, const char *path, size_t limit,
                                    const uint8_t *packed, size_t packed_bytes, uint8_t **data,
                                    size_t *bytes) {
    inflation f = {.host = host, .path = path, .in = packed, .in_bytes = packed_bytes};
    f.limit = limit;
    f.zlib.zalloc = zlib_allocate;
    f.zlib.zfree = zlib_release;
    f.zlib.opaque = (void *)(uintptr_t)host;
    if (inflateInit2(&f.zlib, 15 + 16) != Z_OK) /* 16: gzip only */
        return quern_fail(QUERN_HOST_MEMORY, "no host memory for inflating %s", path);
    quern_status status = inflate_all(&f);
    inflateEnd(&f.zlib);
    if (status == QUERN_OK) {
        *data = f.out;
        *bytes = (size_t)f.used;
    } else {
        memory_release(host, f.out, f.capacity, 1);
    }
    return status;
}

quern_status file_read_inflated(const quern_host *host, const char *path, size_t limit,
                                uint8_t **data, size_t *bytes) {
    uint8_t *packed;
    size_t packed_bytes;
    *data = NULL;
    *bytes = 0;
    QUERN_TRY(file_read_all(host, path, limit, &packed, &packed_bytes));
    if (!is_gzip(packed, packed_bytes)) {
        *data = packed;
        *bytes = packed_bytes;
        return QUERN_OK;
    }
    const quern_status status =
        inflate_content(host, path, limit, packed, packed_bytes, data, bytes);
    memory_release(host, packed, (int64_t)packed_bytes, 1);
    return status;
}
