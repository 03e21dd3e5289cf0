/* state.c - what the state of a trainer is: one table of named tensors with the memory that each
 * lives in. Saving copies from there, resuming and rolling back copy to there, the digest reads
 * such a copy; so a thing that is in the table is in all of them, and a thing that is not would be
 * forgotten by all. No times are in it, and no padding.
 *
 *   <parameter>, <buffer>            the model, under its names in the graph
 *   optimizer.<i>.<parameter>        the rule's i-th state
 *   average.<parameter>              the moving average
 *   trainer.<field>                  counters and sums of the host, one by one
 *   trainer.metric_sums, …           of the device since the last log, of the epoch, evaluated
 *   window.<i>.<input>, .origin     held batches (state_held.c)
 *   callback.<name>                  a callback's block; its small bytes go into the manifest */
#include "state.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct field {
    const char *name;
    quern_dtype dtype;
    size_t offset;
    int64_t lowest; /* of an integer */
} field;

#define FIELD(dtype, member, lowest)                                                               \
    { STATE_TRAINER #member, QUERN_##dtype, offsetof(quern_trainer, member), lowest }
#define COUNTER(member) FIELD(I64, member, 0)
#define FLAG(member) FIELD(U8, member, 0)
#define NUMBER(member) FIELD(F64, member, 0)

/* Bytes of a bool are 0 and 1. Counts of samples in sums are measures of speed only. */
static const field fields[] = {
    COUNTER(step),
    COUNTER(attempts),
    COUNTER(samples),
    COUNTER(epoch),
    COUNTER(epochs_started),
    COUNTER(batch),
    FIELD(I64, evaluated_step, -1),
    FIELD(I64, evaluated_attempts, -1),
    COUNTER(ended),
    COUNTER(due),
    COUNTER(rollbacks),
    FIELD(I64, failed_step, -1),
    FLAG(epoch_open),
    FLAG(epoch_ending),
    FLAG(held.skip),
    FLAG(evaluated),
    {STATE_SCALE, QUERN_F64, offsetof(quern_trainer, optimizer.schedule.scale), 0},
    NUMBER(last.norm),
    NUMBER(last.learning_rate),
    COUNTER(last.not_finite),
    NUMBER(last.scale),
    COUNTER(last.scale_age),
    NUMBER(since_log.loss),
    NUMBER(since_log.weight),
    COUNTER(since_log.attempts),
    COUNTER(since_log.measured),
    NUMBER(since_log.low),
    NUMBER(since_log.high),
    NUMBER(since_log.mean),
    NUMBER(since_log.spread),
    NUMBER(of_epoch.loss),
    NUMBER(of_epoch.weight),
    COUNTER(of_epoch.measured),
    NUMBER(of_epoch.low),
    NUMBER(of_epoch.high),
    NUMBER(of_epoch.mean),
    NUMBER(of_epoch.spread),
    COUNTER(recent.seen),
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields, BLOCK_COUNT = 5 };
_Static_assert(sizeof(bool) == 1, "a flag is saved as U8");

static bool begins_with(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

quern_status state_add(saved_state *s, const quern_safetensors_entry *entry,
                       const saved_place *place) {
    const int64_t i = s->content.state_count++;
    QUERN_ENSURE(i < s->capacity);
    s->state[i] = *entry;
    s->state_places[i] = *place;
    return QUERN_OK;
}

static quern_status vector_add(saved_state *s, const char *name, quern_dtype dtype, int64_t count,
                               const saved_place *place) {
    if (count == 0) return QUERN_OK;
    const quern_safetensors_entry entry = {.name = name,
                                           .dtype = dtype,
                                           .rank = 1,
                                           .dim = {count},
                                           .bytes = (size_t)count * quern_dtype_bytes(dtype)};
    return state_add(s, &entry, place);
}

static quern_safetensors_entry entry_of(const char *name, const quern_view *view) {
    quern_safetensors_entry entry = {.name = name,
                                     .dtype = view->dtype,
                                     .rank = view->rank,
                                     .bytes = (size_t)view->count * quern_dtype_bytes(view->dtype)};
    memcpy(entry.dim, view->dim, sizeof entry.dim);
    return entry;
}

static void add_model(quern_trainer *t, saved_state *s) {
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next) {
        if (!tensor->parameter) continue;
        const quern_view view = parameters_view(t->parameters, tensor);
        s->model[s->content.model_count] = entry_of(tensor->name, &view);
        s->model_places[s->content.model_count++] = (saved_place){view.data, true};
    }
}

/* `base` has the layout of the parameters' values. */
static quern_status add_like_parameters(quern_trainer *t, saved_state *s, const char *prefix,
                                        void *base) {
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next) {
        char name[512];
        const char *kept = NULL;
        if (tensor->role != ROLE_PARAMETER || !tensor->wants_gradient) continue;
        const quern_view view = parameters_view(t->parameters, tensor);
        snprintf(name, sizeof name, "%s%s", prefix, tensor->name);
        QUERN_TRY(arena_copy_string(&t->memory, &kept, name));
        const quern_safetensors_entry entry = entry_of(kept, &view);
        const size_t offset = (size_t)tensor->offset * quern_dtype_bytes(view.dtype);
        QUERN_TRY(state_add(s, &entry, &(saved_place){(char *)base + offset, true}));
    }
    return QUERN_OK;
}

