/* resident.c - which of a trainer's sets the device holds whole, and their way there: once, in
 * create, through pinned memory, only the fields that an input names. Where the device's memory is
 * the host's nothing is copied: the set is read where it is. */
#include "resident.h"

#include <inttypes.h>
#include <string.h>

#define UPLOAD_CHUNK_BYTES ((size_t)8 << 20)

bool trainer_shares_memory(const quern_trainer *t) { return t->backend->kind == QUERN_BACKEND_CPU; }

/* NULL: it can be. */
static const char *obstacle(const quern_dataset *d) {
    if (d->length < 0) return "is a stream";
    return d->held ? NULL : "is not in memory: it is read sample by sample";
}

static bool input_names(const quern_trainer *t, const quern_dataset *d, int32_t field) {
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next)
        if (tensor->role == ROLE_INPUT && dataset_find_field(d, tensor->name) == field) return true;
    return false;
}

static const resident_set *earlier_of(const quern_trainer *t, const resident_set *set) {
    for (const resident_set *s = t->residents; s < set; s++)
        if (s->dataset == set->dataset) return s;
    return NULL;
}

/* One field behind another, each aligned. */
static bool data_count(const quern_trainer *t, resident_set *set) {
    size_t bytes = 0;
    if (trainer_shares_memory(t) || earlier_of(t, set)) return true;
    for (int32_t f = 0; f < set->dataset->field_count; f++)
        if (input_names(t, set->dataset, f) &&
            (!count_bytes(set->dataset->length, set->dataset->field_bytes[f], &bytes) ||
             !size_align(bytes, &bytes) || !size_add(set->data_bytes, bytes, &set->data_bytes)))
            return false;
    return true;
}

/* An evaluation's own counters, aligned, then the picks. */
static bool work_count(const quern_trainer *t, resident_set *set) {
    size_t picks = 0, run = 0;
    return count_bytes(t->desc.batch_size, sizeof(task_pick), &picks) &&
           size_align(sizeof(quern_run), &run) && size_add(picks, run, &set->work_bytes);
}

/* What may be taken by sets that nobody insists on: half of what is free beside all else. */
static quern_status room_find(const quern_trainer *t, size_t *room) {
    quern_device_info info;
    *room = 0;
    QUERN_TRY(t->backend->info(t->device->memory, &info));
    const size_t needed = memory_still_needed(t);
    if ((size_t)info.memory_free_bytes > needed)
        *room = ((size_t)info.memory_free_bytes - needed) / 2;
    return QUERN_OK;
}

static quern_status set_choose(quern_trainer *t, resident_set *set, size_t *room) {
    const bool insisted = t->desc.resident == QUERN_RESIDENT_ON;
    const char *why = obstacle(set->dataset);
    if (why && insisted)
        return quern_fail(QUERN_UNSUPPORTED, "trainer: resident is ON, but the set %s %s",
                          set->name, why);
    if (!why && (!data_count(t, set) || !work_count(t, set)))
        return quern_fail(QUERN_SHAPE, "trainer: the set %s has more bytes than can be counted",
                          set->name);
    if (why || (!insisted && set->data_bytes + set->work_bytes > *room)) {
        *set = (resident_set){0};
        return QUERN_OK;
    }
    *room -= insisted ? 0 : set->data_bytes + set->work_bytes;
    t->planned.data_bytes += set->data_bytes + set->work_bytes;
    return QUERN_OK;
}

static quern_status sets_choose(quern_trainer *t) {
    const int32_t count = t->set_count + 1;
    size_t room = 0;
    if (t->desc.resident == QUERN_RESIDENT_AUTO) QUERN_TRY(room_find(t, &room));
    QUERN_TRY(arena_allocate(&t->memory, &t->residents, count, sizeof *t->residents, "sets"));
    for (int32_t i = 0; i < count; i++) {
        resident_set *set = &t->residents[i];
        set->dataset = i == 0 ? t->desc.train : t->sets[i - 1].dataset;
        set->name = i == 0 ? "train" : t->sets[i - 1].name;
        if (set->dataset) QUERN_TRY(set_choose(t, set, &room));
    }
    return QUERN_OK;
}

quern_status resident_plan(quern_trainer *t) {
    const bool never = t->desc.resident == QUERN_RESIDENT_OFF ||
                       (t->desc.resident == QUERN_RESIDENT_AUTO && trainer_shares_memory(t)) ||
                       (!t->desc.train && t->set_count == 0);
    if (!never) QUERN_TRY(sets_choose(t));
    bool any = false;
    for (int32_t i = 0; !never && i <= t->set_count; i++)
        any |= t->residents[i].dataset && (i == 0 || !t->desc.train);
    t->desc.resident = any ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF;
    return QUERN_OK;
}

resident_set *resident_train(const quern_trainer *t) {
    return t->residents && t->residents[0].dataset ? &t->residents[0] : NULL;
}

