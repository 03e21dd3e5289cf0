/* store.c - the write protocol. Its order is the whole point; tests/checkpoint replays every power
 * cut over its operations and shows that each sync is needed. */
#include "store.h"
#include "checkpoint.h"
#include "configuration.h"
#include "../safetensors/safetensors.h"
#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct checkpoint_store {
    const quern_host *host;
    char *directory;
    size_t directory_bytes;
    char *path, *other, *written; /* path_bytes each, one block */
    size_t path_bytes;
    uint8_t *header;
    size_t header_bytes;
    char *manifest;
    size_t manifest_bytes;
    retention retention;
    int64_t last_step;    /* -1: nothing written yet */
    int64_t highest_step; /* of those that a resume may take; -1: there is none */
    int64_t *damaged;     /* steps whose step-<n> create has found to be */
    int64_t damaged_count, damaged_capacity;
    bool (*gives_up)(void *self);
    void *gives_up_self;
};

/* Bytes between two looks at whether the write is given up. */
#define PIECE_BYTES ((size_t)4 << 20)

static bool is_given_up(const checkpoint_store *store) {
    return store->gives_up != NULL && store->gives_up(store->gives_up_self);
}

static quern_status go_on(const checkpoint_store *store) {
    if (!is_given_up(store)) return QUERN_OK;
    return quern_fail(QUERN_IO, "writing %s was given up: the run was told to end at once",
                      store->written);
}

/* A file being written, and the digest of what went into it. */
typedef struct stream {
    const checkpoint_store *store;
    digest digest;
    int64_t bytes;
    file_writer writer;
} stream;

static quern_status stream_add(stream *s, const void *from, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        const uint8_t *piece = (const uint8_t *)from + at;
        const size_t size = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        QUERN_TRY(go_on(s->store));
        digest_add(&s->digest, piece, size);
        QUERN_TRY(file_writer_write(&s->writer, piece, size));
        at += size;
    }
    s->bytes += (int64_t)bytes;
    return QUERN_OK;
}

static quern_status write_entries(checkpoint_store *store, stream *s,
                                  const quern_safetensors_entry *entries, int64_t count) {
    size_t bytes = 0;
    QUERN_TRY(safetensors_header_fill(store->header, store->header_bytes, &bytes, entries, count,
                                      NULL, 0));
    QUERN_TRY(stream_add(s, store->header, bytes));
    for (int64_t i = 0; i < count; i++) QUERN_TRY(stream_add(s, entries[i].data, entries[i].bytes));
    QUERN_TRY(go_on(store));
    return file_writer_sync(&s->writer);
}

/* Appends "/name" to the path of a directory, or takes it off again. */
static void path_enter(checkpoint_store *store, const char *name) {
    const size_t length = strlen(store->path);
    snprintf(store->path + length, store->path_bytes - length, "/%s", name);
}

static void path_leave(checkpoint_store *store) { *strrchr(store->path, '/') = '\0'; }

static quern_status write_tensors(checkpoint_store *store, const char *name,
                                  const quern_safetensors_entry *entries, int64_t count,
                                  checkpoint_file *out) {
    stream s = {.store = store};
    digest_begin(&s.digest);
    path_enter(store, name);
    quern_status status =
        file_writer_open(&s.writer, store->host, store->path, QUERN_FILE_CREATE_NEW);
    if (status == QUERN_OK) status = write_entries(store, &s, entries, count);
    const quern_status closed = file_writer_close(&s.writer);
    path_leave(store);
    out->bytes = s.bytes;
    digest_end(&s.digest, out->digest);
    return status != QUERN_OK ? status : closed;
}