static quern_status add_optimizer(quern_trainer *t, saved_state *s) {
    for (int32_t i = 0; i < t->optimizer.state_count; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, STATE_OPTIMIZER "%" PRId32 ".", i);
        QUERN_TRY(add_like_parameters(t, s, prefix, t->optimizer.update.states[i]));
    }
    return QUERN_OK;
}

/* A loss scale that stays as the desc says is no state. */
static bool is_field_of(const quern_trainer *t, const char *name) {
    return t->desc.loss_scale.interval > 0 || !begins_with(name, STATE_LOSS_SCALE);
}

static quern_status add_trainer(quern_trainer *t, saved_state *s) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (!is_field_of(t, fields[i].name)) continue;
        void *live = (char *)t + fields[i].offset;
        QUERN_TRY(vector_add(s, fields[i].name, fields[i].dtype, 1, &(saved_place){live, false}));
    }
    const saved_place sums = {t->sums, true}, epoch = {t->epoch_metrics, false},
                      recent = {t->recent.losses, false}, values = {t->eval_values, false},
                      evaluated = {t->sums_read + t->train_sum_count, false};
    QUERN_TRY(vector_add(s, "trainer.metric_sums", QUERN_F64, t->train_sum_count, &sums));
    QUERN_TRY(vector_add(s, "trainer.epoch_metrics", QUERN_F64, t->train_sum_count, &epoch));
    QUERN_TRY(vector_add(s, "trainer.recent", QUERN_F64, 2 * t->recent.capacity, &recent));
    QUERN_TRY(vector_add(s, "trainer.evaluation", QUERN_F64,
                         t->set_count * (int64_t)(t->desc.metric_count + 1), &values));
    return vector_add(s, "trainer.evaluation_sums", QUERN_F64, t->eval_sum_count, &evaluated);
}

static quern_status callback_check(const saved_state *s, const quern_callback *callback,
                                   const quern_callback_state *state) {
    const char *name = callback->name;
    if (!name || !name[0])
        return quern_fail(QUERN_INVALID, "trainer: a callback without a name has a state");
    if ((state->bytes > 0 && !state->data) || (state->block_bytes > 0 && !state->block))
        return quern_fail(QUERN_INVALID, "trainer: callback %s has a state without memory", name);
    if (state->bytes > (size_t)64 << 10)
        return quern_fail(QUERN_INVALID,
                          "trainer: callback %s has %zu bytes of data, at most 65536 are saved "
                          "(its block may be larger)",
                          name, state->bytes);
    for (int64_t i = 0; i < s->content.callback_count; i++)
        if (strcmp(s->callbacks[i].name, name) == 0)
            return quern_fail(QUERN_INVALID, "trainer: two callbacks with a state are named %s",
                              name);
    return QUERN_OK;
}

