/* history.c - a callback that keeps the scalars which the report draws, in memory that does not
 * grow with the run: more points than a chart can show are thinned out. */
#include "report.h"

#include <math.h>
#include <stdlib.h>

static const char *const names[CURVE_COUNT] = {
    [CURVE_TRAIN_LOSS] = "train/loss",
    [CURVE_VALID_LOSS] = "val/loss",
    [CURVE_TRAIN_ACCURACY] = "train/accuracy",
    [CURVE_VALID_ACCURACY] = "val/accuracy",
};

static void curve_thin(curve *c) {
    for (int64_t i = 0; 2 * i < c->count; i++) c->points[i] = c->points[2 * i];
    c->count = (c->count + 1) / 2;
    c->stride *= 2;
}

static void curve_add(curve *c, double step, double value) {
    const bool last_stays = c->seen == 0 || (c->seen - 1) % c->stride == 0;
    if (!last_stays) c->count--;
    if (c->count == CURVE_POINTS) curve_thin(c);
    c->points[c->count++] = (point){step, value};
    c->seen++;
}

static quern_action keep(void *self, const quern_event *event) {
    history *h = self;
    for (int i = 0; i < CURVE_COUNT; i++) {
        const double value = quern_event_scalar(event, names[i]);
        if (isfinite(value)) curve_add(&h->curves[i], (double)event->step, value);
    }
    return QUERN_CONTINUE;
}

quern_status history_open(history **out) {
    *out = calloc(1, sizeof **out);
    if (!*out) return quern_fail(QUERN_HOST_MEMORY, "no memory for the curves of the report");
    for (int i = 0; i < CURVE_COUNT; i++) {
        (*out)->curves[i].name = names[i];
        (*out)->curves[i].stride = 1;
    }
    return QUERN_OK;
}

quern_callback history_callback(history *h) {
    return (quern_callback){
        .name = "report", .band = QUERN_BAND_LOGGER, .self = h, .log = keep, .eval_end = keep};
}

void history_release(history *h) { free(h); }
