/* loader.c - slots, worker threads, and the order of delivery.
 *
 * Batches are claimed in order, each together with a free slot, under one lock; they are filled
 * outside it, and delivered in order. So the earliest batch not yet delivered always has a slot,
 * and nobody waits for ever. A failing batch and the end of a stream pull `limit` down: nothing
 * behind them is claimed. */
#include "loader.h"

#include "../base/memory.h"
#include "../base/report.h"
#include "../base/size.h"
#include "../base/thread.h"
#include "binding.h"

#include <inttypes.h>
#include <stdio.h>

#define WORKER_MAX 256

typedef enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_READY, SLOT_HELD } slot_state;

typedef struct loader_slot {
    slot_state state;
    loader_batch batch;
    quern_status status;
    error_text error;
} loader_slot;

typedef struct loader_worker {
    loader *owner;
    int32_t lane;
    pthread_t thread;
} loader_worker;

struct loader {
    const quern_host *host;
    int64_t batch_size;
    bool drop_last, shuffle;
    bool names_only; /* without slots: nothing is read */
    int32_t slot_count, worker_count, started_workers;
    loader_slot *slots;
    void **buffers; /* [slot_count][input_count] */
    loader_worker *workers;
    binding binding;

    pthread_mutex_t lock;
    pthread_cond_t work;  /* a slot is free, an epoch began, the stream is free, or quit */
    pthread_cond_t ready; /* a batch is ready, or a worker rests */
    atomic_bool cancel;
    bool quit, running;
    bool stream_used; /* loader_start has been called since bind */
    bool stream_busy; /* a thread reads the stream */
    int32_t busy;     /* threads that fill */
    sampler order;
    int64_t epoch;
    int64_t next_fill, next_deliver; /* batches */
    int64_t limit;                   /* batches of the epoch, as far as known */
    quern_status failure;            /* delivered by loader_next; sticks */
    error_text failure_text;
};

static bool is_stream(const loader *l) { return l->binding.dataset->length < 0; }

static int32_t find_slot(const loader *l, slot_state state) {
    for (int32_t i = 0; i < l->slot_count; i++)
        if (l->slots[i].state == state) return i;
    return -1;
}

static bool can_claim(const loader *l) {
    return l->running && l->next_fill < l->limit && !l->stream_busy && find_slot(l, SLOT_FREE) >= 0;
}

/* Under the lock: the next batch gets a free slot. */
static int32_t claim(loader *l) {
    const int32_t slot = find_slot(l, SLOT_FREE);
    const int64_t index = l->next_fill++, first = index * l->batch_size;
    int64_t count = l->batch_size;
    if (!is_stream(l) && l->order.length - first < count) count = l->order.length - first;
    l->slots[slot].state = SLOT_FILLING;
    l->slots[slot].batch = (loader_batch){
        .slot = slot, .index = index, .first_position = first, .sample_count = count};
    l->stream_busy = is_stream(l);
    l->busy++;
    return slot;
}

/* Without the lock. */
static void fill(loader *l, int32_t slot, int32_t lane) {
    loader_slot *s = &l->slots[slot];
    s->status = QUERN_OK;
    if (l->names_only) return;
    const binding_batch batch = {
        .lane = lane,
        .epoch = l->epoch,
        .first_position = s->batch.first_position,
        .sample_count = s->batch.sample_count,
        .to = l->buffers + (size_t)slot * (size_t)l->binding.input_count,
        .cancel = &l->cancel,
    };
    trace_begin(l->host, "data", "fill", s->batch.index);
    s->status = is_stream(l) ? binding_fill_stream(&l->binding, &batch, &s->batch.sample_count)
                             : binding_fill(&l->binding, &l->order, &batch);
    trace_end(l->host);
    if (s->status != QUERN_OK) error_save(&s->error);
}