static quern_status add_callback(quern_trainer *t, saved_state *s, const quern_callback *callback) {
    const quern_callback_state state = callback->state(callback->self);
    char name[512];
    const char *kept = NULL;
    if (state.bytes == 0 && state.block_bytes == 0) return QUERN_OK;
    QUERN_TRY(callback_check(s, callback, &state));
    const int64_t i = s->content.callback_count++;
    s->callbacks[i] = (checkpoint_callback){.name = callback->name, .bytes = state.bytes};
    s->callback_data[i] = state.data;
    snprintf(name, sizeof name, STATE_CALLBACK "%s", callback->name);
    QUERN_TRY(arena_copy_string(&t->memory, &kept, name));
    return vector_add(s, kept, QUERN_U8, (int64_t)state.block_bytes,
                      &(saved_place){state.block, false});
}

static quern_status lists_create(quern_trainer *t, saved_state *s) {
    const int64_t model = t->graph->parameter_count, callbacks = t->desc.callback_count;
    arena *memory = &t->memory;
    s->capacity = model * (t->optimizer.state_count + 1) + FIELD_COUNT + BLOCK_COUNT + callbacks +
                  state_held_tensors(t);
    QUERN_TRY(arena_allocate(memory, &s->model, model, sizeof *s->model, "saved tensors"));
    QUERN_TRY(
        arena_allocate(memory, &s->model_places, model, sizeof *s->model_places, "saved tensors"));
    QUERN_TRY(arena_allocate(memory, &s->state, s->capacity, sizeof *s->state, "saved tensors"));
    QUERN_TRY(arena_allocate(memory, &s->state_places, s->capacity, sizeof *s->state_places,
                             "saved tensors"));
    QUERN_TRY(
        arena_allocate(memory, &s->callbacks, callbacks, sizeof *s->callbacks, "saved callbacks"));
    return arena_allocate(memory, &s->callback_data, callbacks, sizeof *s->callback_data,
                          "saved callbacks");
}

quern_status state_create(quern_trainer *t) {
    saved_state *s = &t->save->table;
    QUERN_TRY(lists_create(t, s));
    add_model(t, s);
    QUERN_TRY(add_optimizer(t, s));
    if (t->average) QUERN_TRY(add_like_parameters(t, s, STATE_AVERAGE, t->average->values));
    s->content.finite_count = s->content.state_count;
    QUERN_TRY(add_trainer(t, s));
    for (int32_t i = 0; i < t->desc.callback_count; i++)
        if (t->callbacks[i]->state) QUERN_TRY(add_callback(t, s, t->callbacks[i]));
    s->fixed_count = s->content.state_count;
    QUERN_TRY(state_add_held(t));
    s->content.seed = t->device->seed;
    s->content.algorithms = t->save->algorithms;
    s->content.configuration = t->save->configuration;
    s->content.model = s->model;
    s->content.state = s->state;
    s->content.callbacks = s->callbacks;
    return QUERN_OK;
}

static quern_status copy(quern_trainer *t, const saved_place *place, void *to, const void *from,
                         size_t bytes) {
    if (bytes == 0) return QUERN_OK;
    if (place->on_device) return t->backend->copy(t->stream, to, from, bytes);
    memcpy(to, from, bytes);
    return QUERN_OK;
}

quern_status state_copy(quern_trainer *t, checkpoint_snapshot *to) {
    const saved_state *s = &t->save->table;
    QUERN_ENSURE(t->in_flight_count == 0);
    QUERN_TRY(average_follow(t));
    for (int64_t i = 0; i < s->content.model_count; i++)
        QUERN_TRY(copy(t, &s->model_places[i], to->model_data[i], s->model_places[i].live,
                       s->model[i].bytes));
    state_fit_held(t, to);
    for (int64_t i = 0; i < to->content.state_count; i++)
        QUERN_TRY(copy(t, &s->state_places[i], to->state_data[i], s->state_places[i].live,
                       to->state[i].bytes));
    for (int64_t i = 0; i < s->content.callback_count; i++)
        if (s->callbacks[i].bytes > 0)
            memcpy(to->callback_data[i], s->callback_data[i], s->callbacks[i].bytes);
    return trainer_wait_stream(t);
}

