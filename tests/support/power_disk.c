/* power_disk.c - the disk as the program sees it; each change is applied and logged. */
#include "power_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *array, int64_t needed, int64_t *capacity, size_t element) {
    if (needed <= *capacity) return array;
    while (*capacity < needed) *capacity = *capacity < 8 ? 8 : 2 * *capacity;
    void *larger = realloc(array, (size_t)*capacity * element);
    if (larger == NULL) abort();
    return larger;
}

int32_t disk_add_node(power_disk *disk, bool is_directory) {
    int64_t capacity = disk->node_capacity;
    disk->nodes = grow(disk->nodes, disk->node_count + 1, &capacity, sizeof *disk->nodes);
    disk->node_capacity = (int32_t)capacity;
    disk->nodes[disk->node_count] = (disk_node){.is_directory = is_directory};
    return disk->node_count++;
}

disk_entry *disk_find_entry(disk_node *directory, const char *name) {
    for (int32_t i = 0; i < directory->entry_count; i++)
        if (strcmp(directory->entries[i].name, name) == 0) return &directory->entries[i];
    return NULL;
}

void disk_add_entry(disk_node *directory, const char *name, int32_t node) {
    disk_entry *e = disk_find_entry(directory, name);
    if (e == NULL) {
        int64_t capacity = directory->entry_capacity;
        directory->entries =
            grow(directory->entries, directory->entry_count + 1, &capacity, sizeof *e);
        directory->entry_capacity = (int32_t)capacity;
        e = &directory->entries[directory->entry_count++];
        memcpy(e->name, name, strlen(name) + 1);
    }
    e->node = node;
}

void disk_remove_entry(disk_node *directory, const char *name) {
    disk_entry *e = disk_find_entry(directory, name);
    if (e != NULL) *e = directory->entries[--directory->entry_count];
}

void disk_write_at(disk_node *node, size_t offset, const uint8_t *from, size_t bytes) {
    int64_t capacity = (int64_t)node->capacity;
    node->data = grow(node->data, (int64_t)(offset + bytes), &capacity, 1);
    node->capacity = (size_t)capacity;
    if (offset > node->bytes) memset(node->data + node->bytes, 0, offset - node->bytes);
    if (bytes > 0) memcpy(node->data + offset, from, bytes);
    if (offset + bytes > node->bytes) node->bytes = offset + bytes;
}

disk_op *disk_add_op(power_disk *disk, disk_action action) {
    disk->log = grow(disk->log, disk->log_count + 1, &disk->log_capacity, sizeof *disk->log);
    disk_op *op = &disk->log[disk->log_count++];
    memset(op, 0, sizeof *op);
    op->action = action;
    return op;
}

void power_disk_begin(power_disk *disk) {
    power_disk_end(disk);
    disk_add_node(disk, true);
}

void power_disk_end(power_disk *disk) {
    for (int32_t i = 0; i < disk->node_count; i++) {
        free(disk->nodes[i].data);
        free(disk->nodes[i].entries);
    }
    for (int64_t i = 0; i < disk->log_count; i++) free(disk->log[i].data);
    free(disk->nodes);
    free(disk->log);
    *disk = (power_disk){0};
}

int32_t power_disk_open_files(const power_disk *disk) {
    int32_t count = 0;
    for (int i = 0; i < DISK_HANDLES; i++) count += disk->handles[i].open;
    return count;
}

/* The directory that `path` is in, and the last part of its name; -1 when there is none. */
static int32_t parent_of(power_disk *disk, const char *path, char name[DISK_NAME]) {
    int32_t at = 0;
    while (*path == '/') path++;
    for (;;) {
        const size_t length = strcspn(path, "/");
        if (length >= DISK_NAME) return -ENAMETOOLONG;
        memcpy(name, path, length);
        name[length] = '\0';
        path += length;
        while (*path == '/') path++;
        if (*path == '\0') return at;
        const disk_entry *e = disk_find_entry(&disk->nodes[at], name);
        if (e == NULL) return -ENOENT;
        if (!disk->nodes[e->node].is_directory) return -ENOTDIR;
        at = e->node;
    }
}

