/* report.h - the parts of the HTML report: curves kept while a run trains (report_curve.c), a file
 * written piece by piece (report_page.c), a chart (report_chart.c), the page (report_html.c).
 * report.c is the callback. */
#ifndef QUERN_TRAIN_CALLBACKS_REPORT_H
#define QUERN_TRAIN_CALLBACKS_REPORT_H

#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>

enum {
    REPORT_POINTS = 1024, /* of a curve: more than a chart can show */
    REPORT_CLASSES = 100, /* a larger confusion matrix is not shown */
    REPORT_NAME = 64,
    REPORT_PIECE = 512, /* what one page_add writes at most */
};

/* Points and curves are saved as they lie: no padding. */
typedef struct report_point {
    double step, value;
} report_point;

/* Every stride-th value that came, and the last one; a full curve doubles its stride. */
typedef struct report_curve {
    int64_t count, stride, seen, not_finite;
    double last, lowest, highest; /* of all that came and were finite; NaN: none */
} report_curve;

/* A curve with its points. */
typedef struct report_series {
    report_curve curve;
    report_point points[REPORT_POINTS];
} report_series;

void report_curve_begin(report_curve *c);
/* A value that is not finite is a gap, which thinning out never closes. */
void report_curve_add(report_curve *c, report_point points[REPORT_POINTS], double step,
                      double value);
/* Whether a curve that was read back can be one. */
bool report_curve_valid(const report_curve *c);

/* A file that replaces the one at `path` when all of it is there. The first failure sticks. */
typedef struct report_page {
    file_writer writer;
    const char *path, *part; /* where it ends up, and where it is written */
    text text;
    char buffer[8 * REPORT_PIECE];
} report_page;
QUERN_MUST_CHECK quern_status page_open(report_page *p, const quern_host *host, const char *path,
                                        const char *part);
void page_add(report_page *p, const char *format, ...) QUERN_PRINTF(2, 3);
void page_escaped(report_page *p, const char *value); /* any bytes, as text of HTML */
void page_number(report_page *p, double value, int digits);
QUERN_MUST_CHECK quern_status page_close(report_page *p);

/* The curves of one chart: those whose names end alike. */
enum { CHART_SERIES = 32 };
typedef struct report_chart {
    const char *title;
    int32_t count;
    const char *names[CHART_SERIES]; /* "train/loss": the part in front names the series */
    const report_curve *curves[CHART_SERIES];
    const report_point *points[CHART_SERIES];
} report_chart;
void page_chart(report_page *p, const report_chart *chart);

/* What a checkpoint keeps, beside the block: curves, points, counts. No padding. */
typedef struct report_state {
    int64_t curve_count, class_count;
    int64_t evaluated;     /* 1: counts are those of the last evaluation */
    char set[REPORT_NAME]; /* of which set */
} report_state;

struct quern_report {
    const quern_host *host;
    arena memory;
    const char *path, *part, *title, *device;
    const char *const *rows; /* configuration: key, value, key, value */
    int32_t row_count;
    const char *const *class_names;
    int32_t class_name_count;

    /* from init on */
    const char **names; /* of the curves; the last one is the throughput */
    int64_t curve_count, class_count, parameter_count;
    const char *metric; /* the confusion's; NULL: there is none, or it is too large */
    report_state state;
    unsigned char *block;
    size_t saved_bytes;    /* of it: all but the throughput, because times are no state */
    double *counts;        /* [class_count][class_count] */
    report_series *series; /* [curve_count] */
    bool stopping;
    int64_t attempts_begun; /* when this fit began */
    report_page page;
};

/* report_html.c: the whole page; event is fit_end. IO. */
QUERN_MUST_CHECK quern_status report_write(quern_report *r, const quern_event *event);
/* report_configuration.c: rows from a JSON object. INVALID. */
QUERN_MUST_CHECK quern_status report_configuration(quern_report *r, const char *json);

#endif