/* Under the lock again. */
static void finish(loader *l, int32_t slot) {
    loader_slot *s = &l->slots[slot];
    l->busy--;
    l->stream_busy = false;
    s->state = SLOT_READY;
    if (s->status != QUERN_OK) {
        if (s->batch.index + 1 < l->limit) l->limit = s->batch.index + 1;
    } else if (is_stream(l) && s->batch.sample_count < l->batch_size) {
        const bool keep = s->batch.sample_count > 0 && !l->drop_last;
        if (!keep) s->state = SLOT_FREE;
        l->limit = s->batch.index + (keep ? 1 : 0);
    }
    pthread_cond_broadcast(&l->ready);
    if (is_stream(l)) pthread_cond_signal(&l->work);
}

static void *worker_main(void *context) {
    loader_worker *w = context;
    loader *l = w->owner;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->quit && !can_claim(l)) pthread_cond_wait(&l->work, &l->lock);
        if (l->quit) break;
        const int32_t slot = claim(l);
        pthread_mutex_unlock(&l->lock);
        fill(l, slot, w->lane);
        pthread_mutex_lock(&l->lock);
        finish(l, slot);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

void loader_stop(loader *l) {
    pthread_mutex_lock(&l->lock);
    l->running = false;
    atomic_store(&l->cancel, true);
    while (l->busy > 0) pthread_cond_wait(&l->ready, &l->lock);
    for (int32_t i = 0; i < l->slot_count; i++) l->slots[i].state = SLOT_FREE;
    atomic_store(&l->cancel, false);
    l->failure = QUERN_OK;
    pthread_mutex_unlock(&l->lock);
}

static quern_status check_desc(const loader_desc *desc) {
    if (desc->batch_size < 1)
        return quern_fail(QUERN_INVALID, "batch_size %" PRId64 ", expected at least 1",
                          desc->batch_size);
    if (desc->worker_count < 0 || desc->worker_count > WORKER_MAX)
        return quern_fail(QUERN_INVALID, "worker_count %" PRId32 ", expected 0 to %d",
                          desc->worker_count, WORKER_MAX);
    if (desc->slot_count < 1)
        return quern_fail(QUERN_INVALID, "slot_count %" PRId32 ", expected at least 1",
                          desc->slot_count);
    return QUERN_OK;
}

static quern_status allocate_parts(loader *l, const loader_desc *desc) {
    const int64_t buffers = desc->slots ? (int64_t)desc->slot_count * desc->input_count : 0;
    QUERN_TRY(
        memory_allocate(l->host, &l->slots, desc->slot_count, sizeof *l->slots, "loader slots"));
    QUERN_TRY(memory_allocate(l->host, &l->buffers, buffers, sizeof *l->buffers, "loader slots"));
    for (int64_t i = 0; i < buffers; i++) l->buffers[i] = desc->slots[i];
    return memory_allocate(l->host, &l->workers, desc->worker_count, sizeof *l->workers,
                           "loader workers");
}

static quern_status start_workers(loader *l) {
    for (int32_t i = 0; i < l->worker_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "quern-load-%" PRId32, i);
        l->workers[i] = (loader_worker){.owner = l, .lane = i};
        QUERN_TRY(thread_start(&l->workers[i].thread, worker_main, &l->workers[i], name));
        l->started_workers = i + 1;
    }
    return QUERN_OK;
}

quern_status loader_create(loader **out, const loader_desc *desc) {
    *out = NULL;
    QUERN_TRY(check_desc(desc));
    loader *l;
    QUERN_TRY(memory_allocate(desc->host, &l, 1, sizeof *l, "loader"));
    l->host = desc->host;
    l->batch_size = desc->batch_size;
    l->drop_last = desc->drop_last;
    l->shuffle = desc->shuffle;
    l->names_only = desc->slots == NULL;
    l->slot_count = desc->slot_count;
    l->worker_count = desc->worker_count;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    const int32_t lanes = desc->worker_count > 0 ? desc->worker_count : 1;
    quern_status status = binding_begin(&l->binding, desc, lanes);
    if (status == QUERN_OK) status = allocate_parts(l, desc);
    if (status == QUERN_OK && desc->dataset != NULL) status = loader_bind(l, desc->dataset);
    if (status == QUERN_OK) status = start_workers(l);
    if (status != QUERN_OK) {
        loader_destroy(l);
        return status;
    }
    *out = l;
    return QUERN_OK;
}