static int32_t find(power_disk *disk, const char *path) {
    char name[DISK_NAME];
    const int32_t directory = parent_of(disk, path, name);
    if (directory < 0) return directory;
    if (name[0] == '\0') return 0;
    const disk_entry *e = disk_find_entry(&disk->nodes[directory], name);
    return e != NULL ? e->node : -ENOENT;
}

disk_node *power_disk_find(power_disk *disk, const char *path) {
    const int32_t node = find(disk, path);
    return node < 0 ? NULL : &disk->nodes[node];
}

static int32_t create(power_disk *disk, const char *path, bool is_directory) {
    char name[DISK_NAME];
    const int32_t directory = parent_of(disk, path, name);
    if (directory < 0) return directory;
    if (name[0] == '\0' || disk_find_entry(&disk->nodes[directory], name)) return -EEXIST;
    const int32_t node = disk_add_node(disk, is_directory);
    disk_add_entry(&disk->nodes[directory], name, node);
    disk_op *op = disk_add_op(disk, DISK_CREATE);
    op->directory = directory;
    op->node = node;
    op->is_directory = is_directory;
    memcpy(op->name, name, DISK_NAME);
    return node;
}

static int64_t disk_open(void *self, const char *path, quern_file_mode mode) {
    power_disk *disk = self;
    int32_t node = find(disk, path);
    if (node >= 0 && mode == QUERN_FILE_CREATE_NEW) return -EEXIST;
    if (node >= 0 && disk->nodes[node].is_directory != (mode == QUERN_FILE_DIRECTORY))
        return mode == QUERN_FILE_DIRECTORY ? -ENOTDIR : -EISDIR;
    if (node == -ENOENT && mode != QUERN_FILE_READ && mode != QUERN_FILE_DIRECTORY)
        node = create(disk, path, false);
    if (node < 0) return node;
    if (mode == QUERN_FILE_CREATE && disk->nodes[node].bytes > 0) {
        disk->nodes[node].bytes = 0;
        disk_add_op(disk, DISK_TRUNCATE)->node = node;
    }
    for (int i = 0; i < DISK_HANDLES; i++) {
        if (disk->handles[i].open) continue;
        disk->handles[i] = (disk_handle){true, node};
        return i;
    }
    return -EMFILE;
}

static int64_t disk_read(void *self, int64_t file, void *to, size_t bytes, int64_t offset) {
    power_disk *disk = self;
    const disk_node *node = &disk->nodes[disk->handles[file].node];
    const size_t at = (size_t)offset < node->bytes ? (size_t)offset : node->bytes;
    const size_t count = bytes < node->bytes - at ? bytes : node->bytes - at;
    if (count > 0) memcpy(to, node->data + at, count);
    return (int64_t)count;
}

/* Files are only ever written from their beginning to their end. */
static int64_t disk_write(void *self, int64_t file, const void *from, size_t bytes) {
    power_disk *disk = self;
    const int32_t node = disk->handles[file].node;
    const size_t offset = disk->nodes[node].bytes;
    disk_write_at(&disk->nodes[node], offset, from, bytes);
    disk_op *op = disk_add_op(disk, DISK_WRITE);
    op->node = node;
    op->offset = offset;
    op->bytes = bytes;
    op->data = malloc(bytes + 1);
    if (op->data == NULL) abort();
    memcpy(op->data, from, bytes);
    return (int64_t)bytes;
}

void disk_resize(disk_node *node, size_t bytes) {
    if (bytes > node->bytes) disk_write_at(node, bytes, NULL, 0);
    node->bytes = bytes;
}

static int64_t disk_truncate(void *self, int64_t file, int64_t bytes) {
    power_disk *disk = self;
    if (file < 0 || file >= DISK_HANDLES || !disk->handles[file].open) return -EBADF;
    if (bytes < 0) return -EINVAL;
    const int32_t node = disk->handles[file].node;
    disk_resize(&disk->nodes[node], (size_t)bytes);
    disk_op *op = disk_add_op(disk, DISK_TRUNCATE);
    op->node = node;
    op->bytes = (size_t)bytes;
    return 0;
}

