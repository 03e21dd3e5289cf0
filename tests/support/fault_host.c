/* fault_host.c - every operation is counted, fails when planned, and otherwise goes to the inner
 * host. The size asked for is kept in front of each block, to compare it when it is released. */
#include "fault_host.h"

#include <errno.h>
#include <string.h>

#define BLOCK_HEADER 64 /* keeps the alignment */

/* 0, or the negated errno with which this operation fails. */
static int64_t failure_of(fault_host *f, fault_kind kind) {
    const int64_t n = (int64_t)atomic_fetch_add(&f->count[kind], 1) + 1;
    const fault *plan = &f->fault[kind];
    if (plan->at == 0 || !(n == plan->at || (plan->for_ever && n > plan->at))) return 0;
    atomic_fetch_add(&f->fired[kind], 1);
    return plan->error != 0 ? -(int64_t)plan->error : -(int64_t)EIO;
}

static void *fault_allocate(void *self, size_t bytes) {
    fault_host *f = self;
    if (failure_of(f, FAULT_ALLOCATE) != 0 || bytes > SIZE_MAX - BLOCK_HEADER) return NULL;
    unsigned char *block =
        f->inner.allocator.allocate(f->inner.allocator.self, bytes + BLOCK_HEADER);
    if (block == NULL) return NULL;
    memcpy(block, &bytes, sizeof bytes);
    memset(block + BLOCK_HEADER, 0xFF, bytes);
    atomic_fetch_add(&f->live_allocations, 1);
    atomic_fetch_add(&f->live_bytes, (int_fast64_t)bytes);
    return block + BLOCK_HEADER;
}

static void fault_release(void *self, void *pointer, size_t bytes) {
    fault_host *f = self;
    unsigned char *block = (unsigned char *)pointer - BLOCK_HEADER;
    size_t asked_for;
    memcpy(&asked_for, block, sizeof asked_for);
    if (asked_for != bytes) atomic_fetch_add(&f->bad_releases, 1);
    atomic_fetch_sub(&f->live_allocations, 1);
    atomic_fetch_sub(&f->live_bytes, (int_fast64_t)asked_for);
    f->inner.allocator.release(f->inner.allocator.self, block, asked_for + BLOCK_HEADER);
}

static int64_t fault_open(void *self, const char *path, quern_file_mode mode) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_OPEN);
    if (failure != 0) return failure;
    const int64_t file = f->inner.files.open(f->inner.files.self, path, mode);
    if (file >= 0) atomic_fetch_add(&f->open_files, 1);
    return file;
}

static size_t at_most(size_t bytes, size_t bound) {
    return bound > 0 && bytes > bound ? bound : bytes;
}

static int64_t fault_read(void *self, int64_t file, void *to, size_t bytes, int64_t offset) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_READ);
    if (failure != 0) return failure;
    return f->inner.files.read(f->inner.files.self, file, to, at_most(bytes, f->read_at_most),
                               offset);
}

static int64_t fault_write(void *self, int64_t file, const void *from, size_t bytes) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_WRITE);
    if (failure != 0) return failure;
    return f->inner.files.write(f->inner.files.self, file, from, at_most(bytes, f->write_at_most));
}

static int64_t fault_truncate(void *self, int64_t file, int64_t bytes) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_TRUNCATE);
    return failure != 0 ? failure : f->inner.files.truncate(f->inner.files.self, file, bytes);
}

static int64_t fault_sync(void *self, int64_t file) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_SYNC);
    return failure != 0 ? failure : f->inner.files.sync(f->inner.files.self, file);
}

static int64_t fault_close(void *self, int64_t file) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_CLOSE);
    const int64_t result = f->inner.files.close(f->inner.files.self, file);
    atomic_fetch_sub(&f->open_files, 1);
    return failure != 0 ? failure : result;
}

static int64_t fault_info(void *self, const char *path, quern_file_info *out) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_INFO);
    return failure != 0 ? failure : f->inner.files.info(f->inner.files.self, path, out);
}

static int64_t fault_rename(void *self, const char *from, const char *to) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_RENAME);
    return failure != 0 ? failure : f->inner.files.rename(f->inner.files.self, from, to);
}

static int64_t fault_unlink(void *self, const char *path) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_UNLINK);
    return failure != 0 ? failure : f->inner.files.unlink(f->inner.files.self, path);
}

static int64_t fault_make_directory(void *self, const char *path) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_MAKE_DIRECTORY);
    return failure != 0 ? failure : f->inner.files.make_directory(f->inner.files.self, path);
}

static int64_t fault_remove_directory(void *self, const char *path) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_REMOVE_DIRECTORY);
    return failure != 0 ? failure : f->inner.files.remove_directory(f->inner.files.self, path);
}

static int64_t fault_list(void *self, const char *path,
                          void (*visit)(void *context, const char *name), void *context) {
    fault_host *f = self;
    const int64_t failure = failure_of(f, FAULT_LIST);
    return failure != 0 ? failure : f->inner.files.list(f->inner.files.self, path, visit, context);
}

void fault_host_begin(fault_host *f, const quern_host *inner) {
    memset(f, 0, sizeof *f);
    f->inner = inner != NULL ? *inner : quern_host_default();
    f->host = f->inner;
    f->host.allocator = (quern_allocator){fault_allocate, fault_release, f};
    f->host.files = (quern_files){
        .open = fault_open,
        .read = fault_read,
        .write = fault_write,
        .truncate = fault_truncate,
        .sync = fault_sync,
        .close = fault_close,
        .info = fault_info,
        .rename = fault_rename,
        .unlink = fault_unlink,
        .make_directory = fault_make_directory,
        .remove_directory = fault_remove_directory,
        .list = fault_list,
        .self = f,
    };
}

int64_t fault_host_live(fault_host *f) {
    return (int64_t)(atomic_load(&f->live_allocations) + atomic_load(&f->open_files) +
                     atomic_load(&f->bad_releases));
}

bool fault_is_named(fault_kind kind, const char *sentence) {
    static const char *const words[FAULT_KIND_COUNT][3] = {
        [FAULT_OPEN] = {"opening ", "creating "},
        [FAULT_READ] = {"reading at offset "},
        [FAULT_WRITE] = {"writing "},
        [FAULT_TRUNCATE] = {"truncating "},
        [FAULT_SYNC] = {"syncing "},
        [FAULT_CLOSE] = {"closing "},
        [FAULT_INFO] = {"reading /", "looking ", "asking the size of "},
        [FAULT_RENAME] = {"renaming to "},
        [FAULT_UNLINK] = {"removing "},
        [FAULT_MAKE_DIRECTORY] = {"making directory "},
        [FAULT_REMOVE_DIRECTORY] = {"removing "},
        [FAULT_LIST] = {"listing "},
    };
    for (int i = 0; i < 3; i++)
        if (words[kind][i] != NULL && strstr(sentence, words[kind][i]) != NULL) return true;
    return false;
}

bool fault_host_fired(fault_host *f, fault_kind kind) { return atomic_load(&f->fired[kind]) > 0; }
