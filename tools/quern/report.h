/* report.h - the curves of a run, kept while it trains, and report.html at its end. */
#ifndef QUERN_TOOL_REPORT_H
#define QUERN_TOOL_REPORT_H

#include "options.h"

typedef struct point {
    double step, value;
} point;

/* Every stride-th point that came, and the last one; a full curve doubles its stride. */
enum { CURVE_POINTS = 4096 };
typedef struct curve {
    const char *name;
    point points[CURVE_POINTS];
    int64_t count, stride, seen;
} curve;

enum {
    CURVE_TRAIN_LOSS,
    CURVE_VALID_LOSS,
    CURVE_TRAIN_ACCURACY,
    CURVE_VALID_ACCURACY,
    CURVE_COUNT
};

typedef struct history {
    curve curves[CURVE_COUNT];
} history;
quern_status history_open(history **out); /* HOST_MEMORY */
quern_callback history_callback(history *h);
void history_release(history *h);

/* What the report shows beside the curves. */
typedef struct report {
    const options *options;
    const history *history;
    const quern_result *result;
    const char *device, *status, *reason;
    int64_t parameter_count, class_count;
    const double *confusion; /* class_count * class_count counts, row = true class; or NULL */
} report;
quern_status report_write(const report *r, const char *path);

#endif
