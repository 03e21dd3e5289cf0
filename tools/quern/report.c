/* report.c - report.html: one file that opens from disk, curves as inline SVG, colours that follow
 * the reader's light or dark setting. Nothing in it comes from elsewhere. */
#include "report.h"
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 300, LEFT = 60, RIGHT = 16, TOP = 14, BOTTOM = 34, TICKS = 5 };
/* More points than pixels help nobody. */
enum { POINTS_MAX = 1500 };

static const char *const style =
    ":root{color-scheme:light dark;--ink:#1c2024;--faint:#8b8d98;--line:#d9d9e0;--page:#fcfcfd;"
    "--a:#0b68cb;--b:#ca4b0b}"
    "@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--faint:#9ba1a6;--line:#363a3f;"
    "--page:#111113;--a:#70b8ff;--b:#ffa057}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:760px;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid var(--line)}"
    ".heat td,.heat th{text-align:right;border:1px solid var(--line)}"
    "svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--faint)}"
    ".grid{stroke:var(--line)}.train{stroke:var(--a)}.valid{stroke:var(--b)}"
    ".curve{fill:none;stroke-width:1.6}.dot{stroke:none}.train.dot{fill:var(--a)}"
    ".valid.dot{fill:var(--b)}.key{font-size:.9rem}.key span{padding-right:1.2rem}"
    ".key .train::before,.key .valid::before{content:'\\25cf ';color:var(--a)}"
    ".key .valid::before{color:var(--b)}";

static void write_escaped(FILE *to, const char *text) {
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", to);
        else if (*text == '>')
            fputs("&gt;", to);
        else if (*text == '&')
            fputs("&amp;", to);
        else if (*text == '"')
            fputs("&quot;", to);
        else
            fputc(*text, to);
    }
}

typedef struct axes {
    double x_high, y_low, y_high;
} axes;

static double place_x(const axes *a, double x) {
    return LEFT + (WIDTH - LEFT - RIGHT) * (x / a->x_high);
}

static double place_y(const axes *a, double y) {
    return TOP + (HEIGHT - TOP - BOTTOM) * (a->y_high - y) / (a->y_high - a->y_low);
}

static void widen(axes *a, const curve *c) {
    for (int64_t i = 0; i < c->count; i++) {
        a->x_high = fmax(a->x_high, c->points[i].step);
        a->y_low = fmin(a->y_low, c->points[i].value);
        a->y_high = fmax(a->y_high, c->points[i].value);
    }
}

static void write_grid(FILE *to, const axes *a) {
    for (int i = 0; i <= TICKS; i++) {
        const double y = a->y_low + (a->y_high - a->y_low) * i / TICKS;
        const double x = a->x_high * i / TICKS;
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                WIDTH - RIGHT, place_y(a, y), place_y(a, y));
        fprintf(to, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", LEFT - 6,
                place_y(a, y) + 4, y);
        fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>", place_x(a, x),
                HEIGHT - BOTTOM + 18, x);
    }
    fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">updates</text>", WIDTH - RIGHT,
            HEIGHT - 3);
}

static void write_curve(FILE *to, const axes *a, const curve *c, const char *kind) {
    if (c->count == 0) return;
    const int64_t stride = c->count / POINTS_MAX + 1;
    fprintf(to, "<polyline class=\"curve %s\" points=\"", kind);
    for (int64_t i = 0; i < c->count; i++)
        if (i % stride == 0 || i == c->count - 1)
            fprintf(to, "%.1f,%.1f ", place_x(a, c->points[i].step),
                    place_y(a, c->points[i].value));
    fputs("\"/>", to);
    for (int64_t i = 0; i < c->count && c->count <= 64; i++)
        fprintf(to, "<circle class=\"dot %s\" r=\"2.5\" cx=\"%.1f\" cy=\"%.1f\"/>", kind,
                place_x(a, c->points[i].step), place_y(a, c->points[i].value));
}

static void write_chart(FILE *to, const char *title, const curve *train, const curve *valid) {
    axes a = {.x_high = 1, .y_low = INFINITY, .y_high = -INFINITY};
    widen(&a, train);
    widen(&a, valid);
    fprintf(to, "<h2>%s</h2>\n", title);
    if (!(a.y_low <= a.y_high)) {
        fputs("<p>Nothing was measured.</p>\n", to);
        return;
    }
    if (a.y_high - a.y_low < 1e-12) {
        a.y_low -= 0.5;
        a.y_high += 0.5;
    }
    fputs("<p class=\"key\"><span class=\"train\">training</span>"
          "<span class=\"valid\">validation</span></p>\n",
          to);
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", WIDTH, HEIGHT, title);
    write_grid(to, &a);
    write_curve(to, &a, train, "train");
    write_curve(to, &a, valid, "valid");
    fputs("</svg>\n", to);
}

