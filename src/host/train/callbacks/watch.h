/* watch.h - a metric that a callback judges a run by: when it is due, and whether it has improved.
 *
 * A metric of training is due at every epoch_end, one of an evaluation set at every eval_end that
 * has it. The NaN of an evaluation that a stop cut short was not measured: it is not due. */
#ifndef QUERN_TRAIN_CALLBACKS_WATCH_H
#define QUERN_TRAIN_CALLBACKS_WATCH_H

#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

typedef struct watch {
    const quern_host *host;
    const char *owner; /* "early stop", in sentences */
    char *metric;
    int64_t metric_bytes;
    double min_delta;
    bool maximize;
    bool stopping;  /* between stop_requested and the next fit_begin */
    char *settings; /* the callback's, as event.h has them */
    int64_t settings_bytes;
} watch;

/* metric NULL: "val/loss". INVALID: min_delta. */
QUERN_MUST_CHECK quern_status watch_create(watch *out, quern_device *device, const char *owner,
                                           const char *metric, bool maximize, double min_delta);
/* Makes the settings: its own, then `rest`, more members of the object behind commas. */
QUERN_MUST_CHECK quern_status watch_describe(watch *w, const text *rest);
void watch_release(watch *w);

/* init: INVALID names the scalars that there are when the metric is none of them. */
QUERN_MUST_CHECK quern_status watch_find(const watch *w, const quern_event *event);
/* eval_end, epoch_end, fit_begin and stop_requested: whether the metric is due, and its value. */
QUERN_MUST_CHECK quern_status watch_look(watch *w, const quern_event *event, bool *due,
                                         double *value);
/* NaN never improves; on a best of NaN every number does. */
bool watch_improves(const watch *w, double best, double value);

#endif
