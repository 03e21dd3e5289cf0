/* memory_files.h - a host whose files are buffers of the test, and a device that carries it. */
#ifndef QUERN_TESTS_DATA_MEMORY_FILES_H
#define QUERN_TESTS_DATA_MEMORY_FILES_H

#include "../../src/host/device/device.h"

#include <stdint.h>

#define MEMORY_FILE_MAX 8

typedef struct memory_file {
    const char *path;
    const void *data;
    size_t bytes;
} memory_file;

typedef struct memory_files {
    memory_file file[MEMORY_FILE_MAX];
    int32_t count;
} memory_files;

/* The default host, with `files` as its file operations (reading only) and an allocator that gives
 * exactly the bytes asked for. */
quern_host memory_files_host(memory_files *files);

/* A device as far as datasets look at it: a host. NULL: the default one. */
quern_device device_of_host(const quern_host *host);

/* Samples written by the tests: big-endian 32-bit header words and bytes. Returns the length. */
size_t make_idx(uint8_t *to, int rank, const uint32_t *dims, const uint8_t *values, size_t bytes);
/* A version 1 header for `descr` and `shape` ("(2, 3)"), padded as NumPy does, then the values. */
size_t make_npy(uint8_t *to, const char *descr, const char *shape, const void *values,
                size_t bytes);
/* A gzip member of one stored block. */
size_t make_gzip(uint8_t *to, const uint8_t *from, size_t bytes);

#endif