static int64_t disk_sync(void *self, int64_t file) {
    power_disk *disk = self;
    if (++disk->sync_count != disk->ignore_sync)
        disk_add_op(disk, DISK_SYNC)->node = disk->handles[file].node;
    return 0;
}

static int64_t disk_close(void *self, int64_t file) {
    ((power_disk *)self)->handles[file].open = false;
    return 0;
}

static int64_t disk_info(void *self, const char *path, quern_file_info *out) {
    power_disk *disk = self;
    const int32_t node = find(disk, path);
    if (node < 0) return node;
    *out = (quern_file_info){.byte_count = (int64_t)disk->nodes[node].bytes,
                             .is_directory = disk->nodes[node].is_directory};
    return 0;
}

static int64_t disk_rename(void *self, const char *from, const char *to) {
    power_disk *disk = self;
    char old_name[DISK_NAME], new_name[DISK_NAME];
    const int32_t directory = parent_of(disk, from, old_name);
    const int32_t other = parent_of(disk, to, new_name);
    if (directory < 0 || other < 0) return directory < 0 ? directory : other;
    if (directory != other) return -EXDEV;
    disk_node *d = &disk->nodes[directory];
    const disk_entry *e = disk_find_entry(d, old_name), *target = disk_find_entry(d, new_name);
    if (e == NULL) return -ENOENT;
    if (target != NULL && disk->nodes[target->node].entry_count > 0) return -ENOTEMPTY;
    const int32_t node = e->node;
    disk_remove_entry(d, old_name);
    disk_add_entry(d, new_name, node);
    disk_op *op = disk_add_op(disk, DISK_RENAME);
    op->directory = directory;
    op->node = node;
    memcpy(op->name, old_name, DISK_NAME);
    memcpy(op->to, new_name, DISK_NAME);
    return 0;
}

static int64_t remove_entry(power_disk *disk, const char *path, bool is_directory) {
    char name[DISK_NAME];
    const int32_t directory = parent_of(disk, path, name);
    if (directory < 0) return directory;
    const disk_entry *e = disk_find_entry(&disk->nodes[directory], name);
    if (e == NULL) return -ENOENT;
    const int32_t node = e->node;
    if (disk->nodes[node].is_directory != is_directory) return is_directory ? -ENOTDIR : -EISDIR;
    if (disk->nodes[node].entry_count > 0) return -ENOTEMPTY;
    disk_remove_entry(&disk->nodes[directory], name);
    disk_op *op = disk_add_op(disk, DISK_REMOVE);
    op->directory = directory;
    op->node = node;
    memcpy(op->name, name, DISK_NAME);
    return 0;
}

static int64_t disk_unlink(void *self, const char *path) { return remove_entry(self, path, false); }

static int64_t disk_remove_directory(void *self, const char *path) {
    return remove_entry(self, path, true);
}

static int64_t disk_make_directory(void *self, const char *path) {
    const int32_t node = create(self, path, true);
    return node < 0 ? node : 0;
}

static int64_t disk_list(void *self, const char *path,
                         void (*visit)(void *context, const char *name), void *context) {
    power_disk *disk = self;
    const int32_t node = find(disk, path);
    if (node < 0) return node;
    if (!disk->nodes[node].is_directory) return -ENOTDIR;
    for (int32_t i = 0; i < disk->nodes[node].entry_count; i++)
        visit(context, disk->nodes[node].entries[i].name);
    return 0;
}

quern_host power_disk_host(power_disk *disk) {
    quern_host host = quern_host_default();
    host.files = (quern_files){
        .open = disk_open,
        .read = disk_read,
        .write = disk_write,
        .truncate = disk_truncate,
        .sync = disk_sync,
        .close = disk_close,
        .info = disk_info,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .make_directory = disk_make_directory,
        .remove_directory = disk_remove_directory,
        .list = disk_list,
        .self = disk,
    };
    return host;
}