void loader_destroy(loader *l) {
    if (l == NULL) return;
    const quern_host *host = l->host;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    atomic_store(&l->cancel, true);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int32_t i = 0; i < l->started_workers; i++) pthread_join(l->workers[i].thread, NULL);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    binding_release(&l->binding);
    memory_release(host, l->workers, l->worker_count, sizeof *l->workers);
    memory_release(host, l->buffers,
                   l->names_only ? 0 : (int64_t)l->slot_count * l->binding.input_count,
                   sizeof *l->buffers);
    memory_release(host, l->slots, l->slot_count, sizeof *l->slots);
    memory_release(host, l, 1, sizeof *l);
}

quern_status loader_bind(loader *l, const quern_dataset *dataset) {
    loader_stop(l);
    const int64_t length = dataset->length;
    if (length < 0 && l->names_only)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s' is a stream: nobody knows its batches before "
                          "they are read",
                          dataset->name);
    if (length == 0) return quern_fail(QUERN_INPUT, "dataset '%s' has no samples", dataset->name);
    if (length > 0 && l->drop_last && length < l->batch_size)
        return quern_fail(QUERN_INPUT,
                          "dataset '%s' has %" PRId64 " samples, fewer than the batch "
                          "size %" PRId64 ", and drop_last leaves an uneven last batch out",
                          dataset->name, length, l->batch_size);
    if (length > INT64_MAX / 4 || l->batch_size > INT64_MAX / 4)
        return quern_fail(QUERN_INVALID,
                          "dataset '%s': %" PRId64 " samples in batches of %" PRId64
                          " cannot be counted",
                          dataset->name, length, l->batch_size);
    QUERN_TRY(binding_set(&l->binding, dataset));
    l->stream_used = false;
    return QUERN_OK;
}

int64_t loader_batch_count(const loader *l) {
    const quern_dataset *d = l->binding.dataset;
    if (d == NULL || d->length < 0) return -1;
    return l->drop_last ? d->length / l->batch_size : count_divide_up(d->length, l->batch_size);
}

bool loader_can_restart(const loader *l) {
    const quern_dataset *d = l->binding.dataset;
    return d != NULL && (d->length >= 0 || d->type->rewind != NULL);
}

/* From the beginning, past the samples of the batches before first_batch. */
static quern_status start_stream(loader *l, int64_t epoch, int64_t first_batch) {
    const quern_dataset *d = l->binding.dataset;
    int64_t skip, skipped;
    if (l->stream_used && d->type->rewind == NULL)
        return quern_fail(QUERN_UNSUPPORTED, "dataset '%s' is a stream that cannot start again",
                          d->name);
    if (!count_multiply(first_batch, l->batch_size, &skip))
        return quern_fail(QUERN_INVALID, "batch %" PRId64 " of a stream", first_batch);
    l->stream_used = true;
    if (d->type->rewind != NULL) {
        const quern_status status = d->type->rewind(d->self);
        if (status != QUERN_OK) return error_prefix(status, "dataset '%s': rewind", d->name);
    }
    const binding_batch batch = {.epoch = epoch, .sample_count = skip, .cancel = &l->cancel};
    QUERN_TRY(binding_fill_stream(&l->binding, &batch, &skipped));
    l->limit = skipped < skip ? first_batch : INT64_MAX;
    return QUERN_OK;
}

