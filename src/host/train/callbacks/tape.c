/* tape.c - records every event in order: golden tapes are tests of the loop's order. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

#include <inttypes.h>

struct quern_tape {
    const quern_host *host;
    quern_tape_entry *entries;
    int64_t capacity, count;
    bool inside_step;
};

quern_status quern_tape_create(quern_tape **out, quern_device *device, int64_t capacity,
                               bool inside_step) {
    quern_tape *tape = NULL;
    *out = NULL;
    if (capacity < 1)
        return quern_fail(QUERN_INVALID, "tape: a capacity of %" PRId64 " records nothing",
                          capacity);
    QUERN_TRY(memory_allocate(&device->host, &tape, 1, sizeof *tape, "tape"));
    tape->host = &device->host;
    tape->capacity = capacity;
    tape->inside_step = inside_step;
    const quern_status status =
        memory_allocate(&device->host, &tape->entries, capacity, sizeof *tape->entries, "tape");
    if (status == QUERN_OK)
        *out = tape;
    else
        memory_release(&device->host, tape, 1, sizeof *tape);
    return status;
}

static quern_action record(void *self, const quern_event *event) {
    quern_tape *tape = self;
    if (tape->count == tape->capacity) return QUERN_CONTINUE;
    quern_tape_entry *entry = &tape->entries[tape->count++];
    entry->kind = event->kind; /* one by one: the padding behind it stays zero, as it is saved */
    entry->step = event->step;
    entry->attempts = event->attempts;
    entry->epoch = event->epoch;
    entry->batch = event->batch;
    return QUERN_CONTINUE;
}

static quern_action record_load_end(void *self, const quern_event *event) {
    quern_tape *tape = self;
    if (tape->count >= 0 && tape->count <= tape->capacity) return record(self, event);
    const int64_t count = tape->count;
    tape->count = 0; /* the events of the failure are recorded too */
    return quern_event_fail(event, quern_fail(QUERN_INPUT,
                                              "tape: %" PRId64
                                              " entries in a checkpoint, room for %" PRId64,
                                              count, tape->capacity));
}

static quern_callback_state state_of(void *self) {
    quern_tape *tape = self;
    return (quern_callback_state){&tape->count, sizeof tape->count, tape->entries,
                                  (size_t)tape->capacity * sizeof *tape->entries};
}

quern_callback quern_tape_callback(quern_tape *tape) {
#define X(name, actions, text) .name = record,
    quern_callback callback = {.name = "tape",
                               .band = QUERN_BAND_MONITOR,
                               .self = tape,
                               .state = state_of,
                               QUERN_EVENT_LIST(X)};
#undef X
    callback.load_end = record_load_end;
    if (!tape->inside_step)
        callback.loss_ready = callback.micro_end = callback.grads_ready = callback.update_begin =
            NULL;
    return callback;
}

int64_t quern_tape_entries(const quern_tape *tape, const quern_tape_entry **out) {
    *out = tape->entries;
    return tape->count;
}

void quern_tape_destroy(quern_tape *tape) {
    if (!tape) return;
    memory_release(tape->host, tape->entries, tape->capacity, sizeof *tape->entries);
    memory_release(tape->host, tape, 1, sizeof *tape);
}
