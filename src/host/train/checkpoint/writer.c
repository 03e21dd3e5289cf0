/* writer.c - slots handed back and forth between the training thread and the writing one under one
 * lock; the writing itself runs without it. */
#include "writer.h"
#include "snapshot.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/thread.h"

#include <stdio.h>
#include <string.h>

typedef enum slot_state {
    SLOT_FREE,
    SLOT_FILLING, /* the training thread's */
    SLOT_QUEUED,
    SLOT_WRITING, /* the writing thread's */
    SLOT_DONE,    /* its outcome is to be polled */
} slot_state;

typedef struct slot {
    checkpoint_snapshot snapshot; /* first: a snapshot's address is its slot's */
    slot_state state;
    int64_t order; /* of submission */
    void *block;   /* when it is our own */
    checkpoint_outcome outcome;
    char *path;
    size_t path_bytes;
} slot;

struct checkpoint_writer {
    const quern_host *host;
    checkpoint_store *store;
    arena memory;
    checkpoint_content largest; /* copied */
    slot slots[CHECKPOINT_SLOT_MAX];
    int32_t slot_count;
    size_t block_bytes;
    int64_t submitted;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool has_lock, has_condition, has_thread;
    bool closing, retiring;
};

static slot *slot_in(checkpoint_writer *w, slot_state state) {
    slot *oldest = NULL;
    for (int32_t i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        if (s->state == state && (oldest == NULL || s->order < oldest->order)) oldest = s;
    }
    return oldest;
}

static void slot_write(checkpoint_writer *w, slot *s) {
    const quern_clock *clock = &w->host->clock;
    checkpoint_outcome *o = &s->outcome;
    const int64_t begin = clock->monotonic_ns(clock->self);
    o->step = s->snapshot.content.counters.step;
    o->status = checkpoint_store_write(w->store, &s->snapshot.content);
    o->reason.text[0] = '\0';
    if (o->status != QUERN_OK) error_save(&o->reason);
    snprintf(s->path, s->path_bytes, "%s", checkpoint_store_path(w->store));
    o->path = s->path;
    o->write_ns = clock->monotonic_ns(clock->self) - begin;
}

/* Runs with the lock, but not while it writes. The outcome is handed over before older checkpoints
 * go: what is durable does not wait for that. */
static void serve(checkpoint_writer *w, slot *s) {
    s->state = SLOT_WRITING;
    pthread_mutex_unlock(&w->lock);
    slot_write(w, s);
    const bool durable = s->outcome.status == QUERN_OK;
    pthread_mutex_lock(&w->lock);
    s->state = SLOT_DONE;
    w->retiring = durable;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (durable) checkpoint_store_retire(w->store);
    pthread_mutex_lock(&w->lock);
    w->retiring = false;
    pthread_cond_broadcast(&w->changed);
}