static void write_row(FILE *to, const char *name, const char *value) {
    fputs("<tr><th>", to);
    write_escaped(to, name);
    fputs("</th><td>", to);
    write_escaped(to, value);
    fputs("</td></tr>\n", to);
}

static void write_number_row(FILE *to, const char *name, double value, int digits) {
    char text[64];
    if (!isfinite(value)) return;
    snprintf(text, sizeof text, "%.*f", digits, value);
    write_row(to, name, text);
}

static void write_results(FILE *to, const report *r) {
    fputs("<h2>Result</h2>\n<table>\n", to);
    write_row(to, "status", r->status);
    write_row(to, "ended by", r->reason);
    write_row(to, "device", r->device);
    write_number_row(to, "validation accuracy", r->result->valid_accuracy, 4);
    write_number_row(to, "validation loss", r->result->valid_loss, 4);
    write_number_row(to, "training loss, last epoch", r->result->train_loss, 4);
    write_number_row(to, "updates", (double)r->result->step, 0);
    write_number_row(to, "epochs", (double)r->result->epochs, 0);
    write_number_row(to, "training seconds", r->result->train_seconds, 2);
    write_number_row(to, "samples per second", r->result->samples_per_second, 0);
    write_number_row(to, "parameters", (double)r->parameter_count, 0);
    write_number_row(to, "peak bytes", (double)r->result->peak_bytes, 0);
    fputs("</table>\n", to);
}

static void write_configuration(FILE *to, const options *o) {
    fputs("<h2>Configuration</h2>\n<table>\n", to);
    for (int i = 0; i < OPTION_COUNT; i++)
        if ((option_table()[i].commands & TRAIN) && o->texts[i])
            write_row(to, option_table()[i].name, o->texts[i]);
    fputs("</table>\n", to);
}

static void write_confusion(FILE *to, const report *r) {
    if (!r->confusion || r->class_count > 100) return;
    fputs("<h2>Confusion matrix</h2>\n<p>Rows: the true class; columns: the predicted one; last "
          "validation.</p>\n<table class=\"heat\">\n<tr><th></th>",
          to);
    for (int64_t c = 0; c < r->class_count; c++) fprintf(to, "<th>%lld</th>", (long long)c);
    fputs("<th>accuracy</th></tr>\n", to);
    for (int64_t row = 0; row < r->class_count; row++) {
        const double *counts = r->confusion + row * r->class_count;
        double sum = 0;
        for (int64_t c = 0; c < r->class_count; c++) sum += counts[c];
        fprintf(to, "<tr><th>%lld</th>", (long long)row);
        for (int64_t c = 0; c < r->class_count; c++)
            fprintf(to,
                    "<td style=\"background:color-mix(in srgb,var(--%s) %.0f%%,transparent)\">"
                    "%.0f</td>",
                    c == row ? "a" : "b", sum > 0 ? 80 * counts[c] / sum : 0, counts[c]);
        if (sum > 0)
            fprintf(to, "<td>%.3f</td></tr>\n", counts[row] / sum);
        else
            fputs("<td>-</td></tr>\n", to);
    }
    fputs("</table>\n", to);
}

quern_status report_write(const report *r, const char *path) {
    sheet s;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    const history *h = r->history;
    fprintf(s.to, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    write_escaped(s.to, r->options->model);
    fputs(" on ", s.to);
    write_escaped(s.to, r->options->data);
    fprintf(s.to, "</title>\n<style>%s</style></head>\n<body>\n<h1>", style);
    write_escaped(s.to, r->options->model);
    fputs(" on ", s.to);
    write_escaped(s.to, r->options->data);
    fprintf(s.to, "</h1>\n<p>quern %s</p>\n", quern_version());
    write_results(s.to, r);
    write_chart(s.to, "Loss", &h->curves[CURVE_TRAIN_LOSS], &h->curves[CURVE_VALID_LOSS]);
    write_chart(s.to, "Accuracy", &h->curves[CURVE_TRAIN_ACCURACY],
                &h->curves[CURVE_VALID_ACCURACY]);
    write_confusion(s.to, r);
    write_configuration(s.to, r->options);
    fputs("</body></html>\n", s.to);
    return sheet_save(&s, path);
}
