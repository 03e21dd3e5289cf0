/* generation.c - names of checkpoints, and the file operations on whole directories of them. None
 * of them allocates but reading a list; EINTR is repeated, every failure a sentence. */
#include "generation.h"
#include "manifest.h"
#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERRUPTIONS_MAX 1000
#define PREFIX "step-"

static const char *const suffixes[GENERATION_KIND_COUNT] = {
    [GENERATION_WHOLE] = "",
    [GENERATION_REPLACED] = ".replaced",
    [GENERATION_PARTIAL] = ".partial",
    [GENERATION_RETIRED] = ".retired",
};

bool generation_parse(const char *name, generation *out) {
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return false;
    const char *digits = name + sizeof PREFIX - 1;
    const size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 18 || (digits[0] == '0' && count > 1)) return false;
    for (int kind = 0; kind < GENERATION_KIND_COUNT; kind++) {
        if (strcmp(digits + count, suffixes[kind]) != 0) continue;
        *out = (generation){strtoll(digits, NULL, 10), (generation_kind)kind};
        return true;
    }
    return false;
}

void generation_path(char *to, size_t capacity, const char *directory, generation g) {
    snprintf(to, capacity, "%s/" PREFIX "%" PRId64 "%s", directory, g.step, suffixes[g.kind]);
}

typedef struct listing {
    const quern_host *host;
    generation_list *list;
    quern_status status;
} listing;

static void visit_name(void *context, const char *name) {
    listing *l = context;
    generation g;
    if (l->status != QUERN_OK || !generation_parse(name, &g)) return;
    l->status = memory_grow(l->host, &l->list->items, &l->list->capacity, l->list->count,
                            l->list->count + 1, sizeof g, "the names of checkpoints");
    if (l->status == QUERN_OK) l->list->items[l->list->count++] = g;
}

static int compare_generations(const void *a, const void *b) {
    const generation *x = a, *y = b;
    if (x->step != y->step) return x->step > y->step ? -1 : 1;
    return (x->kind > y->kind) - (x->kind < y->kind);
}

quern_status generation_list_read(generation_list *out, const quern_host *host,
                                  const char *directory) {
    const quern_files *f = &host->files;
    listing l = {.host = host, .list = out};
    int64_t failure = -EINTR;
    *out = (generation_list){0};
    for (int i = 0; failure == -EINTR && i < INTERRUPTIONS_MAX; i++) {
        out->count = 0;
        failure = f->list(f->self, directory, visit_name, &l);
    }
    if (l.status == QUERN_OK && failure < 0 && failure != -ENOENT)
        l.status = file_fail(QUERN_INPUT, "listing", directory, failure);
    if (l.status != QUERN_OK) {
        generation_list_release(out, host);
        return l.status;
    }
    if (out->count > 0)
        qsort(out->items, (size_t)out->count, sizeof *out->items, compare_generations);
    return QUERN_OK;
}

void generation_list_release(generation_list *list, const quern_host *host) {
    memory_release(host, list->items, list->capacity, sizeof *list->items);
    *list = (generation_list){0};
}

typedef struct search {
    int64_t above, found;
} search;

static void visit_next(void *context, const char *name) {
    search *s = context;
    generation g;
    if (!generation_parse(name, &g) || g.step <= s->above) return;
    if (g.kind != GENERATION_WHOLE && g.kind != GENERATION_REPLACED) return;
    if (s->found < 0 || g.step < s->found) s->found = g.step;
}

quern_status generation_next(const quern_host *host, const char *directory, int64_t step,
                             int64_t *out) {
    search s = {step, -1};
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < INTERRUPTIONS_MAX; i++)
        failure = host->files.list(host->files.self, directory, visit_next, &s);
    *out = s.found;
    return failure >= 0 ? QUERN_OK : file_fail(QUERN_INPUT, "listing", directory, failure);
}

quern_status path_exists(const quern_host *host, const char *path, bool *out) {
    quern_file_info info;
    const int64_t failure = file_info(host, path, &info);
    *out = failure >= 0;
    return *out || failure == -ENOENT ? QUERN_OK : file_fail(QUERN_IO, "looking at", path, failure);
}

typedef int64_t (*path_operation)(void *self, const char *path);

static int64_t operate(const quern_host *host, path_operation operation, const char *path) {
    int64_t failure = -EINTR;
    for (int i = 0; failure == -EINTR && i < INTERRUPTIONS_MAX; i++)
        failure = operation(host->files.self, path);
    return failure;
}

quern_status directory_make(const quern_host *host, const char *path) {
    const int64_t failure = operate(host, host->files.make_directory, path);
    return failure >= 0 ? QUERN_OK : file_fail(QUERN_IO, "making directory", path, failure);
}

static quern_status remove_path(const quern_host *host, path_operation operation,
                                const char *path) {
    const int64_t failure = operate(host, operation, path);
    if (failure >= 0 || failure == -ENOENT) return QUERN_OK;
    return file_fail(QUERN_IO, "removing", path, failure);
}

quern_status generation_remove(const quern_host *host, char *path, size_t capacity) {
    static const char *const names[] = {MANIFEST_FILE, MODEL_FILE, STATE_FILE};
    const size_t length = strlen(path);
    quern_status status = QUERN_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == QUERN_OK; i++) {
        snprintf(path + length, capacity - length, "/%s", names[i]);
        status = remove_path(host, host->files.unlink, path);
        path[length] = '\0';
    }
    return status == QUERN_OK ? remove_path(host, host->files.remove_directory, path) : status;
}

/* The entry of each directory that may be new is in the directory above it; above the first one
 * that was there already, nothing was made. */
static quern_status make_durable(const quern_host *host, const char *path, char *at, char *next,
                                 char *highest) {
    bool exists = false;
    file_parent(path, highest);
    for (;;) {
        QUERN_TRY(path_exists(host, highest, &exists));
        if (exists || strcmp(highest, "/") == 0 || strcmp(highest, ".") == 0) break;
        memcpy(at, highest, strlen(highest) + 1);
        file_parent(at, highest);
    }
    QUERN_TRY(path_exists(host, path, &exists));
    if (!exists) QUERN_TRY(file_make_directories(host, path));
    memcpy(at, path, strlen(path) + 1);
    while (strcmp(at, highest) != 0) {
        file_parent(at, next);
        QUERN_TRY(file_sync_directory(host, next));
        memcpy(at, next, strlen(next) + 1);
    }
    return QUERN_OK;
}

quern_status directory_make_durable(const quern_host *host, const char *path) {
    const size_t bytes = strlen(path) + 2;
    char *paths = NULL;
    QUERN_TRY(memory_allocate(host, &paths, 3, bytes, "paths"));
    const quern_status status = make_durable(host, path, paths, paths + bytes, paths + 2 * bytes);
    memory_release(host, paths, 3, bytes);
    return status;
}
