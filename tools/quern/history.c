/* history.c - a callback that keeps the scalars which the report draws. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CURVE_COUNT] = {
    [CURVE_TRAIN_LOSS] = "train/loss",
    [CURVE_VALID_LOSS] = "val/loss",
    [CURVE_TRAIN_ACCURACY] = "train/accuracy",
    [CURVE_VALID_ACCURACY] = "val/accuracy",
};

static bool curve_add(curve *c, double step, double value) {
    if (c->count == c->capacity) {
        const int64_t capacity = c->capacity > 0 ? 2 * c->capacity : 64;
        point *grown = realloc(c->points, (size_t)capacity * sizeof *grown);
        if (!grown) return false;
        c->points = grown;
        c->capacity = capacity;
    }
    c->points[c->count++] = (point){step, value};
    return true;
}

static quern_action keep(void *self, const quern_event *event) {
    history *h = self;
    for (int i = 0; i < CURVE_COUNT; i++) {
        const double value = quern_event_scalar(event, names[i]);
        if (isfinite(value) && !curve_add(&h->curves[i], (double)event->step, value))
            h->overflow = true;
    }
    return QUERN_CONTINUE;
}

void history_open(history *h) {
    *h = (history){0};
    for (int i = 0; i < CURVE_COUNT; i++) h->curves[i].name = names[i];
}

quern_callback history_callback(history *h) {
    return (quern_callback){
        .name = "report", .band = QUERN_BAND_LOGGER, .self = h, .log = keep, .eval_end = keep};
}

void history_release(history *h) {
    for (int i = 0; i < CURVE_COUNT; i++) free(h->curves[i].points);
    *h = (history){0};
}
