/* report_html.c - the report's page: how the run ended, charts, confusion matrix, configuration.
 * One file that opens from disk, colours that follow the reader's light or dark setting; nothing in
 * it comes from elsewhere, nothing runs. */
#include "report.h"

#include <quern/train.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const style[] = {
    ":root{color-scheme:light dark;--ink:#1c2024;--faint:#8b8d98;--line:#d9d9e0;--page:#fcfcfd;",
    "--c1:#0b68cb;--c2:#ca4b0b;--c3:#2b9a66;--c4:#8e4ec6;--c5:#946800;--c6:#c2298a}",
    "@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--faint:#9ba1a6;--line:#363a3f;",
    "--page:#111113;--c1:#70b8ff;--c2:#ffa057;--c3:#3dd68c;--c4:#d19dff;--c5:#ffca16;",
    "--c6:#ff8dcc}}",
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);",
    "max-width:760px;margin:2rem auto;padding:0 1rem}",
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}",
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}",
    "td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid var(--line)}",
    "td{overflow-wrap:anywhere}.wide{overflow-x:auto}",
    ".heat td,.heat th{text-align:right;border:1px solid var(--line);overflow-wrap:normal}",
    "svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--faint)}",
    ".grid{stroke:var(--line)}.train{--c:var(--c1)}.valid{--c:var(--c2)}.third{--c:var(--c3)}",
    ".fourth{--c:var(--c4)}.fifth{--c:var(--c5)}.sixth{--c:var(--c6)}",
    ".curve{fill:none;stroke:var(--c);stroke-width:1.6}.dot{fill:var(--c)}",
    ".key{font-size:.9rem}.key span{padding-right:1.2rem}",
    ".key span::before{content:'\\25cf ';color:var(--c)}",
};

static void write_head(const quern_report *r, report_page *p) {
    page_add(p, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    page_escaped(p, r->title);
    page_add(p, "</title>\n<style>");
    for (size_t i = 0; i < sizeof style / sizeof *style; i++) page_add(p, "%s\n", style[i]);
    page_add(p, "</style></head>\n<body>\n<h1>");
    page_escaped(p, r->title);
    page_add(p, "</h1>\n<p>quern %s</p>\n", quern_version());
}

static void write_row(report_page *p, const char *name, const char *value) {
    page_add(p, "<tr><th>");
    page_escaped(p, name);
    page_add(p, "</th><td>");
    page_escaped(p, value);
    page_add(p, "</td></tr>\n");
}

static void write_count(report_page *p, const char *name, int64_t value) {
    page_add(p, "<tr><th>%s</th><td>%" PRId64 "</td></tr>\n", name, value);
}

/* A run that failed has left its sentence on this thread. */
static void write_result(const quern_report *r, report_page *p, const quern_event *event,
                         const error_text *failure) {
    page_add(p, "<h2>Result</h2>\n<table>\n");
    write_row(p, "status", quern_status_name(event->status));
    write_row(p, "ended by", event->reason ? event->reason : "");
    if (event->stopped_by) write_row(p, "callback", event->stopped_by);
    if (event->status != QUERN_OK) write_row(p, "failure", failure->text);
    write_row(p, "device", r->device);
    write_count(p, "updates", event->step);
    write_count(p, "attempts", event->attempts);
    write_count(p, "epochs", event->epoch);
    write_count(p, "parameters", r->parameter_count);
    page_add(p, "</table>\n");
}

static void write_values(const quern_report *r, report_page *p) {
    page_add(p, "<h2>Values</h2>\n<table>\n<tr><th></th><th>last</th><th>lowest</th>"
                "<th>highest</th></tr>\n");
    for (int64_t i = 0; i < r->curve_count; i++) {
        const report_curve *c = &r->series[i].curve;
        const double values[] = {c->last, c->lowest, c->highest};
        page_add(p, "<tr><th>");
        page_escaped(p, r->names[i]);
        page_add(p, "</th>");
        for (int k = 0; k < 3; k++) {
            page_add(p, "<td>");
            page_number(p, values[k], 6);
            page_add(p, "</td>");
        }
        page_add(p, "</tr>\n");
    }
    page_add(p, "</table>\n");
}

static const char *title_of(const char *name) {
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

/* One chart for all names that end alike, where the first of them stands. */
static void write_chart(const quern_report *r, report_page *p, int64_t first) {
    report_chart chart = {.title = title_of(r->names[first])};
    for (int64_t i = 0; i < r->curve_count && chart.count < CHART_SERIES; i++) {
        if (strcmp(title_of(r->names[i]), chart.title) != 0) continue;
        if (i < first) return;
        chart.names[chart.count] = r->names[i];
        chart.curves[chart.count] = &r->series[i].curve;
        chart.points[chart.count++] = r->series[i].points;
    }
    page_chart(p, &chart);
}

static void write_class(const quern_report *r, report_page *p, int64_t class) {
    page_add(p, "<th>");
    if (class < r->class_name_count)
        page_escaped(p, r->class_names[class]);
    else
        page_add(p, "%" PRId64, class);
    page_add(p, "</th>");
}

/* A cell's colour is its share of the row: of how often the class occurred. */
static void write_class_row(const quern_report *r, report_page *p, int64_t row) {
    const double *counts = r->counts + row * r->class_count;
    double sum = 0;
    for (int64_t c = 0; c < r->class_count; c++) sum += counts[c];
    page_add(p, "<tr>");
    write_class(r, p, row);
    for (int64_t c = 0; c < r->class_count; c++)
        page_add(p,
                 "<td style=\"background:color-mix(in srgb,var(--c%d) %.0f%%,transparent)\">%.0f"
                 "</td>",
                 c == row ? 1 : 2, sum > 0 ? 80 * counts[c] / sum : 0, counts[c]);
    page_add(p, "<td>");
    if (sum > 0)
        page_number(p, counts[row] / sum, 4);
    else
        page_add(p, "-");
    page_add(p, "</td></tr>\n");
}

static void write_confusion(const quern_report *r, report_page *p) {
    if (!r->metric || !r->state.evaluated) return;
    page_add(p, "<h2>Confusion matrix</h2>\n<p>Rows: the true class; columns: the predicted one; "
                "colour: the share of the row. Last evaluation of ");
    page_escaped(p, r->state.set);
    page_add(p, ".</p>\n<div class=\"wide\"><table class=\"heat\">\n<tr><th></th>");
    for (int64_t c = 0; c < r->class_count; c++) write_class(r, p, c);
    page_add(p, "<th>recall</th></tr>\n");
    for (int64_t row = 0; row < r->class_count; row++) write_class_row(r, p, row);
    page_add(p, "</table></div>\n");
}

static void write_configuration(const quern_report *r, report_page *p) {
    if (r->row_count == 0) return;
    page_add(p, "<h2>Configuration</h2>\n<table>\n");
    for (int32_t i = 0; i < r->row_count; i++) write_row(p, r->rows[2 * i], r->rows[2 * i + 1]);
    page_add(p, "</table>\n");
}

quern_status report_write(quern_report *r, const quern_event *event) {
    report_page *p = &r->page;
    error_text failure;
    error_save(&failure);
    QUERN_TRY(page_open(p, r->host, r->path, r->part));
    write_head(r, p);
    write_result(r, p, event, &failure);
    for (int64_t i = 0; i < r->curve_count; i++) write_chart(r, p, i);
    write_confusion(r, p);
    write_values(r, p);
    write_configuration(r, p);
    page_add(p, "</body></html>\n");
    return page_close(p);
}
