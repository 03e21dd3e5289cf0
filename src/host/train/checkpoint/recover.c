/* recover.c - what a writer that was killed left behind. Run by the next writer before it writes;
 * each step leaves the directory such that being killed here again loses nothing. */
#include "checkpoint.h"
#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <string.h>

typedef struct recovery {
    const quern_host *host;
    const char *directory;
    char *path, *whole; /* capacity bytes each */
    size_t capacity;
} recovery;

static void warn(const recovery *r, quern_status status) {
    if (status != QUERN_OK)
        log_write(r->host, QUERN_LOG_WARNING, "left by an interrupted save: %s", quern_error());
}

/* It gets its name back, durably, before anything else is removed. */
static quern_status restore(const recovery *r) {
    QUERN_TRY(file_rename(r->host, r->path, r->whole));
    return file_sync_directory(r->host, r->directory);
}

/* An older checkpoint that was renamed aside: needed unless the new one is there and whole. */
static quern_status recover_replaced(const recovery *r, generation g) {
    generation_path(r->path, r->capacity, r->directory, g);
    generation_path(r->whole, r->capacity, r->directory, (generation){g.step, GENERATION_WHOLE});
    bool exists = false;
    QUERN_TRY(path_exists(r->host, r->whole, &exists));
    if (!exists) {
        warn(r, restore(r));
        return QUERN_OK;
    }
    quern_checkpoint *checkpoint = NULL;
    checkpoint_verdict verdict;
    const quern_status status = checkpoint_judge(&checkpoint, r->host, r->whole, &verdict);
    quern_checkpoint_destroy(checkpoint);
    if (status == QUERN_OK) warn(r, generation_remove(r->host, r->path, r->capacity));
    return verdict == CHECKPOINT_UNKNOWN ? status : QUERN_OK;
}

static bool is_needed(const generation_list *list) {
    for (int64_t i = 0; i < list->count; i++)
        if (list->items[i].kind != GENERATION_WHOLE) return true;
    return false;
}

/* First of all, the names that the killed writer gave are made durable: a power cut must not undo
 * one of them when files below it are gone already. Then names are given back, then things go. */
static quern_status recover_all(const recovery *r, const generation_list *list) {
    if (!is_needed(list)) return QUERN_OK;
    QUERN_TRY(file_sync_directory(r->host, r->directory));
    for (int64_t i = 0; i < list->count; i++)
        if (list->items[i].kind == GENERATION_REPLACED)
            QUERN_TRY(recover_replaced(r, list->items[i]));
    for (int64_t i = 0; i < list->count; i++) {
        const generation g = list->items[i];
        if (g.kind != GENERATION_PARTIAL && g.kind != GENERATION_RETIRED) continue;
        generation_path(r->path, r->capacity, r->directory, g);
        warn(r, generation_remove(r->host, r->path, r->capacity));
    }
    return QUERN_OK;
}

quern_status checkpoint_recover(const quern_host *host, const char *directory) {
    generation_list list;
    recovery r = {.host = host,
                  .directory = directory,
                  .capacity = strlen(directory) + GENERATION_NAME + GENERATION_FILE_NAME};
    QUERN_TRY(generation_list_read(&list, host, directory));
    quern_status status =
        memory_allocate(host, &r.path, 2, r.capacity, "paths of interrupted saves");
    if (status == QUERN_OK) {
        r.whole = r.path + r.capacity;
        status = recover_all(&r, &list);
    }
    memory_release(host, r.path, 2, r.capacity);
    generation_list_release(&list, host);
    return status;
}
