/* report_curve.c - a curve in memory that does not grow with the run: what is more than
 * REPORT_POINTS is thinned out evenly. Extremes are kept exactly beside the points. */
#include "report.h"

#include <math.h>

void report_curve_begin(report_curve *c) {
    *c = (report_curve){
        .stride = 1, .last = (double)NAN, .lowest = (double)NAN, .highest = (double)NAN};
}

/* The point that stays of two neighbours. */
static report_point merged(report_point kept, report_point gone) {
    if (!isfinite(gone.value)) kept.value = (double)NAN;
    return kept;
}

static void curve_thin(report_curve *c, report_point *points) {
    for (int64_t i = 0; 2 * i < c->count; i++)
        points[i] = 2 * i + 1 < c->count ? merged(points[2 * i], points[2 * i + 1]) : points[2 * i];
    c->count = (c->count + 1) / 2;
    c->stride *= 2;
}

static void curve_measure(report_curve *c, double value) {
    if (!isfinite(value)) {
        c->not_finite++;
        return;
    }
    c->last = value;
    c->lowest = isnan(c->lowest) || value < c->lowest ? value : c->lowest;
    c->highest = isnan(c->highest) || value > c->highest ? value : c->highest;
}

void report_curve_add(report_curve *c, report_point points[REPORT_POINTS], double step,
                      double value) {
    const bool last_stays = c->seen == 0 || (c->seen - 1) % c->stride == 0;
    if (!last_stays) {
        c->count--;
        points[c->count - 1] = merged(points[c->count - 1], points[c->count]);
    }
    if (c->count == REPORT_POINTS) curve_thin(c, points);
    points[c->count++] = (report_point){step, isfinite(value) ? value : (double)NAN};
    c->seen++;
    curve_measure(c, value);
}

/* How many points `seen` values leave. */
static int64_t points_of(int64_t seen, int64_t stride) {
    if (seen == 0) return 0;
    return (seen - 1) / stride + 1 + ((seen - 1) % stride != 0);
}

bool report_curve_valid(const report_curve *c) {
    return c->stride >= 1 && c->seen >= 0 && c->count <= REPORT_POINTS && c->not_finite >= 0 &&
           c->not_finite <= c->seen && c->count == points_of(c->seen, c->stride);
}
