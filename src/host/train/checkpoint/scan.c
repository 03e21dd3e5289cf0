/* scan.c - which checkpoints a directory holds and which of them are whole. Nothing but reading
 * tells: there is no pointer to the latest one that could lie. */
#include "checkpoint.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"

#include <stdio.h>
#include <string.h>

typedef struct scan {
    const quern_host *host;
    const char *directory;
    generation_list list;
    char *path;
    size_t path_bytes;
    quern_checkpoint_visit *visit;
    void *context;
} scan;

static quern_status scan_begin(scan *s) {
    QUERN_TRY(generation_list_read(&s->list, s->host, s->directory));
    s->path_bytes = strlen(s->directory) + GENERATION_NAME;
    const quern_status status =
        memory_allocate(s->host, &s->path, (int64_t)s->path_bytes, 1, "a path");
    if (status != QUERN_OK) generation_list_release(&s->list, s->host);
    return status;
}

static void scan_end(scan *s) {
    generation_list_release(&s->list, s->host);
    memory_release(s->host, s->path, (int64_t)s->path_bytes, 1);
}

static void scan_visit(const scan *s, generation g, quern_status status, bool unreadable) {
    if (s->visit == NULL) return;
    s->visit(s->context, &(quern_checkpoint_entry){
                             .step = g.step,
                             .path = s->path,
                             .status = status,
                             .reason = status == QUERN_OK ? "" : quern_error(),
                             .unreadable = unreadable,
                         });
}

/* What a reader may take for a checkpoint: one that was renamed aside stands in for a step whose
 * own directory is missing or damaged. */
static bool is_candidate(generation g) {
    return g.kind == GENERATION_WHOLE || g.kind == GENERATION_REPLACED;
}

quern_status checkpoint_latest(quern_checkpoint **out, const quern_host *host,
                               const char *directory, quern_checkpoint_visit *visit,
                               void *context) {
    scan s = {.host = host, .directory = directory, .visit = visit, .context = context};
    *out = NULL;
    QUERN_TRY(scan_begin(&s));
    quern_status status = QUERN_OK;
    checkpoint_verdict verdict = CHECKPOINT_IS_WHOLE;
    error_text newest;
    int64_t damaged = 0;
    for (int64_t i = 0; i < s.list.count && *out == NULL; i++) {
        const generation g = s.list.items[i];
        if (!is_candidate(g)) continue;
        generation_path(s.path, s.path_bytes, directory, g);
        status = checkpoint_judge(out, host, s.path, &verdict);
        if (verdict == CHECKPOINT_UNKNOWN) break;
        if (verdict == CHECKPOINT_IS_WHOLE) continue; /* the loop ends */
        if (damaged++ == 0)
            error_save(&newest);
        else
            log_write(host, QUERN_LOG_WARNING, "checkpoint not usable: %s", quern_error());
        scan_visit(&s, g, status, false);
    }
    if (verdict == CHECKPOINT_DAMAGED)
        status =
            quern_fail(QUERN_INPUT, "none of the %d checkpoints in %s is whole; the newest: %s",
                       (int)damaged, directory, newest.text);
    else if (damaged > 0) /* else the failure names it */
        log_write(host, QUERN_LOG_WARNING, "checkpoint not usable: %s", newest.text);
    if (status == QUERN_INPUT && verdict == CHECKPOINT_UNKNOWN)
        status =
            error_prefix(status, "%s may be whole, so that no older one takes its place", s.path);
    scan_end(&s);
    return status;
}

quern_status quern_checkpoint_latest(quern_checkpoint **out, quern_device *device,
                                     const char *directory, quern_checkpoint_visit *visit,
                                     void *context) {
    return checkpoint_latest(out, &device->host, directory, visit, context);
}

static quern_status list_one(scan *s, int64_t i, bool *previous_whole) {
    const generation g = s->list.items[i];
    const bool same_step = i > 0 && s->list.items[i - 1].step == g.step;
    /* Behind a whole one of its step, one that was renamed aside is only waiting to be removed. */
    if (!is_candidate(g) || (same_step && *previous_whole)) return QUERN_OK;
    quern_checkpoint *checkpoint = NULL;
    generation_path(s->path, s->path_bytes, s->directory, g);
    checkpoint_verdict verdict;
    const quern_status status = checkpoint_judge(&checkpoint, s->host, s->path, &verdict);
    quern_checkpoint_destroy(checkpoint);
    if (status == QUERN_HOST_MEMORY) return status;
    *previous_whole = status == QUERN_OK;
    scan_visit(s, g, status, status == QUERN_INPUT && verdict == CHECKPOINT_UNKNOWN);
    return QUERN_OK;
}

quern_status quern_checkpoint_list(quern_device *device, const char *directory,
                                   quern_checkpoint_visit *visit, void *context) {
    scan s = {.host = &device->host, .directory = directory, .visit = visit, .context = context};
    QUERN_TRY(scan_begin(&s));
    quern_status status = QUERN_OK;
    bool previous_whole = false;
    for (int64_t i = 0; i < s.list.count && status == QUERN_OK; i++)
        status = list_one(&s, i, &previous_whole);
    scan_end(&s);
    return status;
}
