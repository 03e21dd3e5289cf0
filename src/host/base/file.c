/* file.c - whole files in, streams of bytes out, over the replaceable file operations. Interrupted
 * and short transfers are continued here; the number of interruptions in a row is bounded, so that
 * an operation that only ever says EINTR fails instead of hanging. */
#include "file.h"

#include "memory.h"
#include "report.h"
#include "size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILE_INTERRUPTIONS_MAX 1000

quern_status file_fail(quern_status status, const char *operation, const char *path,
                       int64_t failure) {
    if (failure > 0)
        return quern_fail(status, "%s %s: the operation claims %" PRId64 " bytes", operation, path,
                          failure);
    return quern_fail(status, "%s %s: %s", operation, path, error_cause_of(failure).text);
}

bool file_failure_is_unknown(int64_t failure) {
    return failure < 0 && failure != -ENOENT && failure != -ENOTDIR;
}

int64_t file_info(const quern_host *host, const char *path, quern_file_info *out) {
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = host->files.info(host->files.self, path, out);
    return failure;
}

static int64_t open_retrying(const quern_host *host, const char *path, quern_file_mode mode) {
    const quern_files *f = &host->files;
    int64_t file = -EINTR;
    for (int i = 0; file == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        file = f->open(f->self, path, mode);
    return file;
}

/* A file being read. unknown: see file_read_judged. */
typedef struct source {
    const quern_host *host;
    const char *path;
    int64_t file;
    bool unknown;
} source;

/* Reads until `bytes` are there or the file ends; *got is how many. */
static quern_status read_at(source *s, uint8_t *to, size_t bytes, size_t offset, size_t *got) {
    const quern_files *f = &s->host->files;
    int interruptions = 0;
    *got = 0;
    while (*got < bytes) {
        const size_t wanted = bytes - *got;
        const int64_t n = f->read(f->self, s->file, to + *got, wanted, (int64_t)(offset + *got));
        if (n == 0) break;
        if (n == -EINTR && ++interruptions < FILE_INTERRUPTIONS_MAX) continue;
        if (n < 0 || (uint64_t)n > wanted) {
            char operation[64];
            snprintf(operation, sizeof operation, "reading at offset %zu of", offset + *got);
            s->unknown = true;
            return file_fail(QUERN_INPUT, operation, s->path, n);
        }
        interruptions = 0;
        *got += (size_t)n;
    }
    return QUERN_OK;
}

typedef struct buffer {
    uint8_t *data;
    int64_t capacity, used;
} buffer;

/* Makes room for one more byte at least; the caller has checked that used < limit. */
static quern_status buffer_extend(const quern_host *host, buffer *b, size_t limit) {
    const int64_t most = limit < INT64_MAX ? (int64_t)limit : INT64_MAX;
    int64_t larger;
    if (!count_multiply(b->capacity < 2048 ? 2048 : b->capacity, 2, &larger) || larger > most)
        larger = most;
    uint8_t *data;
    QUERN_TRY(memory_allocate(host, &data, larger, 1, "a file's content"));
    if (b->used > 0) memcpy(data, b->data, (size_t)b->used);
    memory_release(host, b->data, b->capacity, 1);
    b->data = data;
    b->capacity = larger;
    return QUERN_OK;
}

/* The caller releases by the exact length, so a longer buffer is copied down. */
static quern_status buffer_finish(const quern_host *host, buffer *b, uint8_t **data,
                                  size_t *bytes) {
    if (b->used < b->capacity) {
        uint8_t *exact;
        const quern_status status = memory_allocate(host, &exact, b->used, 1, "a file's content");
        if (status != QUERN_OK) return status;
        if (b->used > 0) memcpy(exact, b->data, (size_t)b->used);
        memory_release(host, b->data, b->capacity, 1);
        b->data = exact;
    }
    *data = b->data;
    *bytes = (size_t)b->used;
    *b = (buffer){0};
    return QUERN_OK;
}

/* The size that info() gave is only a first guess, as the file may change, or be no plain file:
 * when the buffer is full, reading one byte more tells whether the file ends there. */
static quern_status read_to_end(source *s, size_t limit, buffer *b) {
    for (;;) {
        const size_t room = (size_t)(b->capacity - b->used);
        size_t got = 0;
        if (room > 0) QUERN_TRY(read_at(s, b->data + b->used, room, (size_t)b->used, &got));
        b->used += (int64_t)got;
        if (got < room) return QUERN_OK;
        uint8_t next;
        QUERN_TRY(read_at(s, &next, 1, (size_t)b->used, &got));
        if (got == 0) return QUERN_OK;
        if ((uint64_t)b->used >= limit)
            return quern_fail(QUERN_INPUT, "%s: longer than the %zu bytes that are accepted here",
                              s->path, limit);
        QUERN_TRY(buffer_extend(s->host, b, limit));
        b->data[b->used++] = next;
    }
}

static quern_status expected_size(source *s, size_t limit, int64_t *out) {
    quern_file_info info = {0};
    const int64_t failure = file_info(s->host, s->path, &info);
    s->unknown = file_failure_is_unknown(failure);
    if (failure < 0) return file_fail(QUERN_INPUT, "reading", s->path, failure);
    if (info.is_directory) return quern_fail(QUERN_INPUT, "reading %s: it is a directory", s->path);
    if (info.byte_count > 0 && (uint64_t)info.byte_count > limit)
        return quern_fail(QUERN_INPUT,
                          "%s: %" PRId64 " bytes, longer than the %zu that are accepted here",
                          s->path, info.byte_count, limit);
    *out = info.byte_count > 0 ? info.byte_count : 0;
    return QUERN_OK;
}

static quern_status open_and_read(source *s, size_t limit, uint8_t **data, size_t *bytes) {
    const quern_host *host = s->host;
    int64_t size = 0;
    QUERN_TRY(expected_size(s, limit, &size));
    s->file = open_retrying(host, s->path, QUERN_FILE_READ);
    s->unknown = file_failure_is_unknown(s->file);
    if (s->file < 0) return file_fail(QUERN_INPUT, "opening", s->path, s->file);
    buffer b = {.capacity = size};
    quern_status status = memory_allocate(host, &b.data, b.capacity, 1, "a file's content");
    if (status != QUERN_OK) b.capacity = 0;
    if (status == QUERN_OK) status = read_to_end(s, limit, &b);
    if (status == QUERN_OK) status = buffer_finish(host, &b, data, bytes);
    memory_release(host, b.data, b.capacity, 1);
    host->files.close(host->files.self, s->file); /* nothing was written: nothing can be lost */
    return status;
}

quern_status file_read_judged(const quern_host *host, const char *path, size_t limit,
                              uint8_t **data, size_t *bytes, bool *unknown) {
    source s = {.host = host, .path = path};
    *data = NULL;
    *bytes = 0;
    const quern_status status = open_and_read(&s, limit, data, bytes);
    *unknown = s.unknown;
    return status;
}

quern_status file_read_pieces(const quern_host *host, const char *path, uint8_t *through,
                              size_t size, file_piece *piece, void *self) {
    source s = {.host = host, .path = path};
    s.file = open_retrying(host, path, QUERN_FILE_READ);
    if (s.file < 0) return file_fail(QUERN_INPUT, "opening", path, s.file);
    quern_status status = QUERN_OK;
    size_t got = size, offset = 0;
    while (status == QUERN_OK && got == size) {
        status = read_at(&s, through, size, offset, &got);
        if (status == QUERN_OK) piece(self, through, got);
        offset += got;
    }
    host->files.close(host->files.self, s.file);
    return status;
}

quern_status file_read_all(const quern_host *host, const char *path, size_t limit, uint8_t **data,
                           size_t *bytes) {
    bool unknown;
    return file_read_judged(host, path, limit, data, bytes, &unknown);
}

quern_status file_writer_open(file_writer *w, const quern_host *host, const char *path,
                              quern_file_mode mode) {
    *w = (file_writer){.host = host, .path = path, .file = open_retrying(host, path, mode)};
    if (w->file < 0) w->status = file_fail(QUERN_IO, "creating", path, w->file);
    return w->status;
}

quern_status file_writer_write(file_writer *w, const void *from, size_t bytes) {
    const quern_files *f = &w->host->files;
    int interruptions = 0;
    for (size_t done = 0; w->status == QUERN_OK && done < bytes;) {
        const int64_t n = f->write(f->self, w->file, (const uint8_t *)from + done, bytes - done);
        if (n == -EINTR && ++interruptions < FILE_INTERRUPTIONS_MAX) continue;
        if (n <= 0 || (uint64_t)n > bytes - done) {
            w->status = file_fail(QUERN_IO, "writing", w->path, n == 0 ? -EIO : n);
        } else {
            interruptions = 0;
            done += (size_t)n;
        }
    }
    return w->status;
}

quern_status file_writer_truncate(file_writer *w, int64_t bytes) {
    if (w->status != QUERN_OK) return w->status;
    const quern_files *f = &w->host->files;
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = f->truncate(f->self, w->file, bytes);
    if (failure < 0) w->status = file_fail(QUERN_IO, "truncating", w->path, failure);
    return w->status;
}

quern_status file_writer_sync(file_writer *w) {
    if (w->status != QUERN_OK) return w->status;
    const quern_files *f = &w->host->files;
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = f->sync(f->self, w->file);
    if (failure < 0) w->status = file_fail(QUERN_IO, "syncing", w->path, failure);
    return w->status;
}

/* close is never repeated: on EINTR the descriptor is gone already (Linux). */
quern_status file_writer_close(file_writer *w) {
    if (w->file < 0) return w->status;
    const int64_t failure = w->host->files.close(w->host->files.self, w->file);
    w->file = -1;
    if (w->status == QUERN_OK && failure < 0 && failure != -EINTR)
        w->status = file_fail(QUERN_IO, "closing", w->path, failure);
    return w->status;
}

quern_status file_find(const quern_host *host, const char *path, bool *found) {
    quern_file_info info;
    const int64_t failure = file_info(host, path, &info);
    *found = failure == 0;
    if (*found || failure == -ENOENT) return QUERN_OK;
    return file_fail(QUERN_INPUT, "looking for", path, failure);
}

quern_status file_rename(const quern_host *host, const char *from, const char *to) {
    const quern_files *f = &host->files;
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = f->rename(f->self, from, to);
    if (failure >= 0) return QUERN_OK;
    char operation[64];
    const char *slash = strrchr(to, '/');
    snprintf(operation, sizeof operation, "renaming to %.48s", slash != NULL ? slash + 1 : to);
    return file_fail(QUERN_IO, operation, from, failure);
}

quern_status file_remove(const quern_host *host, const char *path) {
    const quern_files *f = &host->files;
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = f->unlink(f->self, path);
    return failure == 0 ? QUERN_OK : file_fail(QUERN_IO, "removing", path, failure);
}

void file_discard(const quern_host *host, const char *path) {
    error_text reason;
    error_save(&reason);
    if (file_remove(host, path) != QUERN_OK)
        log_write(host, QUERN_LOG_WARNING, "half a file stays: %s", quern_error());
    error_restore(&reason);
}

quern_status file_sync_directory(const quern_host *host, const char *path) {
    file_writer w;
    quern_status status = file_writer_open(&w, host, path, QUERN_FILE_DIRECTORY);
    if (status == QUERN_OK) status = file_writer_sync(&w);
    const quern_status closed = file_writer_close(&w);
    return status != QUERN_OK ? status : closed;
}

void file_parent(const char *path, char *to) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    memcpy(to, path, length);
    if (length == 0) to[length++] = '.';
    to[length] = '\0';
}

