/* host.h - what the library asks of the process it lives in.
 *
 * Four seams, each a table of functions that an application (or a test) can replace per device
 * object: host allocation, file operations, clock, and the sinks for log lines and trace ranges.
 * A table left zero is the default: aligned malloc; POSIX files; CLOCK_MONOTONIC; no output at
 * all, because the library never prints. The tables are copied into the device; `self` pointers
 * must outlive it. Every function may be called from any thread, several at once. */
#ifndef QUERN_HOST_H
#define QUERN_HOST_H

#include <quern/status.h>

QUERN_BEGIN_C

/* allocate: at least `bytes` (> 0) aligned to 64 bytes, or NULL. release: `bytes` is what was
 * asked for; pointer is never NULL. */
typedef struct quern_allocator {
    void *(*allocate)(void *self, size_t bytes);
    void (*release)(void *self, void *pointer, size_t bytes);
    void *self;
} quern_allocator;

typedef enum quern_file_mode {
    QUERN_FILE_READ,       /* must exist */
    QUERN_FILE_CREATE,     /* for writing; truncated when it exists */
    QUERN_FILE_CREATE_NEW, /* for writing; -EEXIST when it exists */
    QUERN_FILE_APPEND,     /* for writing at the end; created when missing */
    QUERN_FILE_DIRECTORY,  /* a directory, to sync it */
} quern_file_mode;

typedef struct quern_file_info {
    int64_t byte_count;
    int64_t modified_ns; /* since 1970 */
    bool is_directory;
} quern_file_info;

/* Every function returns 0 or a count on success and a negated errno on failure; none retries,
 * the callers do (EINTR, short reads and writes). `open` returns a handle >= 0. `list` calls
 * `visit` with each entry's name except "." and "..", in any order. */
typedef struct quern_files {
    int64_t (*open)(void *self, const char *path, quern_file_mode mode);
    int64_t (*read)(void *self, int64_t file, void *to, size_t bytes, int64_t offset);
    int64_t (*write)(void *self, int64_t file, const void *from, size_t bytes);
    int64_t (*truncate)(void *self, int64_t file, int64_t bytes); /* open for writing */
    int64_t (*sync)(void *self, int64_t file);                    /* fsync; directories too */
    int64_t (*close)(void *self, int64_t file);
    int64_t (*info)(void *self, const char *path, quern_file_info *out);
    int64_t (*rename)(void *self, const char *from, const char *to);
    int64_t (*unlink)(void *self, const char *path);
    int64_t (*make_directory)(void *self, const char *path);
    int64_t (*remove_directory)(void *self, const char *path);
    int64_t (*list)(void *self, const char *path, void (*visit)(void *context, const char *name),
                    void *context);
    void *self;
} quern_files;

typedef struct quern_clock {
    int64_t (*monotonic_ns)(void *self);
    int64_t (*wall_ns)(void *self); /* since 1970 */
    void *self;
} quern_clock;

typedef enum quern_log_level {
    QUERN_LOG_DEBUG,
    QUERN_LOG_INFO,
    QUERN_LOG_WARNING,
    QUERN_LOG_ERROR,
} quern_log_level;

/* One sentence, no newline, valid during the call. */
typedef struct quern_log_sink {
    void (*write)(void *self, quern_log_level level, const char *sentence);
    void *self;
} quern_log_sink;

/* Nested ranges of one thread: `name` is a string that lives as long as the process or the object
 * that it names; `value` is the step, batch or byte count that belongs to the range. */
typedef struct quern_trace_sink {
    void (*begin)(void *self, const char *category, const char *name, int64_t value);
    void (*end)(void *self);
    void *self;
} quern_trace_sink;

typedef struct quern_host {
    quern_allocator allocator;
    quern_files files;
    quern_clock clock;
    quern_log_sink log;
    quern_trace_sink trace;
} quern_host;

/* The defaults described above, for wrapping one of them. */
QUERN_API quern_host quern_host_default(void);

QUERN_END_C
#endif