static quern_status write_manifest(checkpoint_store *store, const checkpoint_content *content,
                                   const checkpoint_file *model, const checkpoint_file *state) {
    text t = text_over(store->manifest, store->manifest_bytes);
    QUERN_TRY(manifest_write(&t, content, model, state));
    file_writer w;
    path_enter(store, MANIFEST_FILE);
    quern_status status = file_writer_open(&w, store->host, store->path, QUERN_FILE_CREATE_NEW);
    if (status == QUERN_OK) status = go_on(store);
    if (status == QUERN_OK) status = file_writer_write(&w, t.data, t.length);
    if (status == QUERN_OK) status = go_on(store);
    if (status == QUERN_OK) status = file_writer_sync(&w);
    const quern_status closed = file_writer_close(&w);
    path_leave(store);
    return status != QUERN_OK ? status : closed;
}

/* store->path is the partial directory, here and above. */
static quern_status write_partial(checkpoint_store *store, const checkpoint_content *content) {
    checkpoint_file model, state;
    QUERN_TRY(generation_remove(store->host, store->path, store->path_bytes));
    QUERN_TRY(directory_make(store->host, store->path));
    QUERN_TRY(write_tensors(store, MODEL_FILE, content->model, content->model_count, &model));
    QUERN_TRY(write_tensors(store, STATE_FILE, content->state, content->state_count, &state));
    QUERN_TRY(write_manifest(store, content, &model, &state));
    QUERN_TRY(go_on(store));
    QUERN_TRY(file_sync_directory(store->host, store->path));
    return go_on(store);
}

static char *set_path(const checkpoint_store *store, char *to, int64_t step, generation_kind kind) {
    generation_path(to, store->path_bytes, store->directory, (generation){step, kind});
    return to;
}

/* Where an existing checkpoint of this step goes. If one is aside already, what stands in its place
 * is damaged (recovery would have removed the older one otherwise): that goes, not the good one. */
static quern_status step_aside(checkpoint_store *store, int64_t step) {
    bool exists = false;
    const char *aside = set_path(store, store->other, step, GENERATION_REPLACED);
    QUERN_TRY(path_exists(store->host, aside, &exists));
    if (exists) {
        aside = set_path(store, store->other, step, GENERATION_RETIRED);
        QUERN_TRY(generation_remove(store->host, store->other, store->path_bytes));
    }
    return file_rename(store->host, store->written, aside);
}

/* From here on nothing is given up: it would only take longer to undo. */
static quern_status publish(checkpoint_store *store, int64_t step) {
    bool replaces = false;
    QUERN_TRY(path_exists(store->host, store->written, &replaces));
    if (replaces) QUERN_TRY(step_aside(store, step));
    const quern_status status = file_rename(store->host, store->path, store->written);
    if (status == QUERN_OK) return file_sync_directory(store->host, store->directory);
    error_text reason; /* the name goes back; if even that fails, readers find it where it is */
    error_save(&reason);
    if (replaces && file_rename(store->host, store->other, store->written) != QUERN_OK)
        log_write(store->host, QUERN_LOG_WARNING, "%s", quern_error());
    error_restore(&reason);
    return status;
}

static void remove_or_warn(checkpoint_store *store, char *path) {
    if (generation_remove(store->host, path, store->path_bytes) != QUERN_OK)
        log_write(store->host, QUERN_LOG_WARNING, "an old checkpoint stays: %s", quern_error());
}

static void abandon(checkpoint_store *store, int64_t step) {
    error_text reason;
    error_save(&reason);
    set_path(store, store->path, step, GENERATION_PARTIAL);
    if (generation_remove(store->host, store->path, store->path_bytes) != QUERN_OK)
        log_write(store->host, QUERN_LOG_WARNING, "an unfinished checkpoint stays: %s",
                  quern_error());
    error_restore(&reason);
}

static int64_t damaged_find(const checkpoint_store *store, int64_t step) {
    int64_t i = 0;
    while (i < store->damaged_count && store->damaged[i] != step) i++;
    return i;
}

static bool is_damaged(const checkpoint_store *store, int64_t step) {
    return damaged_find(store, step) < store->damaged_count;
}

