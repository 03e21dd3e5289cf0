/* posix_files.c - the default file operations: one system call each, a negated errno on failure,
 * no retry. A handle is a file descriptor, closed on exec. */
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t result(int64_t returned) { return returned < 0 ? -(int64_t)errno : returned; }

static int64_t posix_open(void *self, const char *path, quern_file_mode mode) {
    (void)self;
    static const int flags[] = {
        [QUERN_FILE_READ] = O_RDONLY,
        [QUERN_FILE_CREATE] = O_WRONLY | O_CREAT | O_TRUNC,
        [QUERN_FILE_CREATE_NEW] = O_WRONLY | O_CREAT | O_EXCL,
        [QUERN_FILE_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
        [QUERN_FILE_DIRECTORY] = O_RDONLY | O_DIRECTORY,
    };
    if ((size_t)mode >= sizeof flags / sizeof flags[0]) return -EINVAL;
    return result(open(path, flags[mode] | O_CLOEXEC, 0666));
}

static int64_t posix_read(void *self, int64_t file, void *to, size_t bytes, int64_t offset) {
    (void)self;
    return result(pread((int)file, to, bytes, (off_t)offset));
}

static int64_t posix_write(void *self, int64_t file, const void *from, size_t bytes) {
    (void)self;
    return result(write((int)file, from, bytes));
}

static int64_t posix_truncate(void *self, int64_t file, int64_t bytes) {
    (void)self;
    return result(ftruncate((int)file, (off_t)bytes));
}

static int64_t posix_sync(void *self, int64_t file) { return (void)self, result(fsync((int)file)); }

static int64_t posix_close(void *self, int64_t file) {
    return (void)self, result(close((int)file));
}

static int64_t posix_info(void *self, const char *path, quern_file_info *out) {
    (void)self;
    struct stat s;
    if (stat(path, &s) != 0) return -(int64_t)errno;
    *out = (quern_file_info){
        .byte_count = (int64_t)s.st_size,
        .modified_ns = (int64_t)s.st_mtim.tv_sec * INT64_C(1000000000) + s.st_mtim.tv_nsec,
        .is_directory = S_ISDIR(s.st_mode),
    };
    return 0;
}

static int64_t posix_rename(void *self, const char *from, const char *to) {
    return (void)self, result(rename(from, to));
}

static int64_t posix_unlink(void *self, const char *path) {
    return (void)self, result(unlink(path));
}

static int64_t posix_make_directory(void *self, const char *path) {
    return (void)self, result(mkdir(path, 0777));
}

static int64_t posix_remove_directory(void *self, const char *path) {
    return (void)self, result(rmdir(path));
}

static int64_t posix_list(void *self, const char *path,
                          void (*visit)(void *context, const char *name), void *context) {
    (void)self;
    DIR *directory = opendir(path);
    if (directory == NULL) return -(int64_t)errno;
    int64_t failure = 0;
    for (;;) {
        errno = 0; /* readdir says "end" and "failed" alike */
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            failure = -(int64_t)errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(context, entry->d_name);
    }
    closedir(directory);
    return failure;
}

quern_files host_posix_files(void) {
    return (quern_files){
        .open = posix_open,
        .read = posix_read,
        .write = posix_write,
        .truncate = posix_truncate,
        .sync = posix_sync,
        .close = posix_close,
        .info = posix_info,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .make_directory = posix_make_directory,
        .remove_directory = posix_remove_directory,
        .list = posix_list,
    };
}
