/* state_held.c - the batches that an epoch left over and that wait for the next one
 * (QUERN_TAIL_CARRY), as tensors: their samples as they were loaded, so that they come back exactly
 * also from a stream, and behind skipped batches. They are the last of the table; a snapshot holds
 * as many as there are, each as large as it is. */
#include "state.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static quern_status add(quern_trainer *t, int32_t held, const char *what,
                        quern_safetensors_entry *entry, void *live) {
    char name[512];
    snprintf(name, sizeof name, "window.%" PRId32 ".%s", held, what);
    QUERN_TRY(arena_copy_string(&t->memory, &entry->name, name));
    return state_add(&t->save->table, entry, &(saved_place){live, false});
}

/* Room for a whole batch. */
static quern_status add_one(quern_trainer *t, int32_t held) {
    const feed *f = &t->train_feed;
    int64_t *live = t->held.microbatches[held].origin;
    quern_safetensors_entry origin = {
        .dtype = QUERN_I64, .rank = 1, .dim = {3}, .bytes = 3 * sizeof *live};
    QUERN_TRY(add(t, held, "origin", &origin, live));
    for (int32_t i = 0; i < f->input_count; i++) {
        const loader_input *input = &f->inputs[i];
        quern_safetensors_entry samples = {.dtype = input->dtype,
                                           .rank = 2,
                                           .dim = {t->desc.batch_size, input->count},
                                           .bytes = (size_t)(t->desc.batch_size * input->count) *
                                                    quern_dtype_bytes(input->dtype)};
        QUERN_TRY(add(t, held, input->name, &samples, window_held_memory(t, held, i)));
    }
    return QUERN_OK;
}

int64_t state_held_tensors(const quern_trainer *t) {
    return t->train_feed.held_count * ((int64_t)t->train_feed.input_count + 1);
}

quern_status state_add_held(quern_trainer *t) {
    for (int32_t i = 0; i < t->train_feed.held_count; i++) QUERN_TRY(add_one(t, i));
    return QUERN_OK;
}

void state_fit_held(const quern_trainer *t, checkpoint_snapshot *to) {
    int64_t at = t->save->table.fixed_count;
    for (int32_t held = 0; held < t->held.count; held++) {
        at++; /* the origin */
        for (int32_t i = 0; i < t->train_feed.input_count; i++, at++) {
            quern_safetensors_entry *e = &to->state[at];
            e->dim[0] = t->held.microbatches[held].sample_count;
            e->bytes = (size_t)(e->dim[0] * e->dim[1]) * quern_dtype_bytes(e->dtype);
        }
    }
    to->content.state_count = at;
}

static quern_status samples_load(quern_trainer *t, const quern_checkpoint *from, int64_t i,
                                 int64_t sample_count) {
    const saved_state *s = &t->save->table;
    quern_safetensors_entry mine = s->state[i];
    mine.dim[0] = sample_count;
    QUERN_TRY(state_check_entry(from, &mine));
    const quern_safetensors_entry *e = quern_safetensors_find(from->state, mine.name);
    if (e->bytes > 0) memcpy(s->state_places[i].live, e->data, e->bytes);
    return QUERN_OK;
}

/* *found false: the checkpoint holds fewer batches. */
static quern_status load_one(quern_trainer *t, const quern_checkpoint *from, int32_t held,
                             bool *found) {
    const saved_state *s = &t->save->table;
    const int32_t inputs = t->train_feed.input_count;
    const int64_t first = s->fixed_count + held * ((int64_t)inputs + 1);
    window_batch *to = &t->held.microbatches[held];
    const quern_safetensors_entry *origin =
        quern_safetensors_find(from->state, s->state[first].name);
    *found = origin != NULL;
    if (!origin) return QUERN_OK;
    QUERN_TRY(state_check_entry(from, &s->state[first]));
    memcpy(to->origin, origin->data, sizeof to->origin);
    if (to->sample_count < 1 || to->sample_count > t->desc.batch_size)
        return quern_fail(QUERN_INPUT,
                          "%s/" STATE_FILE ": %s says %" PRId64 " samples, not 1 … %" PRId64,
                          from->path, origin->name, to->sample_count, t->desc.batch_size);
    if (to->epoch < 0 || to->epoch > t->epoch || to->batch < 0)
        return quern_fail(QUERN_INPUT,
                          "%s/" STATE_FILE ": %s says batch %" PRId64 " of epoch %" PRId64
                          ", but the run is in epoch %" PRId64,
                          from->path, origin->name, to->batch, to->epoch, t->epoch);
    for (int64_t i = first + 1; i <= first + inputs; i++)
        QUERN_TRY(samples_load(t, from, i, to->sample_count));
    return QUERN_OK;
}

quern_status state_load_held(quern_trainer *t, const quern_checkpoint *from) {
    const int32_t capacity = t->train_feed.held_count;
    char beyond[48];
    int32_t count = 0;
    snprintf(beyond, sizeof beyond, "window.%" PRId32 ".origin", capacity);
    if (quern_safetensors_find(from->state, beyond))
        return quern_fail(QUERN_INPUT,
                          "%s/" STATE_FILE ": more batches wait for the next epoch than the "
                          "%" PRId32 " that this run's windows and tail can leave over",
                          from->path, capacity);
    for (bool found = true; count < capacity && found; count += found)
        QUERN_TRY(load_one(t, from, count, &found));
    return window_hold_again(t, t->held.microbatches, count, t->held.skip);
}
