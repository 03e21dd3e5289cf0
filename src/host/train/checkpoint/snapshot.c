/* snapshot.c - one block for the tensors of a content, each at a multiple of 64 bytes. */
#include "snapshot.h"
#include "../../base/size.h"

#include <math.h>
#include <string.h>

static bool add_bytes(const quern_safetensors_entry *entries, int64_t count, size_t *total) {
    for (int64_t i = 0; i < count; i++) {
        size_t aligned;
        if (!size_align(entries[i].bytes, &aligned) || !size_add(*total, aligned, total))
            return false;
    }
    return true;
}

quern_status checkpoint_snapshot_bytes(const checkpoint_content *largest, size_t *out) {
    *out = 0;
    if (add_bytes(largest->model, largest->model_count, out) &&
        add_bytes(largest->state, largest->state_count, out))
        return QUERN_OK;
    return quern_fail(QUERN_HOST_MEMORY, "a snapshot has more bytes than there can be memory");
}

static quern_status copy_entries(const quern_safetensors_entry **out, arena *memory,
                                 const quern_safetensors_entry *from, int64_t count) {
    quern_safetensors_entry *to;
    QUERN_TRY(arena_allocate(memory, &to, count, sizeof *to, "the tensors of a checkpoint"));
    *out = to;
    for (int64_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].data = NULL;
        QUERN_TRY(arena_copy_string(memory, &to[i].name, from[i].name));
    }
    return QUERN_OK;
}

quern_status content_copy(checkpoint_content *out, arena *memory, const checkpoint_content *from) {
    checkpoint_callback *callbacks;
    *out = *from;
    if (from->metric != NULL) QUERN_TRY(arena_copy_string(memory, &out->metric, from->metric));
    QUERN_TRY(arena_copy_string(memory, &out->configuration, from->configuration));
    QUERN_TRY(arena_copy_string(memory, &out->algorithms, from->algorithms));
    QUERN_TRY(arena_allocate(memory, &callbacks, from->callback_count, sizeof *callbacks,
                             "the callbacks of a checkpoint"));
    out->callbacks = callbacks;
    for (int64_t i = 0; i < from->callback_count; i++) {
        callbacks[i] = from->callbacks[i];
        callbacks[i].data = NULL;
        QUERN_TRY(arena_copy_string(memory, &callbacks[i].name, from->callbacks[i].name));
    }
    QUERN_TRY(copy_entries(&out->model, memory, from->model, from->model_count));
    return copy_entries(&out->state, memory, from->state, from->state_count);
}

static quern_status create_tensors(quern_safetensors_entry **entries, void ***data, arena *memory,
                                   const quern_safetensors_entry *largest, int64_t count,
                                   unsigned char **next) {
    QUERN_TRY(arena_allocate(memory, entries, count, sizeof **entries, "a snapshot's tensors"));
    QUERN_TRY(arena_allocate(memory, data, count, sizeof **data, "a snapshot's tensors"));
    for (int64_t i = 0; i < count; i++) {
        size_t aligned = 0;
        (*data)[i] = *next;
        if (size_align(largest[i].bytes, &aligned) && aligned > 0) *next += aligned;
    }
    return QUERN_OK;
}

quern_status snapshot_create(checkpoint_snapshot *out, arena *memory,
                             const checkpoint_content *largest, void *block) {
    unsigned char *next = block;
    const int64_t count = largest->callback_count;
    QUERN_TRY(create_tensors(&out->model, &out->model_data, memory, largest->model,
                             largest->model_count, &next));
    QUERN_TRY(create_tensors(&out->state, &out->state_data, memory, largest->state,
                             largest->state_count, &next));
    QUERN_TRY(arena_allocate(memory, &out->callbacks, count, sizeof *out->callbacks,
                             "a snapshot's callbacks"));
    QUERN_TRY(arena_allocate(memory, &out->callback_data, count, sizeof *out->callback_data,
                             "a snapshot's callbacks"));
    for (int64_t i = 0; i < count; i++)
        QUERN_TRY(arena_allocate(memory, &out->callback_data[i],
                                 (int64_t)largest->callbacks[i].bytes, 1,
                                 "the state of a callback"));
    snapshot_reset(out, largest);
    return QUERN_OK;
}

static void reset_tensors(quern_safetensors_entry *to, void *const *data,
                          const quern_safetensors_entry *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].data = data[i];
    }
}

void snapshot_reset(checkpoint_snapshot *s, const checkpoint_content *largest) {
    s->content = *largest;
    s->content.counters = (checkpoint_counters){0};
    s->content.metric_value = (double)NAN;
    reset_tensors(s->model, s->model_data, largest->model, largest->model_count);
    reset_tensors(s->state, s->state_data, largest->state, largest->state_count);
    for (int64_t i = 0; i < largest->callback_count; i++) {
        s->callbacks[i] = largest->callbacks[i];
        s->callbacks[i].data = s->callback_data[i];
    }
    s->content.model = s->model;
    s->content.state = s->state;
    s->content.callbacks = s->callbacks;
}