/* Its place has been taken by a whole one. */
static void damaged_forget(checkpoint_store *store, int64_t step) {
    const int64_t i = damaged_find(store, step);
    if (i < store->damaged_count) store->damaged[i] = store->damaged[--store->damaged_count];
}

static void damaged_note(checkpoint_store *store, int64_t step, checkpoint_verdict verdict) {
    if (verdict == CHECKPOINT_DAMAGED) store->damaged[store->damaged_count++] = step;
}

/* NaN: of another metric, or none. */
static double metric_of(const checkpoint_content *content, const char *metric) {
    const bool same =
        content->metric != NULL && metric != NULL && strcmp(content->metric, metric) == 0;
    return same ? content->metric_value : (double)NAN;
}

quern_status checkpoint_store_write(checkpoint_store *store, const checkpoint_content *content) {
    const int64_t step = content->counters.step;
    store->last_step = -1;
    store->written[0] = '\0';
    if (step < 0) return quern_fail(QUERN_INTERNAL, "a checkpoint of a negative step");
    set_path(store, store->written, step, GENERATION_WHOLE);
    QUERN_TRY(content_check_finite(content)); /* never over, nor beside, a finite one */
    trace_begin(store->host, "checkpoint", "write", step);
    set_path(store, store->path, step, GENERATION_PARTIAL);
    quern_status status = write_partial(store, content);
    if (status == QUERN_OK) status = publish(store, step);
    if (status == QUERN_OK)
        status = retention_add(&store->retention,
                               &(retention_row){step, metric_of(content, content->metric), true});
    if (status == QUERN_OK) {
        store->last_step = step;
        if (step > store->highest_step) store->highest_step = step;
        damaged_forget(store, step);
    } else {
        abandon(store, step);
    }
    trace_end(store->host);
    return status;
}

/* Renamed and synced first: a power cut while the files go must not leave a damaged step-<n>.
 * false: it has its name still. */
static bool retire(checkpoint_store *store, int64_t step, generation_kind kind) {
    set_path(store, store->path, step, kind);
    set_path(store, store->other, step, GENERATION_RETIRED);
    quern_status status = generation_remove(store->host, store->other, store->path_bytes);
    if (status == QUERN_OK) status = file_rename(store->host, store->path, store->other);
    if (status == QUERN_OK) status = file_sync_directory(store->host, store->directory);
    if (status != QUERN_OK) {
        log_write(store->host, QUERN_LOG_WARNING, "an old checkpoint stays: %s", quern_error());
        return false;
    }
    remove_or_warn(store, store->other);
    return true;
}

/* false: a reader may take it still. */
static bool retire_if_there(checkpoint_store *store, int64_t step, generation_kind kind) {
    bool exists = true;
    set_path(store, store->path, step, kind);
    if (path_exists(store->host, store->path, &exists) == QUERN_OK && !exists) return true;
    return retire(store, step, kind);
}

/* Those of later steps are of a past that was given up: the run began anew, or went back. A resume
 * would take one of them, so that not even the best stay, nor those for ever, which may have no
 * row. The earliest first: who is killed between two of them leaves the newest of that past. What
 * could not go is tried again behind the next write; what create found damaged stays. */
static quern_status retire_given_up(checkpoint_store *store) {
    int64_t step = store->last_step, left = store->last_step;
    while (store->highest_step > store->last_step && !is_given_up(store)) {
        QUERN_TRY(generation_next(store->host, store->directory, step, &step));
        if (step < 0) {
            store->highest_step = left;
            return QUERN_OK;
        }
        retention_forget(&store->retention, step);
        if (!retire_if_there(store, step, GENERATION_REPLACED)) left = step;
        if (is_damaged(store, step)) continue;
        if (!retire_if_there(store, step, GENERATION_WHOLE)) left = step;
    }
    return QUERN_OK;
}

