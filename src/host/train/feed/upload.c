/* upload.c - the copy stream: batches of the host's on their way to the device while it computes.
 *
 * A recorded step reads its inputs at fixed addresses, so a batch first comes to one of two slots
 * in device memory, on a stream of its own, and from there into the inputs, in the order of the
 * steps. The second copy costs one read and one write of device memory, 0.2 us for 128 images of
 * 28 x 28 on an H200, where two recordings of each step, bound to alternating inputs, would double
 * what is captured and give an application no fixed input to write into. Two slots are enough: a
 * slot is taken as soon as its own step begins, so batch i + 1 is on its way while i computes.
 *
 *   copy stream     wait(taken)  host -> slot        record(uploaded)
 *   compute stream               wait(uploaded)      slot -> inputs    record(taken)   step
 *
 * The host waits for neither. Where the device's memory is the host's there is no such stream: the
 * one copy into the inputs is all there is to do. */
#include "../../device/teardown.h"
#include "../trainer.h"

/* One slot: a whole batch of every input of the graph. */
static quern_status slot_bytes_count(const quern_trainer *t, size_t *out) {
    for (const quern_tensor *tensor = t->graph->tensors; tensor; tensor = tensor->next) {
        quern_view view;
        size_t bytes = 0;
        if (tensor->role != ROLE_INPUT) continue;
        QUERN_TRY(shape_view(&tensor->shape, t->desc.batch_size, &view));
        if (!count_bytes(view.count, quern_dtype_bytes(view.dtype), &bytes) ||
            !size_align(bytes, &bytes) || !size_add(*out, bytes, out))
            return quern_fail(QUERN_SHAPE, "trainer: a batch of input %s is too large",
                              tensor->name);
    }
    return QUERN_OK;
}

/* Whether any batch is known to come from the host. */
static bool is_wanted(const quern_trainer *t) {
    if (trainer_shares_memory(t)) return false;
    if (!resident_train(t)) return true;
    for (int32_t i = 0; i < t->set_count; i++)
        if (!resident_feed(t, t->sets[i].dataset)) return true;
    return false;
}

quern_status upload_plan(quern_trainer *t) {
    t->upload = (upload){0};
    if (!is_wanted(t)) return QUERN_OK;
    QUERN_TRY(slot_bytes_count(t, &t->upload.slot_bytes));
    if (size_multiply(t->upload.slot_bytes, UPLOAD_SLOTS, &t->planned.staging_bytes))
        return QUERN_OK;
    return quern_fail(QUERN_SHAPE, "trainer: the staging slots are too large");
}

quern_status upload_create(quern_trainer *t) {
    upload *u = &t->upload;
    if (u->slot_bytes == 0) return QUERN_OK;
    QUERN_TRY(t->backend->stream_create(t->device->memory, &u->stream, "quern-copy"));
    for (int32_t i = 0; i < UPLOAD_SLOTS; i++) {
        upload_slot *slot = &u->slots[i];
        void *block = NULL;
        QUERN_TRY(t->backend->allocate(t->device->memory, &block, u->slot_bytes));
        slot->block = block;
        QUERN_TRY(t->backend->event_create(t->device->memory, &slot->uploaded));
        QUERN_TRY(t->backend->event_create(t->device->memory, &slot->taken));
    }
    return QUERN_OK;
}

void upload_release(quern_trainer *t) {
    upload *u = &t->upload;
    if (u->stream) t->backend->stream_destroy(u->stream);
    for (int32_t i = 0; i < UPLOAD_SLOTS; i++) {
        upload_slot *slot = &u->slots[i];
        if (slot->uploaded) t->backend->event_destroy(slot->uploaded);
        if (slot->taken) t->backend->event_destroy(slot->taken);
        if (slot->block) t->backend->release(t->device->memory, slot->block, u->slot_bytes);
    }
    *u = (upload){0};
}

static quern_status host_to_slot(quern_trainer *t, const feed *f, upload_slot *slot,
                                 const void *const *data, const trainer_unit *unit) {
    if (slot->used) QUERN_TRY(t->backend->stream_wait_event(t->upload.stream, slot->taken));
    for (int32_t i = 0; i < f->input_count; i++) {
        const size_t bytes = feed_input_bytes(f, i, unit);
        if (bytes == 0) continue;
        QUERN_TRY(feed_input_check(
            f, i, t->backend->copy(t->upload.stream, slot->block + f->offsets[i], data[i], bytes)));
    }
    return t->backend->event_record(slot->uploaded, t->upload.stream);
}

static quern_status slot_to_inputs(quern_trainer *t, const feed *f, upload_slot *slot,
                                   const trainer_unit *unit) {
    const void *from[QUERN_INPUT_MAX];
    for (int32_t i = 0; i < f->input_count; i++) from[i] = slot->block + f->offsets[i];
    QUERN_TRY(t->backend->stream_wait_event(t->stream, slot->uploaded));
    QUERN_TRY(feed_copy(t, f, from, unit));
    return t->backend->event_record(slot->taken, t->stream);
}

quern_status upload_issue(quern_trainer *t, const feed *f, const void *const *data,
                          const trainer_unit *unit) {
    upload_slot *slot = &t->upload.slots[t->upload.issued++ % UPLOAD_SLOTS];
    trace_begin(t->host, "train", "upload", t->attempts_issued);
    quern_status status = host_to_slot(t, f, slot, data, unit);
    if (status == QUERN_OK) status = slot_to_inputs(t, f, slot, unit);
    slot->used = true;
    trace_end(t->host);
    return status;
}

void upload_settle(quern_trainer *t) {
    upload *u = &t->upload;
    if (u->issued == 0) return;
    /* Of a copy that failed the compute stream has heard by an event, and told. */
    device_wait_last(t->device, u->stream);
    for (int32_t i = 0; i < UPLOAD_SLOTS; i++) u->slots[i].used = false;
    u->issued = 0;
}
