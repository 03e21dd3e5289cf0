/* report_chart.c - a chart as inline SVG: linear axes, a line for each run of finite values, dots
 * where there are few. Coordinates are written in tenths, as integers, in every locale. */
#include "report.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 300, LEFT = 60, RIGHT = 16, TOP = 14, BOTTOM = 34, TICKS = 5 };
enum { DOTS_MAX = 64 };

/* The first two are what a reader looks for; report_html.c has their colours. */
static const char *const classes[] = {"train", "valid", "third", "fourth", "fifth", "sixth"};
enum { CLASS_COUNT = sizeof classes / sizeof classes[0] };

static bool is_training(const char *name) { return strncmp(name, "train/", 6) == 0; }

/* Training has the first colour, the evaluation sets the others in turn. */
static const char *class_of(const report_chart *chart, int32_t series) {
    if (is_training(chart->names[series])) return classes[0];
    int32_t at = 0;
    for (int32_t i = 0; i < series; i++) at += !is_training(chart->names[i]);
    return classes[1 + at % (CLASS_COUNT - 1)];
}

typedef struct axes {
    double x_high, y_low, y_high;
} axes;

/* Halves, so that even the largest doubles have a difference. */
static double share(double low, double value, double high) {
    return (value / 2 - low / 2) / (high / 2 - low / 2);
}

static double place_x(const axes *a, double x) {
    return LEFT + (WIDTH - LEFT - RIGHT) * x / a->x_high;
}

static double place_y(const axes *a, double y) {
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share(a->y_low, y, a->y_high));
}

static void add_place(report_page *p, double place) {
    const long tenths = lround(10 * place);
    page_add(p, "%ld.%ld", tenths / 10, tenths % 10);
}

static axes axes_of(const report_chart *chart) {
    axes a = {.x_high = 1, .y_low = INFINITY, .y_high = -INFINITY};
    for (int32_t s = 0; s < chart->count; s++) {
        const report_curve *c = chart->curves[s];
        if (c->count > 0) a.x_high = fmax(a.x_high, chart->points[s][c->count - 1].step);
        for (int64_t i = 0; i < c->count; i++) {
            if (!isfinite(chart->points[s][i].value)) continue;
            a.y_low = fmin(a.y_low, chart->points[s][i].value);
            a.y_high = fmax(a.y_high, chart->points[s][i].value);
        }
    }
    const double size = fmax(fabs(a.y_low), fabs(a.y_high));
    if (a.y_high / 2 - a.y_low / 2 <= fmax(1e-9 * size, DBL_MIN)) {
        const double margin = size < 2 * DBL_MIN ? 0.5 : size / 2;
        a.y_low -= margin;
        a.y_high += margin;
    }
    return a;
}

static void write_grid(report_page *p, const axes *a) {
    for (int i = 0; i <= TICKS; i++) {
        const double part = (double)i / TICKS;
        const double y = a->y_low * (1 - part) + a->y_high * part, x = a->x_high * part;
        page_add(p, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"", LEFT, WIDTH - RIGHT);
        add_place(p, place_y(a, y));
        page_add(p, "\" y2=\"");
        add_place(p, place_y(a, y));
        page_add(p, "\"/><text text-anchor=\"end\" x=\"%d\" y=\"", LEFT - 6);
        add_place(p, place_y(a, y) + 4);
        page_add(p, "\">");
        page_number(p, y, 4);
        page_add(p, "</text><text text-anchor=\"middle\" x=\"");
        add_place(p, place_x(a, x));
        page_add(p, "\" y=\"%d\">%.0f</text>\n", HEIGHT - BOTTOM + 18, x);
    }
    page_add(p, "<text text-anchor=\"end\" x=\"%d\" y=\"%d\">updates</text>\n", WIDTH - RIGHT,
             HEIGHT - 3);
}

static void write_line(report_page *p, const axes *a, const char *class, const report_point *points,
                       int64_t count) {
    page_add(p, "<polyline class=\"curve %s\" points=\"", class);
    for (int64_t i = 0; i < count; i++) {
        add_place(p, place_x(a, points[i].step));
        page_add(p, ",");
        add_place(p, place_y(a, points[i].value));
        page_add(p, " ");
    }
    page_add(p, "\"/>\n");
}

static void write_dot(report_page *p, const axes *a, const char *class, report_point point) {
    page_add(p, "<circle class=\"dot %s\" r=\"2.5\" cx=\"", class);
    add_place(p, place_x(a, point.step));
    page_add(p, "\" cy=\"");
    add_place(p, place_y(a, point.value));
    page_add(p, "\"/>\n");
}

/* A line for each run of finite values; a run of one is a dot, as nothing else shows it. */
static void write_series(report_page *p, const axes *a, const report_chart *chart, int32_t series) {
    const report_point *points = chart->points[series];
    const int64_t count = chart->curves[series]->count;
    const char *class = class_of(chart, series);
    for (int64_t begin = 0, end; begin < count; begin = end + 1) {
        for (end = begin; end < count && isfinite(points[end].value); end++) continue;
        if (end - begin > 1) write_line(p, a, class, &points[begin], end - begin);
        for (int64_t i = begin; i < end && (count <= DOTS_MAX || end - begin == 1); i++)
            write_dot(p, a, class, points[i]);
    }
}

static void write_key(report_page *p, const report_chart *chart) {
    page_add(p, "<p class=\"key\">");
    for (int32_t s = 0; s < chart->count; s++) {
        const char *name = chart->names[s], *slash = strchr(name, '/');
        char set[REPORT_NAME] = "";
        if (slash && slash - name < REPORT_NAME) memcpy(set, name, (size_t)(slash - name));
        page_add(p, "<span class=\"%s\">", class_of(chart, s));
        page_escaped(p, set);
        if (chart->curves[s]->not_finite > 0)
            page_add(p, " (%lld not finite)", (long long)chart->curves[s]->not_finite);
        page_add(p, "</span>");
    }
    page_add(p, "</p>\n");
}

void page_chart(report_page *p, const report_chart *chart) {
    const axes a = axes_of(chart);
    page_add(p, "<h2>");
    page_escaped(p, chart->title);
    page_add(p, "</h2>\n");
    write_key(p, chart);
    if (!(a.y_low <= a.y_high)) {
        page_add(p, "<p>Nothing finite was measured.</p>\n");
        return;
    }
    page_add(p, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    page_escaped(p, chart->title);
    page_add(p, "\">\n");
    write_grid(p, &a);
    for (int32_t s = 0; s < chart->count; s++) write_series(p, &a, chart, s);
    page_add(p, "</svg>\n");
}
