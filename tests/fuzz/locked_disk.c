#include "locked_disk.h"

static int64_t unlock(locked_disk *d, int64_t result) {
    pthread_mutex_unlock(&d->lock);
    return result;
}

static const quern_files *lock(locked_disk *d) {
    pthread_mutex_lock(&d->lock);
    return &d->inner.files;
}

static int64_t disk_open(void *self, const char *path, quern_file_mode mode) {
    const quern_files *f = lock(self);
    return unlock(self, f->open(f->self, path, mode));
}

static int64_t disk_read(void *self, int64_t file, void *to, size_t bytes, int64_t offset) {
    const quern_files *f = lock(self);
    return unlock(self, f->read(f->self, file, to, bytes, offset));
}

static int64_t disk_write(void *self, int64_t file, const void *from, size_t bytes) {
    const quern_files *f = lock(self);
    return unlock(self, f->write(f->self, file, from, bytes));
}

static int64_t disk_sync(void *self, int64_t file) {
    const quern_files *f = lock(self);
    return unlock(self, f->sync(f->self, file));
}

static int64_t disk_close(void *self, int64_t file) {
    const quern_files *f = lock(self);
    return unlock(self, f->close(f->self, file));
}

static int64_t disk_info(void *self, const char *path, quern_file_info *out) {
    const quern_files *f = lock(self);
    return unlock(self, f->info(f->self, path, out));
}

static int64_t disk_rename(void *self, const char *from, const char *to) {
    const quern_files *f = lock(self);
    return unlock(self, f->rename(f->self, from, to));
}

static int64_t disk_unlink(void *self, const char *path) {
    const quern_files *f = lock(self);
    return unlock(self, f->unlink(f->self, path));
}

static int64_t disk_make_directory(void *self, const char *path) {
    const quern_files *f = lock(self);
    return unlock(self, f->make_directory(f->self, path));
}

static int64_t disk_remove_directory(void *self, const char *path) {
    const quern_files *f = lock(self);
    return unlock(self, f->remove_directory(f->self, path));
}

static int64_t disk_list(void *self, const char *path,
                         void (*visit)(void *context, const char *name), void *context) {
    const quern_files *f = lock(self);
    return unlock(self, f->list(f->self, path, visit, context));
}

void locked_disk_begin(locked_disk *d) {
    power_disk_begin(&d->disk);
    d->inner = power_disk_host(&d->disk);
    pthread_mutex_init(&d->lock, NULL);
}

void locked_disk_end(locked_disk *d) {
    power_disk_end(&d->disk);
    pthread_mutex_destroy(&d->lock);
}

quern_host locked_disk_host(locked_disk *d) {
    quern_host host = quern_host_default();
    host.files = (quern_files){.open = disk_open,
                               .read = disk_read,
                               .write = disk_write,
                               .sync = disk_sync,
                               .close = disk_close,
                               .info = disk_info,
                               .rename = disk_rename,
                               .unlink = disk_unlink,
                               .make_directory = disk_make_directory,
                               .remove_directory = disk_remove_directory,
                               .list = disk_list,
                               .self = d};
    return host;
}