feed *resident_feed(const quern_trainer *t, const quern_dataset *dataset) {
    for (int32_t i = 1; t->residents && i <= t->set_count; i++)
        if (t->residents[i].dataset == dataset) return &t->residents[i].feed;
    return NULL;
}

/* Waits for each chunk: this is before the first step. */
static quern_status field_upload(quern_trainer *t, unsigned char *to, const unsigned char *from,
                                 size_t bytes, void *chunk) {
    for (size_t at = 0; at < bytes; at += UPLOAD_CHUNK_BYTES) {
        const size_t part = bytes - at < UPLOAD_CHUNK_BYTES ? bytes - at : UPLOAD_CHUNK_BYTES;
        memcpy(chunk, from + at, part);
        QUERN_TRY(t->backend->copy(t->stream, to + at, chunk, part));
        QUERN_TRY(trainer_wait_stream(t));
    }
    return QUERN_OK;
}

static quern_status fields_upload(quern_trainer *t, resident_set *set, void *chunk) {
    unsigned char *at = set->data_block;
    for (int32_t f = 0; f < set->dataset->field_count; f++) {
        size_t bytes = (size_t)set->dataset->length * set->dataset->field_bytes[f];
        if (!input_names(t, set->dataset, f)) continue;
        QUERN_TRY(field_upload(t, at, set->dataset->data[f], bytes, chunk));
        set->data[f] = at;
        QUERN_ENSURE(size_align(bytes, &bytes));
        at += bytes;
    }
    return QUERN_OK;
}

/* Behind a failure, which is told already. */
static void rest_quietly(quern_trainer *t) {
    error_text text;
    error_save(&text);
    const quern_status rest = device_wait_stream(t->device, t->stream);
    (void)rest;
    error_restore(&text);
}

static quern_status data_create(quern_trainer *t, resident_set *set) {
    const resident_set *earlier = earlier_of(t, set);
    void *chunk = NULL;
    if (earlier) memcpy(set->data, earlier->data, sizeof set->data);
    if (earlier || set->data_bytes == 0) {
        for (int32_t f = 0; !earlier && f < set->dataset->field_count; f++)
            set->data[f] = set->dataset->data[f];
        return QUERN_OK;
    }
    QUERN_TRY(t->backend->allocate(t->device->memory, &set->data_block, set->data_bytes));
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &chunk, UPLOAD_CHUNK_BYTES));
    const quern_status status = fields_upload(t, set, chunk);
    if (status != QUERN_OK) rest_quietly(t); /* it may read the chunk */
    t->backend->release_pinned(t->device->memory, chunk, UPLOAD_CHUNK_BYTES);
    return status;
}

static size_t batches_bytes(const resident_set *set) {
    return (size_t)(set->lane_count * set->window) * sizeof *set->batches;
}

/* As many lanes as attempts, or an evaluation's batches, can be under way. */
static quern_status work_create(quern_trainer *t, resident_set *set) {
    const bool train = set == t->residents;
    void *batches = NULL;
    set->lane_count = t->lanes;
    set->window = train ? t->desc.accumulate : 1;
    QUERN_TRY(t->backend->allocate(t->device->memory, &set->work_block, set->work_bytes));
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &batches, batches_bytes(set)));
    set->batches = batches;
    size_t run_bytes = 0;
    QUERN_ENSURE(size_align(sizeof(quern_run), &run_bytes));
    void *const picks = (unsigned char *)set->work_block + run_bytes;
    set->own_run = train ? NULL : set->work_block;
    set->picks = picks;
    if (!train) set->feed.resident = set;
    return train ? QUERN_OK : t->backend->fill(t->stream, set->own_run, 0, sizeof *set->own_run);
}

quern_status resident_create(quern_trainer *t) {
    for (int32_t i = 0; t->residents && i <= t->set_count; i++) {
        resident_set *set = &t->residents[i];
        if (!set->dataset) continue;
        QUERN_TRY(data_create(t, set));
        QUERN_TRY(work_create(t, set));
        if (set->data_bytes > 0)
            log_write(t->host, QUERN_LOG_INFO,
                      "the set %s is resident: %" PRId64 " samples, %zu bytes", set->name,
                      set->dataset->length, set->data_bytes);
        else
            log_write(t->host, QUERN_LOG_INFO,
                      "the set %s is resident: %" PRId64 " samples, used where they are", set->name,
                      set->dataset->length);
    }
    return QUERN_OK;
}

void resident_release(quern_trainer *t) {
    backend_device *memory = t->device->memory;
    for (int32_t i = 0; t->residents && i <= t->set_count; i++) {
        resident_set *set = &t->residents[i];
        feed_release(t, &set->feed);
        if (set->batches) t->backend->release_pinned(memory, set->batches, batches_bytes(set));
        if (set->work_block) t->backend->release(memory, set->work_block, set->work_bytes);
        if (set->data_block) t->backend->release(memory, set->data_block, set->data_bytes);
    }
    t->residents = NULL;
}
