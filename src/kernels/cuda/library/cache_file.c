#include "cache_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CACHE_PATH_BYTES = 2048 };

uint64_t cache_hash(const char *data, size_t bytes) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
    return hash;
}

/* The end of the file before the bytes that it had is -ESTALE. */
static int64_t read_all(const quern_files *f, int64_t file, char *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const int64_t got = f->read(f->self, file, to + done, bytes - done, (int64_t)done);
        if (got == -EINTR) continue;
        if (got <= 0) return got < 0 ? got : -ESTALE;
        done += (size_t)got;
    }
    return 0;
}

/* Of a file that is not there nothing is said. */
static void tell_failure(int64_t failure, char why[CACHE_WHY_BYTES]) {
    char cause[64];
    if (failure == -ENOENT) return;
    if (strerror_r((int)-failure, cause, sizeof cause) != 0) cause[0] = 0;
    snprintf(why, CACHE_WHY_BYTES, "it cannot be read: %s", cause);
}

static char *read_open(const quern_host *host, int64_t file, size_t count,
                       char why[CACHE_WHY_BYTES]) {
    char *data = host->allocator.allocate(host->allocator.self, count + 1);
    if (data == NULL) {
        snprintf(why, CACHE_WHY_BYTES, "there is no memory for its %zu bytes", count);
        return NULL;
    }
    const int64_t status = read_all(&host->files, file, data, count);
    data[count] = 0;
    if (status == 0) return data;
    tell_failure(status, why);
    host->allocator.release(host->allocator.self, data, count + 1);
    return NULL;
}

char *cache_file_read(const quern_host *host, const char *path, size_t limit, size_t *bytes,
                      char why[CACHE_WHY_BYTES]) {
    const quern_files *f = &host->files;
    quern_file_info info;
    *bytes = 0;
    why[0] = 0;
    const int64_t found = f->info(f->self, path, &info);
    if (found != 0)
        tell_failure(found, why);
    else if (info.is_directory || info.byte_count < 0)
        snprintf(why, CACHE_WHY_BYTES, "it is no file");
    else if ((uint64_t)info.byte_count > limit)
        snprintf(why, CACHE_WHY_BYTES, "it has %lld bytes, at most %zu are read",
                 (long long)info.byte_count, limit);
    if (found != 0 || why[0] != 0) return NULL;
    const int64_t file = f->open(f->self, path, QUERN_FILE_READ);
    if (file < 0) {
        tell_failure(file, why);
        return NULL;
    }
    char *data = read_open(host, file, (size_t)info.byte_count, why);
    (void)f->close(f->self, file);
    if (data != NULL) *bytes = (size_t)info.byte_count;
    return data;
}

static void make_folders(const quern_files *f, const char *path) {
    char folder[CACHE_PATH_BYTES];
    for (size_t i = 1; path[i] != 0 && i < sizeof folder; i++) {
        if (path[i] != '/') continue;
        memcpy(folder, path, i);
        folder[i] = 0;
        (void)f->make_directory(f->self, folder); /* mostly there; else the open says so */
    }
}

static bool write_all(const quern_files *f, int64_t file, const char *data, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const int64_t put = f->write(f->self, file, data + done, bytes - done);
        if (put == -EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return f->sync(f->self, file) == 0;
}

bool cache_file_write(const quern_host *host, const char *path, const char *data, size_t bytes) {
    const quern_files *f = &host->files;
    char beside[CACHE_PATH_BYTES];
    /* Two processes may write at once: each has a name of its own, the last rename stays. */
    const int length = snprintf(beside, sizeof beside, "%s.%llx.new", path,
                                (unsigned long long)host->clock.monotonic_ns(host->clock.self));
    if (length < 0 || (size_t)length >= sizeof beside) return false;
    make_folders(f, path);
    const int64_t file = f->open(f->self, beside, QUERN_FILE_CREATE_NEW);
    if (file < 0) return false;
    const bool written = write_all(f, file, data, bytes);
    const bool closed = f->close(f->self, file) == 0;
    if (written && closed && f->rename(f->self, beside, path) == 0) return true;
    (void)f->unlink(f->self, beside);
    return false;
}