static void dims_text(const quern_safetensors_entry *e, char *out, size_t bytes) {
    size_t at = (size_t)snprintf(out, bytes, "%s (", quern_dtype_name(e->dtype));
    for (int32_t i = 0; i < e->rank && at < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%" PRId64, i > 0 ? ", " : "", e->dim[i]);
    if (at < bytes) snprintf(out + at, bytes - at, ")");
}

const checkpoint_callback *state_find_callback(const quern_checkpoint *from, const char *name) {
    for (int64_t i = 0; i < from->manifest.content.callback_count; i++)
        if (strcmp(from->manifest.callbacks[i].name, name) == 0)
            return &from->manifest.callbacks[i];
    return NULL;
}

/* What was not there when the checkpoint was written starts anew: a callback, the loss scale. One
 * that was there without its block would go on with counts and without what they count. */
static bool may_be_missing(const quern_checkpoint *from, const char *name) {
    if (begins_with(name, STATE_CALLBACK))
        return !state_find_callback(from, name + strlen(STATE_CALLBACK));
    return begins_with(name, STATE_LOSS_SCALE);
}

quern_status state_check_entry(const quern_checkpoint *from, const quern_safetensors_entry *mine) {
    char found[192], expected[192];
    const quern_safetensors_entry *e = quern_safetensors_find(from->state, mine->name);
    if (!e && may_be_missing(from, mine->name)) return QUERN_OK;
    dims_text(mine, expected, sizeof expected);
    if (!e)
        return quern_fail(QUERN_INPUT, "%s/" STATE_FILE ": there is no tensor %s %s", from->path,
                          mine->name, expected);
    if (e->dtype == mine->dtype && e->rank == mine->rank &&
        memcmp(e->dim, mine->dim, (size_t)e->rank * sizeof *e->dim) == 0)
        return QUERN_OK;
    dims_text(e, found, sizeof found);
    return quern_fail(QUERN_INPUT, "%s/" STATE_FILE ": tensor %s is %s, this run's is %s",
                      from->path, mine->name, found, expected);
}

quern_status state_check(const quern_trainer *t, const quern_checkpoint *from) {
    const saved_state *s = &t->save->table;
    for (int64_t i = 0; i < s->fixed_count; i++) QUERN_TRY(state_check_entry(from, &s->state[i]));
    return QUERN_OK;
}

quern_status state_load(quern_trainer *t, const quern_checkpoint *from, const char *prefix) {
    const saved_state *s = &t->save->table;
    for (int64_t i = 0; i < s->fixed_count; i++) {
        if (!begins_with(s->state[i].name, prefix)) continue;
        const quern_safetensors_entry *e = quern_safetensors_find(from->state, s->state[i].name);
        if (!e) continue;
        QUERN_TRY(copy(t, &s->state_places[i], s->state_places[i].live, e->data, e->bytes));
    }
    return trainer_wait_stream(t);
}

quern_status state_check_counters(const quern_trainer *t) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        const char *at = (const char *)t + fields[i].offset;
        int64_t value = 0;
        if (fields[i].dtype == QUERN_I64) memcpy(&value, at, sizeof value);
        if (fields[i].dtype == QUERN_U8) value = *(const uint8_t *)at;
        const int64_t highest = fields[i].dtype == QUERN_U8 ? 1 : CHECKPOINT_COUNTER_MAX;
        if (value < fields[i].lowest || value > highest)
            return quern_fail(QUERN_INPUT, "%s is %" PRId64 ", which no run can have come to",
                              fields[i].name, value);
    }
    if (!isfinite(t->optimizer.schedule.scale) || !(t->optimizer.schedule.scale > 0))
        return quern_fail(QUERN_INPUT, "trainer.learning_rate_scale is %g, expected above 0",
                          t->optimizer.schedule.scale);
    if (!isfinite(t->last.scale) || !(t->last.scale > 0))
        return quern_fail(QUERN_INPUT, "trainer.last.scale is %g, expected above 0", t->last.scale);
    if (t->due > (QUERN_REQUEST_EVALUATION | QUERN_REQUEST_SAVE))
        return quern_fail(QUERN_INPUT, "trainer.due is %" PRId64 ", which nothing asks for",
                          t->due);
    if (t->ended > 1 + (int64_t)QUERN_STOPPED_FAILURE)
        return quern_fail(QUERN_INPUT, "trainer.ended is %" PRId64 ", which is no reason to stop",
                          t->ended);
    return QUERN_OK;
}
