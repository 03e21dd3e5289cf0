/* profile_range.c - tells a profiler where the attempts of interest begin and end.
 *
 * It begins when the first of them is issued and ends when the record of the last has come back:
 * all their work lies inside, also on a device that runs behind the host, and so may some work of
 * up to run_ahead attempts on either side. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

#include <inttypes.h>

struct quern_profile_range {
    const quern_host *host;
    quern_profile_range_desc desc;
    bool open, done;
};

quern_status quern_profile_range_create(quern_profile_range **out, quern_device *device,
                                        const quern_profile_range_desc *desc) {
    quern_profile_range *p = NULL;
    *out = NULL;
    if (!desc || desc->first < 0 || desc->last < desc->first)
        return quern_fail(QUERN_INVALID, "profile range: %" PRId64 " … %" PRId64 " is no range",
                          desc ? desc->first : 0, desc ? desc->last : 0);
    if (!desc->begin != !desc->end)
        return quern_fail(QUERN_INVALID, "profile range: begin and end come together");
    if (desc->self && !desc->begin)
        return quern_fail(QUERN_INVALID, "profile range: self is set, which the host's trace does "
                                         "not read");
    QUERN_TRY(memory_allocate(&device->host, &p, 1, sizeof *p, "profile range"));
    p->host = &device->host;
    p->desc = *desc;
    *out = p;
    return QUERN_OK;
}

static void range_end(quern_profile_range *p) {
    if (!p->open) return;
    p->open = false;
    if (p->desc.end)
        p->desc.end(p->desc.self);
    else
        trace_end(p->host);
}

static quern_action on_step_begin(void *self, const quern_event *event) {
    quern_profile_range *p = self;
    if (p->done || event->attempts < p->desc.first || event->attempts > p->desc.last)
        return QUERN_CONTINUE;
    p->open = p->done = true;
    if (p->desc.begin)
        p->desc.begin(p->desc.self);
    else
        trace_begin(p->host, "train", "profile", event->attempts);
    return QUERN_CONTINUE;
}

static quern_action on_step_end(void *self, const quern_event *event) {
    quern_profile_range *p = self;
    if (event->attempts > p->desc.last) range_end(p);
    return QUERN_CONTINUE;
}

static quern_action on_end(void *self, const quern_event *event) {
    (void)event;
    range_end(self);
    return QUERN_CONTINUE;
}

quern_callback quern_profile_range_callback(quern_profile_range *range) {
    return (quern_callback){.name = "profile_range",
                            .band = QUERN_BAND_MONITOR,
                            .self = range,
                            .step_begin = on_step_begin,
                            .step_end = on_step_end,
                            .fit_end = on_end,
                            .close = on_end};
}

void quern_profile_range_destroy(quern_profile_range *range) {
    if (range) memory_release(range->host, range, 1, sizeof *range);
}
