/* feed.c - pinned staging slots for the inputs that a kind of program reads, and the loader that
 * fills them. Behind the loader's slots lie those for batches that outlive an epoch. A slot holds
 * batch_size samples of every input, one input after another, each aligned to 64 bytes. A resident
 * set's loader only names its batches; behind the held slots there is one to look at a batch in.
 * Allocates when a feed is created only. */
#include "../trainer.h"

static const trainer_unit *any_unit(const quern_trainer *t, unit_kind kind) {
    for (const trainer_unit *u = t->units; u; u = u->next)
        if (u->kind == kind) return u;
    return NULL;
}

static quern_status inputs_find(quern_trainer *t, feed *out, const trainer_unit *unit) {
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next) {
        if (tensor->role != ROLE_INPUT) continue;
        const quern_view view = program_view(unit->program, tensor);
        if (!view.data) continue;
        if (out->input_count == QUERN_INPUT_MAX)
            return quern_fail(QUERN_UNSUPPORTED, "trainer: more than %d inputs", QUERN_INPUT_MAX);
        quern_view sample;
        QUERN_TRY(shape_view(&tensor->shape, 1, &sample));
        out->tensors[out->input_count] = tensor;
        out->inputs[out->input_count++] =
            (loader_input){.name = tensor->name, .dtype = view.dtype, .count = sample.count};
    }
    return QUERN_OK;
}

static quern_status slot_layout(const quern_trainer *t, feed *f, size_t *slot_bytes) {
    size_t at = 0;
    for (int32_t i = 0; i < f->input_count; i++) {
        int64_t count = 0;
        size_t bytes = 0;
        f->offsets[i] = at;
        if (!count_multiply(f->inputs[i].count, t->desc.batch_size, &count) ||
            !count_bytes(count, quern_dtype_bytes(f->inputs[i].dtype), &bytes) ||
            !size_align(bytes, &bytes) || !size_add(at, bytes, &at))
            return quern_fail(QUERN_SHAPE, "trainer: a batch of input %s is too large",
                              f->inputs[i].name);
    }
    *slot_bytes = at;
    return QUERN_OK;
}

/* Slots with memory: all, or behind those that a resident set's loader only names. */
static quern_status slots_create(quern_trainer *t, feed *f) {
    size_t slot_bytes = 0;
    QUERN_TRY(slot_layout(t, f, &slot_bytes));
    const int32_t first = f->resident ? f->slot_count : 0;
    const int32_t slot_count = f->slot_count + f->held_count + (f->resident ? 1 : 0);
    const int64_t pointers = (int64_t)slot_count * f->input_count;
    QUERN_TRY(arena_allocate(&t->memory, &f->slots, pointers, sizeof *f->slots, "slots"));
    QUERN_TRY(arena_allocate(&t->memory, &f->sources, pointers, sizeof *f->sources, "slots"));
    if (!size_multiply(slot_bytes, (size_t)(slot_count - first), &f->block_bytes))
        return quern_fail(QUERN_SHAPE, "trainer: the staging slots are too large");
    if (f->block_bytes == 0) return QUERN_OK;
    QUERN_TRY(t->backend->allocate_pinned(t->device->memory, &f->block, f->block_bytes));
    for (int32_t slot = first; slot < slot_count; slot++)
        for (int32_t i = 0; i < f->input_count; i++)
            f->sources[slot * f->input_count + i] = f->slots[slot * f->input_count + i] =
                (unsigned char *)f->block + (size_t)(slot - first) * slot_bytes + f->offsets[i];
    return QUERN_OK;
}

static quern_status loader_make(quern_trainer *t, feed *f, const feed_desc *desc) {
    const bool train = desc->kind == UNIT_TRAIN;
    return loader_create(&f->loader, &(loader_desc){
                                         .host = t->host,
                                         .dataset = desc->dataset,
                                         .inputs = f->inputs,
                                         .input_count = f->input_count,
                                         .transforms = t->desc.transforms,
                                         .transform_count = t->desc.transform_count,
                                         .batch_size = t->desc.batch_size,
                                         .drop_last = train && t->desc.drop_last,
                                         .shuffle = train && !t->desc.no_shuffle,
                                         .augment = train && !t->desc.overfit_batch,
                                         .seed = t->device->seed,
                                         .worker_count = f->resident ? 0 : desc->worker_count,
                                         .slot_count = f->slot_count,
                                         .slots = f->resident ? NULL : f->slots,
                                     });
}

quern_status feed_create(quern_trainer *t, feed *out, const feed_desc *desc) {
    const trainer_unit *unit = any_unit(t, desc->kind);
    QUERN_ENSURE(unit != NULL);
    out->slot_count = desc->slot_count;
    out->held_count = desc->held_count;
    out->resident = desc->resident;
    quern_status status = inputs_find(t, out, unit);
    if (status == QUERN_OK) status = slots_create(t, out);
    if (status == QUERN_OK && desc->loader) status = loader_make(t, out, desc);
    if (status == QUERN_OK) return QUERN_OK;
    error_text text;
    error_save(&text);
    feed_release(t, out);
    error_restore(&text);
    return status;
}

void feed_release(quern_trainer *t, feed *f) {
    loader_destroy(f->loader);
    if (f->block) t->backend->release_pinned(t->device->memory, f->block, f->block_bytes);
    *f = (feed){0};
}

const void *const *feed_slot(const feed *f, int32_t slot) {
    if (f->resident && slot < f->slot_count) return NULL;
    return &f->sources[(int64_t)slot * f->input_count];
}

quern_status feed_read(const feed *f, const window_batch *m, void *const *to) {
    return loader_read(f->loader, &(loader_batch_place){m->epoch, m->batch, m->sample_count}, to);
}

quern_status feed_look(const feed *f, const window_batch *m, const void *const **out) {
    const int32_t slot = f->slot_count + f->held_count;
    *out = m->data;
    if (m->data) return QUERN_OK;
    *out = feed_slot(f, slot);
    return feed_read(f, m, &f->slots[(int64_t)slot * f->input_count]);
}

size_t feed_input_bytes(const feed *f, int32_t input, const trainer_unit *unit) {
    const quern_view view = program_view(unit->program, f->tensors[input]);
    return view.data ? (size_t)view.count * quern_dtype_bytes(view.dtype) : 0;
}

quern_status feed_input_check(const feed *f, int32_t input, quern_status status) {
    if (status == QUERN_OK) return QUERN_OK;
    return error_prefix(status, "input %s", f->tensors[input]->name);
}

quern_status feed_copy(quern_trainer *t, const feed *f, const void *const *data,
                       const trainer_unit *unit) {
    for (int32_t i = 0; i < f->input_count; i++) {
        const size_t bytes = feed_input_bytes(f, i, unit);
        if (bytes == 0 || !data[i]) continue;
        void *const to = program_view(unit->program, f->tensors[i]).data;
        QUERN_TRY(feed_input_check(f, i, t->backend->copy(t->stream, to, data[i], bytes)));
    }
    return QUERN_OK;
}

quern_status feed_put(quern_trainer *t, const feed *f, const void *const *data,
                      const trainer_unit *unit) {
    return t->upload.stream ? upload_issue(t, f, data, unit) : feed_copy(t, f, data, unit);
}

quern_status feed_upload(quern_trainer *t, const feed *f, int32_t slot, const trainer_unit *unit) {
    return feed_put(t, f, feed_slot(f, slot), unit);
}
