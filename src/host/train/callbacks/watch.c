/* watch.c - the metric behind early stop and plateau. */
#include "watch.h"

#include <math.h>
#include <string.h>

quern_status watch_create(watch *out, quern_device *device, const char *owner, const char *metric,
                          bool maximize, double min_delta) {
    const char *name = metric ? metric : "val/loss";
    *out = (watch){.host = &device->host,
                   .owner = owner,
                   .metric_bytes = (int64_t)strlen(name) + 1,
                   .min_delta = min_delta,
                   .maximize = maximize};
    if (!(min_delta >= 0) || isinf(min_delta))
        return quern_fail(QUERN_INVALID, "%s: min_delta is %g, not 0 or more", owner, min_delta);
    QUERN_TRY(memory_allocate(out->host, &out->metric, out->metric_bytes, 1, "a metric's name"));
    memcpy(out->metric, name, (size_t)out->metric_bytes);
    return QUERN_OK;
}

quern_status watch_describe(watch *w, const text *rest) {
    enum { ESCAPED = 6, WORDS = 128 }; /* bytes of a byte in JSON; of all but the texts */
    w->settings_bytes = ESCAPED * w->metric_bytes + (int64_t)rest->length + WORDS;
    QUERN_TRY(
        memory_allocate(w->host, &w->settings, w->settings_bytes, 1, "a callback's settings"));
    text t = text_over(w->settings, (size_t)w->settings_bytes);
    text_add(&t, "{\"metric\": ");
    text_add_json_string(&t, w->metric);
    text_add(&t, ", \"maximize\": %s, \"min_delta\": ", w->maximize ? "true" : "false");
    text_add_json_number(&t, w->min_delta);
    text_add(&t, "%s}", rest->data);
    return QUERN_OK;
}

void watch_release(watch *w) {
    memory_release(w->host, w->settings, w->settings_bytes, 1);
    memory_release(w->host, w->metric, w->metric_bytes, 1);
}

static bool has_scalar(const quern_event *event, const char *name) {
    for (int32_t i = 0; i < event->scalar_count; i++)
        if (strcmp(event->scalars[i].name, name) == 0) return true;
    return false;
}

quern_status watch_find(const watch *w, const quern_event *event) {
    if (has_scalar(event, w->metric)) return QUERN_OK;
    char names[512];
    text list = text_over(names, sizeof names);
    for (int32_t i = 0; i < event->scalar_count; i++)
        text_add(&list, "%s%s", i > 0 ? ", " : "", event->scalars[i].name);
    return quern_fail(QUERN_INVALID, "%s: %s has no scalar %s, only %s", w->owner,
                      quern_event_name(event->kind), w->metric, names);
}

static bool of_training(const watch *w) { return strncmp(w->metric, "train/", 6) == 0; }

quern_status watch_look(watch *w, const quern_event *event, bool *due, double *value) {
    *due = false;
    *value = (double)NAN;
    if (event->kind == QUERN_EVENT_fit_begin) w->stopping = false;
    if (event->kind == QUERN_EVENT_stop_requested) w->stopping = true;
    if (event->kind == QUERN_EVENT_epoch_end && of_training(w)) {
        QUERN_TRY(watch_find(w, event));
        *due = true;
    }
    if (event->kind == QUERN_EVENT_eval_end && !of_training(w)) *due = has_scalar(event, w->metric);
    if (!*due) return QUERN_OK;
    *value = quern_event_scalar(event, w->metric);
    *due = !(w->stopping && isnan(*value));
    return QUERN_OK;
}

bool watch_improves(const watch *w, double best, double value) {
    if (isnan(best)) return !isnan(value);
    return w->maximize ? value > best + w->min_delta : value < best - w->min_delta;
}