static void *write_all(void *context) {
    checkpoint_writer *w = context;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        slot *s = slot_in(w, SLOT_QUEUED);
        if (s != NULL) {
            serve(w, s);
        } else if (w->closing) {
            break;
        } else {
            pthread_cond_wait(&w->changed, &w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void checkpoint_writer_reserve(checkpoint_writer *w, checkpoint_snapshot **out) {
    slot *s;
    pthread_mutex_lock(&w->lock);
    while ((s = slot_in(w, SLOT_FREE)) == NULL && slot_in(w, SLOT_DONE) == NULL)
        pthread_cond_wait(&w->changed, &w->lock);
    if (s != NULL) s->state = SLOT_FILLING;
    pthread_mutex_unlock(&w->lock);
    if (s != NULL) snapshot_reset(&s->snapshot, &w->largest);
    *out = s != NULL ? &s->snapshot : NULL;
}

static void hand_over(checkpoint_writer *w, checkpoint_snapshot *snapshot, slot_state state) {
    slot *s = (slot *)snapshot;
    pthread_mutex_lock(&w->lock);
    s->state = state;
    s->order = w->submitted++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void checkpoint_writer_submit(checkpoint_writer *w, checkpoint_snapshot *snapshot) {
    hand_over(w, snapshot, SLOT_QUEUED);
}

void checkpoint_writer_drop(checkpoint_writer *w, checkpoint_snapshot *snapshot) {
    hand_over(w, snapshot, SLOT_FREE);
}

bool checkpoint_writer_poll(checkpoint_writer *w, checkpoint_outcome *out) {
    pthread_mutex_lock(&w->lock);
    slot *s = slot_in(w, SLOT_DONE);
    if (s != NULL) {
        *out = s->outcome;
        s->state = SLOT_FREE;
    }
    pthread_mutex_unlock(&w->lock);
    return s != NULL;
}

void checkpoint_writer_wait(checkpoint_writer *w) {
    pthread_mutex_lock(&w->lock);
    while (slot_in(w, SLOT_QUEUED) != NULL || slot_in(w, SLOT_WRITING) != NULL || w->retiring)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

quern_status checkpoint_writer_admit(checkpoint_writer *w, const checkpoint_content *content) {
    checkpoint_writer_wait(w);
    return checkpoint_store_admit(w->store, content);
}

static quern_status create_slot(checkpoint_writer *w, slot *s, const checkpoint_writer_desc *desc,
                                void *block) {
    if (block == NULL) {
        QUERN_TRY(memory_allocate(w->host, &s->block, (int64_t)w->block_bytes, 1,
                                  "the snapshot of a checkpoint"));
        block = s->block;
    }
    s->path_bytes = strlen(desc->store.directory) + GENERATION_NAME;
    QUERN_TRY(arena_allocate(&w->memory, &s->path, (int64_t)s->path_bytes, 1, "a path"));
    return snapshot_create(&s->snapshot, &w->memory, &w->largest, block);
}

static quern_status create(checkpoint_writer *w, const checkpoint_writer_desc *desc) {
    if (desc->slot_count < 1 || desc->slot_count > CHECKPOINT_SLOT_MAX)
        return quern_fail(QUERN_INVALID, "%d snapshots at a time; 1 or %d are possible",
                          desc->slot_count, CHECKPOINT_SLOT_MAX);
    QUERN_TRY(checkpoint_snapshot_bytes(desc->store.largest, &w->block_bytes));
    QUERN_TRY(content_copy(&w->largest, &w->memory, desc->store.largest));
    w->slot_count = desc->slot_count;
    for (int32_t i = 0; i < desc->slot_count; i++)
        QUERN_TRY(create_slot(w, &w->slots[i], desc, desc->blocks[i]));
    QUERN_TRY(checkpoint_store_create(&w->store, &desc->store));
    w->has_lock = pthread_mutex_init(&w->lock, NULL) == 0;
    w->has_condition = pthread_cond_init(&w->changed, NULL) == 0;
    if (!w->has_lock || !w->has_condition)
        return quern_fail(QUERN_HOST_MEMORY, "the system refused a lock for the checkpoint writer");
    QUERN_TRY(thread_start(&w->thread, write_all, w, "quern-save"));
    w->has_thread = true;
    return QUERN_OK;
}

quern_status checkpoint_writer_create(checkpoint_writer **out, const checkpoint_writer_desc *desc) {
    checkpoint_writer *w = NULL;
    *out = NULL;
    QUERN_TRY(memory_allocate(desc->store.host, &w, 1, sizeof *w, "a checkpoint writer"));
    w->host = desc->store.host;
    w->memory.host = w->host;
    const quern_status status = create(w, desc);
    if (status != QUERN_OK) {
        checkpoint_writer_destroy(w);
        return status;
    }
    *out = w;
    return QUERN_OK;
}

void checkpoint_writer_destroy(checkpoint_writer *w) {
    if (w == NULL) return;
    const quern_host *host = w->host;
    if (w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    if (w->has_condition) pthread_cond_destroy(&w->changed);
    if (w->has_lock) pthread_mutex_destroy(&w->lock);
    checkpoint_store_destroy(w->store);
    for (int32_t i = 0; i < w->slot_count; i++)
        memory_release(host, w->slots[i].block, (int64_t)w->block_bytes, 1);
    arena_release(&w->memory);
    memory_release(host, w, 1, sizeof *w);
}
