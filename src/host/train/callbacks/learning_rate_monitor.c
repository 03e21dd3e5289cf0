/* learning_rate_monitor.c - the learning rate of every update, as the device computed it: it came
 * back with the update's record, so nothing is waited for. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"
#include <quern/callbacks.h>
#include <quern/train.h>

#include <inttypes.h>

struct quern_learning_rate_monitor {
    const quern_host *host;
    quern_learning_rate_entry *entries;
    int64_t capacity, count;
};

quern_status quern_learning_rate_monitor_create(quern_learning_rate_monitor **out,
                                                quern_device *device, int64_t capacity) {
    quern_learning_rate_monitor *m = NULL;
    *out = NULL;
    if (capacity < 1)
        return quern_fail(QUERN_INVALID,
                          "learning-rate monitor: a capacity of %" PRId64 " records nothing",
                          capacity);
    QUERN_TRY(memory_allocate(&device->host, &m, 1, sizeof *m, "learning-rate monitor"));
    m->host = &device->host;
    m->capacity = capacity;
    const quern_status status = memory_allocate(&device->host, &m->entries, capacity,
                                                sizeof *m->entries, "learning-rate monitor");
    if (status == QUERN_OK)
        *out = m;
    else
        memory_release(&device->host, m, 1, sizeof *m);
    return status;
}

static quern_action record(void *self, const quern_event *event) {
    quern_learning_rate_monitor *m = self;
    if (event->outcome != QUERN_OUTCOME_APPLIED || m->count == m->capacity) return QUERN_CONTINUE;
    m->entries[m->count++] = (quern_learning_rate_entry){
        .step = event->step, .learning_rate = quern_trainer_learning_rate(event->trainer)};
    return QUERN_CONTINUE;
}

static quern_action check(void *self, const quern_event *event) {
    const quern_learning_rate_monitor *m = self;
    if (m->count >= 0 && m->count <= m->capacity) return QUERN_CONTINUE;
    return quern_event_fail(event, quern_fail(QUERN_INPUT,
                                              "learning-rate monitor: %" PRId64
                                              " entries in a checkpoint, room for %" PRId64,
                                              m->count, m->capacity));
}

static quern_callback_state state_of(void *self) {
    quern_learning_rate_monitor *m = self;
    return (quern_callback_state){&m->count, sizeof m->count, m->entries,
                                  (size_t)m->capacity * sizeof *m->entries};
}

quern_callback quern_learning_rate_monitor_callback(quern_learning_rate_monitor *monitor) {
    return (quern_callback){.name = "learning_rate_monitor",
                            .band = QUERN_BAND_MONITOR,
                            .self = monitor,
                            .state = state_of,
                            .load_end = check,
                            .update_end = record};
}

int64_t quern_learning_rate_monitor_entries(const quern_learning_rate_monitor *monitor,
                                            const quern_learning_rate_entry **out) {
    *out = monitor->entries;
    return monitor->count;
}

void quern_learning_rate_monitor_destroy(quern_learning_rate_monitor *m) {
    if (!m) return;
    memory_release(m->host, m->entries, m->capacity, sizeof *m->entries);
    memory_release(m->host, m, 1, sizeof *m);
}
