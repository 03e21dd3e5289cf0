/* file.h - whole-file reading and sequential writing over the replaceable file operations.
 * EINTR and short transfers are retried here; every failure is a sentence with operation, path and
 * cause (INPUT when reading, IO when writing). */
#ifndef QUERN_BASE_FILE_H
#define QUERN_BASE_FILE_H

#include <quern/host.h>

/* The whole file; release with memory_release(host, data, bytes, 1). limit: refuse longer ones. */
QUERN_MUST_CHECK quern_status file_read_all(const quern_host *host, const char *path, size_t limit,
                                            uint8_t **data, size_t *bytes);

/* The same. *unknown: it failed in a way that says nothing about the file (no right to read it, no
 * descriptor or memory left, a device that does not answer), so that nobody may call it missing or
 * damaged. */
QUERN_MUST_CHECK quern_status file_read_judged(const quern_host *host, const char *path,
                                               size_t limit, uint8_t **data, size_t *bytes,
                                               bool *unknown);

/* The whole file, `size` bytes at a time by way of `through`; the last piece is shorter. */
typedef void file_piece(void *self, const void *data, size_t bytes);
QUERN_MUST_CHECK quern_status file_read_pieces(const quern_host *host, const char *path,
                                               uint8_t *through, size_t size, file_piece *piece,
                                               void *self);

/* The whole file, inflating gzip when the content starts with its magic; `limit` bounds the
 * inflated size too. */
QUERN_MUST_CHECK quern_status file_read_inflated(const quern_host *host, const char *path,
                                                 size_t limit, uint8_t **data, size_t *bytes);

typedef struct file_writer {
    const quern_host *host;
    const char *path; /* borrowed */
    int64_t file;
    quern_status status; /* the first failure sticks */
} file_writer;
QUERN_MUST_CHECK quern_status file_writer_open(file_writer *w, const quern_host *host,
                                               const char *path, quern_file_mode mode);
QUERN_MUST_CHECK quern_status file_writer_write(file_writer *w, const void *from, size_t bytes);
/* The file ends behind `bytes`; what is written next comes there in a file opened to append. */
QUERN_MUST_CHECK quern_status file_writer_truncate(file_writer *w, int64_t bytes);
QUERN_MUST_CHECK quern_status file_writer_sync(file_writer *w);
QUERN_MUST_CHECK quern_status file_writer_close(file_writer *w); /* safe twice */

/* What is at `path`: 0 or a negated errno. */
QUERN_MUST_CHECK int64_t file_info(const quern_host *host, const char *path, quern_file_info *out);

/* Whether there is anything of that name; INPUT when that cannot be told. */
QUERN_MUST_CHECK quern_status file_find(const quern_host *host, const char *path, bool *found);

/* IO; an existing file of the new name is replaced. */
QUERN_MUST_CHECK quern_status file_rename(const quern_host *host, const char *from, const char *to);

/* IO. */
QUERN_MUST_CHECK quern_status file_remove(const quern_host *host, const char *path);

/* What was half written goes; this thread's sentence stays, what cannot be removed is logged. */
void file_discard(const quern_host *host, const char *path);

/* IO; what was created, renamed or removed in it is durable. */
QUERN_MUST_CHECK quern_status file_sync_directory(const quern_host *host, const char *path);

/* The directory that holds `path`, into `to` of strlen(path) + 2 bytes. */
void file_parent(const char *path, char *to);

/* mkdir -p. */
QUERN_MUST_CHECK quern_status file_make_directories(const quern_host *host, const char *path);

/* Whether this failure of reading says nothing about the file: all but that there is none. */
bool file_failure_is_unknown(int64_t failure);

/* "operation path: cause", the cause that of a negated errno. */
quern_status file_fail(quern_status status, const char *operation, const char *path,
                       int64_t failure);

#endif
