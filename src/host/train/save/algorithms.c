/* algorithms.c - the algorithm record of a run: what its programs' plans follow, taken from the
 * checkpoint that is resumed, and what it says in the checkpoints that are saved. */
#include "../checkpoint/algorithms.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

static bool resumes(const quern_trainer *t) {
    return t->desc.save.directory && t->desc.save.resume && !t->desc.fast_dev_run;
}

/* What a killed writer left comes first, as a path may change by that. */
static quern_status resume_find(quern_trainer *t) {
    QUERN_TRY(checkpoint_recover(t->host, t->desc.save.directory));
    return checkpoint_latest(&t->resume_from, t->host, t->desc.save.directory, NULL, NULL);
}

static const char *record_of(const quern_checkpoint *from) {
    const char *record = from->manifest.content.algorithms;
    return algorithms_are_whole(record) ? record : "";
}

quern_status algorithms_create(quern_trainer *t) {
    if (resumes(t)) QUERN_TRY(resume_find(t));
    const char *record = t->resume_from ? record_of(t->resume_from) : "";
    return t->backend->record_create(t->device->memory, &t->algorithms, record);
}

void algorithms_release(quern_trainer *t) {
    quern_checkpoint_destroy(t->resume_from);
    if (t->algorithms) t->backend->record_destroy(t->algorithms);
}

/* A record only grows while a run goes on: what stands in it is what later plans follow. */
quern_status algorithms_note(quern_trainer *t) {
    trainer_save *save = t->save;
    char *record = NULL;
    const size_t length = t->backend->record_write(t->algorithms, NULL, 0);
    if (!save || (save->algorithms && strlen(save->algorithms) == length)) return QUERN_OK;
    QUERN_TRY(arena_allocate(&t->memory, &record, (int64_t)length + 1, 1, "the algorithm record"));
    (void)t->backend->record_write(t->algorithms, record, length + 1);
    save->algorithms = record;
    save->table.content.algorithms = record;
    return save->writer ? checkpoint_writer_admit(save->writer, &save->table.content) : QUERN_OK;
}

void algorithms_tell(const quern_trainer *t, const quern_checkpoint *from) {
    const char *was = from->manifest.content.algorithms;
    if (!algorithms_are_whole(was)) {
        log_write(t->host, QUERN_LOG_WARNING,
                  "resume: the algorithm record of %s is not one and is ignored: algorithms are "
                  "chosen anew, which may break exactness",
                  from->path);
        return;
    }
    const algorithms_difference d = algorithms_compare(was, t->save->algorithms);
    if (d.added > 0)
        log_write(t->host, QUERN_LOG_INFO,
                  "resume: %" PRId64 " algorithms are chosen that %s has none of", d.added,
                  from->path);
    if (d.key)
        log_write(
            t->host, QUERN_LOG_WARNING,
            "resume: the algorithm record of %s is not this run's (%" PRId64 " of another "
            "library or device, %" PRId64 " that had to change, the first: %.*s): this breaks "
            "exactness",
            from->path, d.foreign, d.changed, d.key_length < 300 ? (int)d.key_length : 300, d.key);
}
