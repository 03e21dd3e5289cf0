#include "signal_disk.h"

#include "quern_test.h"

#include <signal.h>
#include <string.h>

typedef enum operation { WRITE, SYNC, RETIRE, OTHER } operation;

/* The library's threads block all signals; here they come on this one, and have come on return. */
static void raise_twice(void) {
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &interrupt, &before) == 0);
    CHECK(raise(SIGINT) == 0);
    CHECK(raise(SIGINT) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

static bool is_partial(const char *path) { return strstr(path, ".partial") != NULL; }

static void come_by(signal_disk *d, operation what, bool in_partial) {
    if (!atomic_load(&d->armed)) return;
    if (d->raised) {
        d->writes += what == WRITE;
        d->syncs += what == SYNC;
        d->retirements += what == RETIRE;
    }
    if (++d->count != d->at) return;
    raise_twice();
    d->raised = true;
    d->in_partial = in_partial;
}

static int64_t open_watched(void *self, const char *path, quern_file_mode mode) {
    signal_disk *d = self;
    d->working_in_partial = is_partial(path);
    if (mode != QUERN_FILE_DIRECTORY) come_by(d, OTHER, is_partial(path)); /* its sync counts */
    return d->inner.open(d->inner.self, path, mode);
}

static int64_t write_watched(void *self, int64_t file, const void *from, size_t bytes) {
    signal_disk *d = self;
    come_by(d, WRITE, d->working_in_partial);
    return d->inner.write(d->inner.self, file, from, bytes);
}

/* What a power cut leaves is not looked at here. */
static int64_t sync_watched(void *self, int64_t file) {
    signal_disk *d = self;
    (void)file;
    come_by(d, SYNC, d->working_in_partial);
    return 0;
}

static int64_t close_watched(void *self, int64_t file) {
    signal_disk *d = self;
    come_by(d, OTHER, d->working_in_partial);
    return d->inner.close(d->inner.self, file);
}

static int64_t info_watched(void *self, const char *path, quern_file_info *out) {
    signal_disk *d = self;
    come_by(d, OTHER, is_partial(path));
    return d->inner.info(d->inner.self, path, out);
}

static int64_t rename_watched(void *self, const char *from, const char *to) {
    signal_disk *d = self;
    come_by(d, strstr(to, ".retired") ? RETIRE : OTHER, false);
    d->published |= atomic_load(&d->armed) && is_partial(from);
    return d->inner.rename(d->inner.self, from, to);
}

static int64_t unlink_watched(void *self, const char *path) {
    signal_disk *d = self;
    come_by(d, OTHER, is_partial(path));
    d->at_retiring |= d->count == d->at && strstr(path, ".retired") != NULL;
    return d->inner.unlink(d->inner.self, path);
}

static int64_t make_directory_watched(void *self, const char *path) {
    signal_disk *d = self;
    come_by(d, OTHER, is_partial(path));
    return d->inner.make_directory(d->inner.self, path);
}

void signal_disk_begin(signal_disk *d, int64_t at) {
    *d = (signal_disk){.host = quern_host_default(), .at = at};
    d->inner = d->host.files;
    d->host.files.open = open_watched;
    d->host.files.write = write_watched;
    d->host.files.sync = sync_watched;
    d->host.files.close = close_watched;
    d->host.files.info = info_watched;
    d->host.files.rename = rename_watched;
    d->host.files.unlink = unlink_watched;
    d->host.files.make_directory = make_directory_watched;
    d->host.files.self = d;
}