void checkpoint_store_retire(checkpoint_store *store) {
    if (store->last_step < 0) return;
    remove_or_warn(store, set_path(store, store->other, store->last_step, GENERATION_REPLACED));
    remove_or_warn(store, set_path(store, store->other, store->last_step, GENERATION_RETIRED));
    if (retire_given_up(store) != QUERN_OK)
        log_write(store->host, QUERN_LOG_WARNING, "old checkpoints stay: %s", quern_error());
    for (int64_t step;
         !is_given_up(store) && retention_take(&store->retention, store->last_step, &step);)
        (void)retire(store, step, GENERATION_WHOLE);
}

const char *checkpoint_store_path(const checkpoint_store *store) { return store->written; }

/* A damaged one counts for nothing, and is left alone: so is one that cannot be read. */
static quern_status adopt_one(checkpoint_store *store, int64_t step,
                              const checkpoint_store_desc *desc) {
    manifest m;
    checkpoint_verdict verdict;
    set_path(store, store->path, step, GENERATION_WHOLE);
    const quern_status status = checkpoint_read_manifest(&m, store->host, store->path, &verdict);
    if (status == QUERN_HOST_MEMORY) return status;
    damaged_note(store, step, verdict);
    if (status != QUERN_OK) return QUERN_OK;
    const double metric = metric_of(&m.content, desc->largest->metric);
    const bool whole = desc->whole != NULL && strcmp(desc->whole->path, store->path) == 0;
    manifest_release(&m);
    return retention_add(&store->retention, &(retention_row){step, metric, whole});
}

/* Reads those on whose account others would go. */
static quern_status verify_adopted(checkpoint_store *store) {
    for (int64_t step; retention_doubtful(&store->retention, &step);) {
        set_path(store, store->path, step, GENERATION_WHOLE);
        checkpoint_verdict verdict;
        const quern_status status = checkpoint_verify(store->host, store->path, &verdict);
        if (status == QUERN_HOST_MEMORY) return status;
        if (status == QUERN_OK) {
            retention_believe(&store->retention, step);
            continue;
        }
        log_write(store->host, QUERN_LOG_WARNING, "checkpoint not usable: %s", quern_error());
        damaged_note(store, step, verdict);
        retention_forget(&store->retention, step);
    }
    return QUERN_OK;
}

/* Those that cannot be read among them: they may be whole. */
static int64_t highest_of(const checkpoint_store *store, const generation_list *list) {
    int64_t highest = -1;
    for (int64_t i = 0; i < list->count; i++) {
        const generation g = list->items[i];
        const bool taken = g.kind == GENERATION_REPLACED ||
                           (g.kind == GENERATION_WHOLE && !is_damaged(store, g.step));
        if (taken && g.step > highest) highest = g.step;
    }
    return highest;
}

static quern_status adopt(checkpoint_store *store, const checkpoint_store_desc *desc) {
    generation_list list;
    QUERN_TRY(generation_list_read(&list, store->host, store->directory));
    quern_status status =
        retention_create(&store->retention, store->host, &desc->retention, list.count);
    if (status == QUERN_OK)
        status = memory_allocate(store->host, &store->damaged, list.count, sizeof *store->damaged,
                                 "the damaged checkpoints");
    if (status == QUERN_OK) store->damaged_capacity = list.count;
    for (int64_t i = 0; i < list.count && status == QUERN_OK; i++)
        if (list.items[i].kind == GENERATION_WHOLE)
            status = adopt_one(store, list.items[i].step, desc);
    if (status == QUERN_OK) status = verify_adopted(store);
    store->highest_step = highest_of(store, &list);
    generation_list_release(&list, store->host);
    return status;
}

/* What no reader would take is not written. */
static quern_status check_bound(const char *what, size_t bytes, size_t limit) {
    if (bytes <= limit) return QUERN_OK;
    return quern_fail(QUERN_INVALID,
                      "%s of this run's checkpoints may come to %zu bytes: no reader takes more "
                      "than %zu",
                      what, bytes, limit);
}

