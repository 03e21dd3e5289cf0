/* power_disk.h - a disk in memory that can lose its power.
 *
 * It behaves like a file system to the program under test, and keeps a log of what was done to it.
 * A cut at a position of the log gives a disk as it may look after the power went there: whatever
 * was synced before is there, anything else may or may not be.
 *
 *   bytes     of a file not synced since they were written: there, lost, cut, or read as zeros
 *   entries   made, renamed or removed in a directory not synced since: done or not done, each on
 *             its own, in any combination; one rename is never half done
 *
 * That is more than any file system does, so what survives here survives there.
 *
 *     power_disk disk = {0};
 *     power_disk_begin(&disk);
 *     quern_host host = power_disk_host(&disk);
 *     … save, save, power_disk_mark(&disk, 1), save …
 *     power_disk cut = {0};
 *     power_disk_cut(&disk, position, seed, &cut);
 *     … read from power_disk_host(&cut), expect power_disk_marked(&disk, position) or later …
 *
 * One thread at a time. Paths are absolute. */
#ifndef QUERN_TESTS_SUPPORT_POWER_DISK_H
#define QUERN_TESTS_SUPPORT_POWER_DISK_H

#include <quern/host.h>

#define DISK_NAME 64
#define DISK_HANDLES 16

typedef struct disk_entry {
    char name[DISK_NAME];
    int32_t node;
} disk_entry;

typedef struct disk_node {
    bool is_directory;
    uint8_t *data;
    size_t bytes, capacity;
    disk_entry *entries;
    int32_t entry_count, entry_capacity;
} disk_node;

typedef enum disk_action {
    DISK_CREATE,   /* an entry `name` in `directory` for the empty file or directory `node` */
    DISK_RENAME,   /* `name` of `node` in `directory` becomes `to`, in the same directory */
    DISK_REMOVE,   /* `name` of `node` goes from `directory` */
    DISK_WRITE,    /* data at an offset of `node` */
    DISK_TRUNCATE, /* `node` becomes `bytes` long */
    DISK_SYNC,     /* of `node` */
    DISK_SYNC_ALL,
    DISK_MARK,
} disk_action;

typedef struct disk_op {
    disk_action action;
    int32_t directory, node;
    bool is_directory;
    char name[DISK_NAME], to[DISK_NAME];
    uint8_t *data;
    size_t bytes, offset;
    int64_t mark;
} disk_op;

typedef struct disk_handle {
    bool open;
    int32_t node;
} disk_handle;

typedef struct power_disk {
    disk_node *nodes; /* 0 is the root */
    int32_t node_count, node_capacity;
    disk_op *log;
    int64_t log_count, log_capacity;
    disk_handle handles[DISK_HANDLES];
    int64_t sync_count;  /* so far */
    int64_t ignore_sync; /* the n-th sync, from 1, does nothing and says that it did; 0: none */
} power_disk;

void power_disk_begin(power_disk *disk);
void power_disk_end(power_disk *disk); /* of a zeroed one too */

/* The default host with this disk as its files. */
quern_host power_disk_host(power_disk *disk);

/* Everything is on the disk: as after a long idle time. */
void power_disk_settle(power_disk *disk);
/* What the program has been promised so far. */
void power_disk_mark(power_disk *disk, int64_t value);
int64_t power_disk_marked(const power_disk *disk, int64_t position); /* 0: nothing yet */

/* *out is begun anew with what is left after the first `position` operations of the log. seed 0:
 * nothing that was not synced; 1: all of it; others: a combination. */
void power_disk_cut(const power_disk *disk, int64_t position, uint64_t seed, power_disk *out);

/* *out is begun anew as the disk is when only the program was killed after `position` operations:
 * nothing is lost, but what was not synced is still not, and a later cut of *out can lose it. */
void power_disk_kill(const power_disk *disk, int64_t position, power_disk *out);

int32_t power_disk_open_files(const power_disk *disk);

/* For tests that damage files: the file's node, or NULL. */
disk_node *power_disk_find(power_disk *disk, const char *path);

/* Used by the two files of this disk. */
int32_t disk_add_node(power_disk *disk, bool is_directory);
disk_entry *disk_find_entry(disk_node *directory, const char *name);
void disk_add_entry(disk_node *directory, const char *name, int32_t node);
void disk_remove_entry(disk_node *directory, const char *name);
void disk_write_at(disk_node *node, size_t offset, const uint8_t *from, size_t bytes);
void disk_resize(disk_node *node, size_t bytes); /* what is new reads as zeros */
disk_op *disk_add_op(power_disk *disk, disk_action action);

#endif