/* A directory that is there already is fine; a file of that name is not. */
static quern_status make_directory(const quern_host *host, const char *path) {
    const quern_files *f = &host->files;
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < FILE_INTERRUPTIONS_MAX; i++)
        failure = f->make_directory(f->self, path);
    if (failure >= 0) return QUERN_OK;
    quern_file_info info;
    if (failure == -EEXIST && f->info(f->self, path, &info) >= 0 && info.is_directory)
        return QUERN_OK;
    return file_fail(QUERN_IO, "making directory", path, failure);
}

quern_status file_make_directories(const quern_host *host, const char *path) {
    const int64_t bytes = (int64_t)strlen(path) + 1;
    if (bytes == 1) return quern_fail(QUERN_IO, "making a directory: its path is empty");
    char *prefix;
    QUERN_TRY(memory_allocate(host, &prefix, bytes, 1, "a path"));
    memcpy(prefix, path, (size_t)bytes);
    quern_status status = QUERN_OK;
    for (char *end = prefix + 1; status == QUERN_OK && *end != 0; end++) {
        if (*end != '/' || end[-1] == '/') continue;
        *end = 0;
        quern_file_info info; /* a parent that exists may be one where nothing can be made */
        if (host->files.info(host->files.self, prefix, &info) < 0 || !info.is_directory)
            status = make_directory(host, prefix);
        *end = '/';
    }
    if (status == QUERN_OK) status = make_directory(host, path);
    memory_release(host, prefix, bytes, 1);
    return status;
}
