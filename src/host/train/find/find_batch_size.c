/* find_batch_size.c - the largest batch whose plan fits: by doubling, then by halving the gap.
 * Cost: a plan for each size tried, no device memory. A set that is resident only where there is
 * room is planned to come from the host: what it would take is no reason for a smaller batch. */
#include "../../base/report.h"
#include "../../device/device.h"
#include "../../graph/graph.h"
#include <quern/find.h>

#include <inttypes.h>

enum { LARGEST_WITHOUT_LENGTH = 65536 };

typedef struct search {
    quern_trainer_desc trial;
    size_t byte_limit;
    int64_t best;
    quern_memory memory; /* of `best`; while there is none, of the last one tried */
} search;

/* *fits, or the failure of the plan itself. Above a size that fits, what no kernel or library takes
 * is too large as well. */
static quern_status size_try(search *s, int64_t batch_size, bool *fits) {
    quern_memory memory;
    s->trial.batch_size = batch_size;
    const quern_status status = quern_trainer_memory(&memory, &s->trial);
    *fits = false;
    if (s->best > 0 && (status == QUERN_UNSUPPORTED || status == QUERN_SHAPE)) return QUERN_OK;
    QUERN_TRY(status);
    *fits = memory.peak_bytes <= s->byte_limit;
    if (*fits) s->best = batch_size;
    if (*fits || s->best == 0) s->memory = memory;
    return QUERN_OK;
}

/* Sizes below `too_large`, of which none may fit. */
static quern_status sizes_between(search *s, int64_t too_large) {
    while (too_large - s->best > 1) {
        const int64_t middle = s->best + (too_large - s->best) / 2;
        bool fits = false;
        QUERN_TRY(size_try(s, middle, &fits));
        if (!fits) too_large = middle;
    }
    return QUERN_OK;
}

static quern_status sizes_search(search *s, int64_t largest, bool any) {
    bool fits = true;
    int64_t size = 1;
    while (fits) {
        QUERN_TRY(size_try(s, size, &fits));
        if (!fits || size > largest / 2) break;
        size *= 2;
    }
    if (s->best == 0)
        return quern_fail(QUERN_DEVICE_MEMORY,
                          "find batch size: a batch of 1 needs %zu bytes of the %zu that there are",
                          s->memory.peak_bytes, s->byte_limit);
    return any ? sizes_between(s, fits ? largest + 1 : size) : QUERN_OK;
}

static quern_status limits_resolve(search *s, int64_t *largest,
                                   const quern_find_batch_size_desc *desc) {
    const int64_t length = s->trial.train ? quern_dataset_length(s->trial.train) : -1;
    s->byte_limit = desc ? desc->byte_limit : 0;
    *largest = desc ? desc->largest : 0;
    if (*largest < 0)
        return quern_fail(QUERN_INVALID, "find batch size: largest is %" PRId64 ", not 1 or more",
                          *largest);
    if (*largest == 0) *largest = length > 0 ? length : LARGEST_WITHOUT_LENGTH;
    if (s->byte_limit > 0) return QUERN_OK;
    quern_device_info info;
    const quern_device *device = s->trial.graph->device;
    QUERN_TRY(device->backend->info(device->memory, &info));
    s->byte_limit = (size_t)info.memory_free_bytes;
    return QUERN_OK;
}

quern_status quern_find_batch_size(int64_t *out, quern_memory *memory,
                                   const quern_trainer_desc *trainer,
                                   const quern_find_batch_size_desc *desc) {
    int64_t largest = 0;
    *out = 0;
    if (memory) *memory = (quern_memory){0};
    if (!trainer || !trainer->graph)
        return quern_fail(QUERN_INVALID, "find batch size: graph is NULL");
    search s = {.trial = *trainer};
    if (s.trial.resident == QUERN_RESIDENT_AUTO) s.trial.resident = QUERN_RESIDENT_OFF;
    QUERN_TRY(limits_resolve(&s, &largest, desc));
    QUERN_TRY(sizes_search(&s, largest, desc && desc->any));
    *out = s.best;
    if (memory) *memory = s.memory;
    return QUERN_OK;
}
