/* host.c - the default host tables (aligned malloc, POSIX files and clocks, silent sinks) and the
 * check that an application's own tables are complete. */
#include "host.h"

#include "report.h"
#include "size.h"

#include <stdlib.h>
#include <time.h>

static void *heap_allocate(void *self, size_t bytes) {
    (void)self;
    size_t rounded; /* aligned_alloc wants a multiple of the alignment */
    return size_align(bytes, &rounded) ? aligned_alloc(64, rounded) : NULL;
}

static void heap_release(void *self, void *pointer, size_t bytes) {
    (void)self, (void)bytes;
    free(pointer);
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) return 0;
    return (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t clock_monotonic_ns(void *self) { return (void)self, clock_ns(CLOCK_MONOTONIC); }
static int64_t clock_wall_ns(void *self) { return (void)self, clock_ns(CLOCK_REALTIME); }

static void silent_write(void *self, quern_log_level level, const char *line) {
    (void)self, (void)level, (void)line;
}

static void silent_begin(void *self, const char *category, const char *name, int64_t value) {
    (void)self, (void)category, (void)name, (void)value;
}

static void silent_end(void *self) { (void)self; }

quern_host quern_host_default(void) {
    return (quern_host){
        .allocator = {.allocate = heap_allocate, .release = heap_release},
        .files = host_posix_files(),
        .clock = {.monotonic_ns = clock_monotonic_ns, .wall_ns = clock_wall_ns},
        .log = {.write = silent_write},
        .trace = {.begin = silent_begin, .end = silent_end},
    };
}

typedef enum completeness { TABLE_EMPTY, TABLE_PARTIAL, TABLE_FULL } completeness;

static completeness table_state(int present, int of, const void *self) {
    if (present == of) return TABLE_FULL;
    return present == 0 && self == NULL ? TABLE_EMPTY : TABLE_PARTIAL;
}

static int files_present(const quern_files *f) {
    return !!f->open + !!f->read + !!f->write + !!f->truncate + !!f->sync + !!f->close + !!f->info +
           !!f->rename + !!f->unlink + !!f->make_directory + !!f->remove_directory + !!f->list;
}

static quern_status refuse(const char *table) {
    return quern_fail(QUERN_INVALID,
                      "host.%s: some of its functions are set and some are NULL; set all, or leave "
                      "the table zero for the default",
                      table);
}

#define RESOLVE(table, present, of)                                                                \
    switch (table_state((present), (of), host->table.self)) {                                      \
    case TABLE_EMPTY: host->table = fallback.table; break;                                         \
    case TABLE_PARTIAL: return refuse(#table);                                                     \
    case TABLE_FULL: break;                                                                        \
    }

quern_status host_resolve(quern_host *host) {
    const quern_host fallback = quern_host_default();
    RESOLVE(allocator, !!host->allocator.allocate + !!host->allocator.release, 2)
    RESOLVE(files, files_present(&host->files), 12)
    RESOLVE(clock, !!host->clock.monotonic_ns + !!host->clock.wall_ns, 2)
    RESOLVE(log, !!host->log.write, 1)
    RESOLVE(trace, !!host->trace.begin + !!host->trace.end, 2)
    return QUERN_OK;
}