static quern_status set_bounds(checkpoint_store *store, const checkpoint_content *c) {
    const size_t model = safetensors_header_bound(c->model, c->model_count, NULL, 0);
    const size_t state = safetensors_header_bound(c->state, c->state_count, NULL, 0);
    store->header_bytes = model > state ? model : state;
    store->manifest_bytes = manifest_bound(c);
    QUERN_TRY(check_bound("the header of a file", store->header_bytes, SAFETENSORS_HEADER_LIMIT));
    return check_bound("the manifest", store->manifest_bytes, MANIFEST_LIMIT);
}

static quern_status allocate_buffers(checkpoint_store *store, const checkpoint_store_desc *desc) {
    store->directory_bytes = strlen(desc->directory) + 1;
    QUERN_TRY(memory_allocate(store->host, &store->directory, (int64_t)store->directory_bytes, 1,
                              "a path"));
    memcpy(store->directory, desc->directory, store->directory_bytes);
    store->path_bytes = store->directory_bytes + GENERATION_NAME + GENERATION_FILE_NAME;
    QUERN_TRY(memory_allocate(store->host, &store->path, 3, store->path_bytes, "paths"));
    store->other = store->path + store->path_bytes;
    store->written = store->other + store->path_bytes;
    QUERN_TRY(memory_allocate(store->host, &store->header, (int64_t)store->header_bytes, 1,
                              "a safetensors header"));
    return memory_allocate(store->host, &store->manifest, (int64_t)store->manifest_bytes, 1,
                           "a manifest");
}

quern_status checkpoint_store_admit(checkpoint_store *store, const checkpoint_content *content) {
    const size_t bytes = manifest_bound(content);
    char *buffer = NULL;
    if (bytes <= store->manifest_bytes) return QUERN_OK;
    QUERN_TRY(check_bound("the manifest", bytes, MANIFEST_LIMIT));
    QUERN_TRY(memory_allocate(store->host, &buffer, (int64_t)bytes, 1, "a manifest"));
    memory_release(store->host, store->manifest, (int64_t)store->manifest_bytes, 1);
    store->manifest = buffer;
    store->manifest_bytes = bytes;
    return QUERN_OK;
}

static quern_status create(checkpoint_store *store, const checkpoint_store_desc *desc) {
    QUERN_TRY(retention_check(&desc->retention));
    QUERN_TRY(set_bounds(store, desc->largest));
    QUERN_TRY(content_check_names(desc->largest));
    QUERN_TRY(configuration_check(desc->largest->configuration));
    QUERN_TRY(allocate_buffers(store, desc));
    QUERN_TRY(directory_make_durable(store->host, store->directory));
    QUERN_TRY(checkpoint_recover(store->host, store->directory));
    return adopt(store, desc);
}

quern_status checkpoint_store_create(checkpoint_store **out, const checkpoint_store_desc *desc) {
    checkpoint_store *store = NULL;
    *out = NULL;
    QUERN_TRY(memory_allocate(desc->host, &store, 1, sizeof *store, "a checkpoint store"));
    store->host = desc->host;
    store->last_step = store->highest_step = -1;
    store->gives_up = desc->gives_up;
    store->gives_up_self = desc->gives_up_self;
    const quern_status status = create(store, desc);
    if (status != QUERN_OK) {
        checkpoint_store_destroy(store);
        return status;
    }
    *out = store;
    return QUERN_OK;
}

void checkpoint_store_destroy(checkpoint_store *store) {
    if (store == NULL) return;
    const quern_host *host = store->host;
    memory_release(host, store->directory, (int64_t)store->directory_bytes, 1);
    memory_release(host, store->path, 3, store->path_bytes);
    memory_release(host, store->header, (int64_t)store->header_bytes, 1);
    memory_release(host, store->manifest, (int64_t)store->manifest_bytes, 1);
    memory_release(host, store->damaged, store->damaged_capacity, sizeof *store->damaged);
    retention_release(&store->retention, host);
    memory_release(host, store, 1, sizeof *store);
}