quern_status loader_start(loader *l, int64_t epoch, int64_t first_batch) {
    loader_stop(l);
    const quern_dataset *d = l->binding.dataset;
    if (d == NULL) return quern_fail(QUERN_INVALID, "a loader without a dataset was started");
    const int64_t count = loader_batch_count(l);
    if (epoch < 0 || first_batch < 0 || (count >= 0 && first_batch > count))
        return quern_fail(QUERN_INVALID,
                          "epoch %" PRId64 ", batch %" PRId64 ": dataset '%s' has %" PRId64
                          " batches",
                          epoch, first_batch, d->name, count);
    l->limit = count;
    if (is_stream(l)) QUERN_TRY(start_stream(l, epoch, first_batch));
    pthread_mutex_lock(&l->lock);
    l->epoch = epoch;
    l->order = sampler_of_epoch(d->length < 0 ? 0 : d->length, l->shuffle, l->binding.seed, epoch);
    l->next_fill = l->next_deliver = first_batch;
    l->running = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return QUERN_OK;
}

/* Under the lock: the slot of the batch that is due, or -1. */
static int32_t find_due(const loader *l) {
    for (int32_t i = 0; i < l->slot_count; i++)
        if (l->slots[i].state == SLOT_READY && l->slots[i].batch.index == l->next_deliver) return i;
    return -1;
}

static bool all_held(const loader *l) {
    for (int32_t i = 0; i < l->slot_count; i++)
        if (l->slots[i].state != SLOT_HELD) return false;
    return true;
}

/* Under the lock: waits until the batch that is due is ready (its slot) or the epoch is over (-1).
 * Without workers, fills it here. */
static int32_t wait_for_due(loader *l) {
    for (;;) {
        const int32_t slot = find_due(l);
        if (slot >= 0) return slot;
        if (l->next_deliver >= l->limit || all_held(l)) return -1;
        if (l->worker_count > 0) {
            pthread_cond_wait(&l->ready, &l->lock);
        } else {
            const int32_t claimed = claim(l);
            fill(l, claimed, 0);
            finish(l, claimed);
        }
    }
}

static quern_status deliver(loader *l, loader_batch *out) {
    if (!l->running) return quern_fail(QUERN_INVALID, "loader_next without loader_start");
    const int32_t slot = l->failure == QUERN_OK ? wait_for_due(l) : -1;
    if (slot >= 0) {
        loader_slot *s = &l->slots[slot];
        l->failure = s->status;
        if (s->status != QUERN_OK) l->failure_text = s->error;
        s->state = SLOT_HELD;
        if (s->status == QUERN_OK) {
            l->next_deliver++;
            *out = s->batch;
            return QUERN_OK;
        }
    }
    if (l->failure != QUERN_OK) {
        error_restore(&l->failure_text);
        return l->failure;
    }
    if (l->next_deliver < l->limit)
        return quern_fail(QUERN_INVALID, "all %" PRId32 " slots of the loader are held",
                          l->slot_count);
    *out = (loader_batch){.end = true, .slot = -1, .index = l->next_deliver};
    return QUERN_OK;
}

quern_status loader_next(loader *l, loader_batch *out) {
    *out = (loader_batch){.slot = -1};
    pthread_mutex_lock(&l->lock);
    const quern_status status = deliver(l, out);
    pthread_mutex_unlock(&l->lock);
    return status;
}

void loader_release(loader *l, int32_t slot) {
    pthread_mutex_lock(&l->lock);
    if (slot >= 0 && slot < l->slot_count && l->slots[slot].state == SLOT_HELD) {
        l->slots[slot].state = SLOT_FREE;
        pthread_cond_signal(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
}

quern_status loader_read(const loader *l, const loader_batch_place *place, void *const *to) {
    const int64_t length = l->binding.dataset->length;
    QUERN_ENSURE(l->names_only && place->epoch >= 0 && place->index >= 0 &&
                 place->index * l->batch_size + place->sample_count <= length);
    const sampler order = sampler_of_epoch(length, l->shuffle, l->binding.seed, place->epoch);
    return binding_fill(&l->binding, &order,
                        &(binding_batch){.epoch = place->epoch,
                                         .first_position = place->index * l->batch_size,
                                         .sample_count = place->sample_count,
                                         .to = to,
                                         .cancel = &l->cancel});
}

int32_t loader_field(const loader *l, int32_t input, field_plan *plan) {
    *plan = l->binding.plans[input];
    return l->binding.field[input];
}
