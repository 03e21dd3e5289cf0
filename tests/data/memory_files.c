#include "memory_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static int64_t find(const memory_files *files, const char *path) {
    for (int32_t i = 0; i < files->count; i++)
        if (strcmp(files->file[i].path, path) == 0) return i;
    return -ENOENT;
}

static int64_t files_open(void *self, const char *path, quern_file_mode mode) {
    return mode == QUERN_FILE_READ ? find(self, path) : -EROFS;
}

static int64_t files_read(void *self, int64_t file, void *to, size_t bytes, int64_t offset) {
    const memory_file *f = &((const memory_files *)self)->file[file];
    const size_t at = (size_t)offset < f->bytes ? (size_t)offset : f->bytes;
    const size_t count = bytes < f->bytes - at ? bytes : f->bytes - at;
    if (count > 0) memcpy(to, (const uint8_t *)f->data + at, count);
    return (int64_t)count;
}

static int64_t files_write(void *self, int64_t file, const void *from, size_t bytes) {
    (void)self, (void)file, (void)from, (void)bytes;
    return -EROFS;
}

static int64_t files_handle(void *self, int64_t file) {
    (void)self, (void)file;
    return 0;
}

static int64_t files_info(void *self, const char *path, quern_file_info *out) {
    const memory_files *files = self;
    const int64_t i = find(files, path);
    *out = (quern_file_info){0};
    if (i >= 0) {
        out->byte_count = (int64_t)files->file[i].bytes;
        out->is_directory = files->file[i].data == NULL;
    }
    return i < 0 ? i : 0;
}

static int64_t files_rename(void *self, const char *from, const char *to) {
    (void)self, (void)from, (void)to;
    return -EROFS;
}

static int64_t files_truncate(void *self, int64_t file, int64_t bytes) {
    (void)self, (void)file, (void)bytes;
    return -EROFS;
}

static int64_t files_path(void *self, const char *path) {
    (void)self, (void)path;
    return -EROFS;
}

static int64_t files_list(void *self, const char *path,
                          void (*visit)(void *context, const char *name), void *context) {
    (void)self, (void)path, (void)visit, (void)context;
    return -EROFS;
}

/* The default allocator rounds up to whole cache lines; this one does not, so that ASan sees the
 * first byte read beyond. */
static void *exact_allocate(void *self, size_t bytes) {
    void *pointer;
    (void)self;
    return posix_memalign(&pointer, 64, bytes) == 0 ? pointer : NULL;
}

static void exact_release(void *self, void *pointer, size_t bytes) {
    (void)self, (void)bytes;
    free(pointer);
}

quern_host memory_files_host(memory_files *files) {
    quern_host host = quern_host_default();
    host.allocator = (quern_allocator){.allocate = exact_allocate, .release = exact_release};
    host.files = (quern_files){
        .open = files_open,
        .read = files_read,
        .write = files_write,
        .truncate = files_truncate,
        .sync = files_handle,
        .close = files_handle,
        .info = files_info,
        .rename = files_rename,
        .unlink = files_path,
        .make_directory = files_path,
        .remove_directory = files_path,
        .list = files_list,
        .self = files,
    };
    return host;
}

quern_device device_of_host(const quern_host *host) {
    return (quern_device){.host = host != NULL ? *host : quern_host_default()};
}

size_t make_idx(uint8_t *to, int rank, const uint32_t *dims, const uint8_t *values, size_t bytes) {
    const uint8_t magic[4] = {0, 0, 8, (uint8_t)rank};
    memcpy(to, magic, 4);
    for (int d = 0; d < rank; d++)
        for (int k = 0; k < 4; k++) to[4 + 4 * d + k] = (uint8_t)(dims[d] >> (24 - 8 * k));
    memcpy(to + 4 + 4 * rank, values, bytes);
    return 4 + 4 * (size_t)rank + bytes;
}

size_t make_npy(uint8_t *to, const char *descr, const char *shape, const void *values,
                size_t bytes) {
    char header[256];
    int length = snprintf(header, sizeof header,
                          "{'descr': %s, 'fortran_order': False, 'shape': %s, }", descr, shape);
    while ((10 + length + 1) % 64 != 0) header[length++] = ' ';
    header[length++] = '\n';
    memcpy(to, "\x93NUMPY\x01\x00", 8);
    to[8] = (uint8_t)length;
    to[9] = (uint8_t)(length >> 8);
    memcpy(to + 10, header, (size_t)length);
    memcpy(to + 10 + length, values, bytes);
    return 10 + (size_t)length + bytes;
}

static void put_u32(uint8_t *to, uint32_t value) {
    for (int k = 0; k < 4; k++) to[k] = (uint8_t)(value >> (8 * k));
}

size_t make_gzip(uint8_t *to, const uint8_t *from, size_t bytes) {
    static const uint8_t header[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
    memcpy(to, header, 10);
    to[10] = 1; /* the last block, stored */
    to[11] = (uint8_t)bytes;
    to[12] = (uint8_t)(bytes >> 8);
    to[13] = (uint8_t)~bytes;
    to[14] = (uint8_t) ~(bytes >> 8);
    memcpy(to + 15, from, bytes);
    put_u32(to + 15 + bytes, (uint32_t)crc32(0, from, (uInt)bytes));
    put_u32(to + 19 + bytes, (uint32_t)bytes);
    return 23 + bytes;
}
