/* progress.c - for a person watching: one bar on a terminal, plain lines elsewhere.
 *
 * The bar shows the run's steps, the last logged loss, throughput and the time that is left at the
 * pace so far; it is redrawn at most every 50 ms and gone when a line is printed. Without a known
 * number of steps it shows the count alone. Allocates in create only. */
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"
#include <quern/callbacks.h>
#include <quern/train.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { REDRAW_NS = 50000000, WIDTH_MAX = 400, BAR_CELLS_MAX = 40 };

struct quern_progress {
    const quern_host *host;
    quern_progress_desc desc;
    int64_t begun_step; /* of the run; what is planned counts from there */
    int64_t first_step; /* of this process, which the pace counts from */
    int64_t planned, begin_ns, drawn_ns, epoch_count;
    double loss, rate;
    bool logged; /* loss and rate are known */
    bool bar;    /* one stands on the terminal's current line */
    char line[8 * WIDTH_MAX];
};

quern_status quern_progress_create(quern_progress **out, quern_device *device,
                                   const quern_progress_desc *desc) {
    quern_progress *p = NULL;
    *out = NULL;
    if (!desc || !desc->write) return quern_fail(QUERN_INVALID, "progress: write is missing");
    if (desc->width < 0)
        return quern_fail(QUERN_INVALID, "progress: width is %" PRId32 ", not 0 or more",
                          desc->width);
    QUERN_TRY(memory_allocate(&device->host, &p, 1, sizeof *p, "progress"));
    p->host = &device->host;
    p->desc = *desc;
    if (p->desc.width == 0) p->desc.width = 80;
    if (p->desc.width > WIDTH_MAX) p->desc.width = WIDTH_MAX; /* a wider terminal is no error */
    *out = p;
    return QUERN_OK;
}

void quern_progress_destroy(quern_progress *p) {
    if (p) memory_release(p->host, p, 1, sizeof *p);
}

static int64_t now_ns(const quern_progress *p) {
    return p->host->clock.monotonic_ns(p->host->clock.self);
}

static text line_begin(quern_progress *p) { return text_over(p->line, sizeof p->line); }

/* A line that was cut still ends. */
static void line_write(quern_progress *p, const text *line) {
    if (line->overflow) line->data[line->length - 1] = '\n';
    p->desc.write(p->desc.self, line->data, line->length);
}

static void bar_clear(quern_progress *p) {
    if (!p->bar) return;
    static const char clear[] = "\r\033[K";
    p->desc.write(p->desc.self, clear, sizeof clear - 1);
    p->bar = false;
}

static void add_duration(text *line, double seconds) {
    const int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        text_add(line, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60, s % 60);
    else
        text_add(line, "%" PRId64 ":%02" PRId64, s / 60, s % 60);
}

static void add_rate(text *line, double rate) {
    if (rate >= 10000)
        text_add(line, "%.1fk samples/s", rate / 1000);
    else
        text_add(line, "%.0f samples/s", rate);
}

static void add_epoch(text *line, const quern_progress *p, const quern_event *event) {
    text_add(line, "epoch %" PRId64, event->epoch + 1);
    if (p->epoch_count > 0) text_add(line, "/%" PRId64, p->epoch_count);
}

/* What stands right of the bar; its length in columns is its length in bytes. */
static void add_facts(text *line, const quern_progress *p, const quern_event *event) {
    const int64_t done = event->step - p->begun_step, seen = event->step - p->first_step;
    text_add(line, " %" PRId64, done);
    if (p->planned > 0) text_add(line, "/%" PRId64, p->planned);
    if (p->logged) {
        text_add(line, "  loss ");
        text_add_number(line, p->loss, 4);
    }
    if (p->rate > 0) {
        text_add(line, "  ");
        add_rate(line, p->rate);
    }
    if (p->planned <= done || seen <= 0) return;
    const double spent = 1e-9 * (double)(p->drawn_ns - p->begin_ns);
    text_add(line, "  ETA ");
    add_duration(line, spent * (double)(p->planned - done) / (double)seen);
}

static void add_bar(text *line, const quern_progress *p, double share, int32_t cells) {
    const int32_t full = (int32_t)(share * cells);
    text_add(line, " %s[", p->desc.color ? "\033[32m" : "");
    for (int32_t i = 0; i < cells; i++) text_add(line, i < full ? "=" : i == full ? ">" : " ");
    text_add(line, "]%s", p->desc.color ? "\033[0m" : "");
}

static void bar_draw(quern_progress *p, const quern_event *event) {
    char head_bytes[64], fact_bytes[256];
    text head = text_over(head_bytes, sizeof head_bytes);
    text facts = text_over(fact_bytes, sizeof fact_bytes);
    add_epoch(&head, p, event);
    add_facts(&facts, p, event);
    int32_t cells = p->desc.width - 1 - 3 - (int32_t)(head.length + facts.length);
    if (cells > BAR_CELLS_MAX) cells = BAR_CELLS_MAX;
    text line = line_begin(p);
    text_add(&line, "\r%.*s", p->desc.width - 1, head.data);
    if (p->planned > 0 && cells >= 4)
        add_bar(&line, p, fmin(1, (double)(event->step - p->begun_step) / (double)p->planned),
                cells);
    const int32_t room = p->desc.width - 1 - (int32_t)head.length;
    text_add(&line, "%.*s\033[K", room > 0 ? room : 0, facts.data);
    line_write(p, &line);
    p->bar = true;
}

static void add_scalars(text *line, const quern_event *event) {
    for (int32_t i = 0; i < event->scalar_count; i++) {
        text_add(line, "  %s ", event->scalars[i].name);
        text_add_number(line, event->scalars[i].value, 4);
    }
}

static quern_action on_fit_begin(void *self, const quern_event *event) {
    quern_progress *p = self;
    int64_t begun_epoch = 0;
    quern_trainer_begun(event->trainer, &p->begun_step, &begun_epoch);
    p->first_step = event->step;
    p->planned = quern_trainer_planned_steps(event->trainer);
    p->epoch_count = quern_trainer_resolved(event->trainer)->epoch_count;
    if (p->epoch_count > 0) p->epoch_count += begun_epoch;
    p->begin_ns = p->drawn_ns = now_ns(p);
    p->logged = false;
    p->rate = 0;
    return QUERN_CONTINUE;
}

static quern_action on_step_end(void *self, const quern_event *event) {
    quern_progress *p = self;
    const int64_t now = now_ns(p);
    if (!p->desc.terminal || now - p->drawn_ns < REDRAW_NS) return QUERN_CONTINUE;
    p->drawn_ns = now;
    bar_draw(p, event);
    return QUERN_CONTINUE;
}

static quern_action on_log(void *self, const quern_event *event) {
    quern_progress *p = self;
    p->logged = true;
    p->loss = quern_event_scalar(event, "train/loss");
    p->rate = event->samples_per_second;
    if (p->desc.terminal) return QUERN_CONTINUE;
    text line = line_begin(p);
    add_epoch(&line, p, event);
    text_add(&line, "  step %" PRId64, event->step);
    add_scalars(&line, event);
    text_add(&line, "  ");
    add_rate(&line, event->samples_per_second);
    text_add(&line, "\n");
    line_write(p, &line);
    return QUERN_CONTINUE;
}

static quern_action on_epoch_end(void *self, const quern_event *event) {
    quern_progress *p = self;
    text line = line_begin(p);
    bar_clear(p);
    if (p->desc.color) text_add(&line, "\033[1m");
    add_epoch(&line, p, event);
    if (p->desc.color) text_add(&line, "\033[0m");
    add_scalars(&line, event);
    text_add(&line, "  ");
    add_rate(&line, event->samples_per_second);
    text_add(&line, "  ");
    add_duration(&line, event->seconds);
    text_add(&line, "\n");
    line_write(p, &line);
    return QUERN_CONTINUE;
}

static quern_action on_end(void *self, const quern_event *event) {
    (void)event;
    bar_clear(self);
    return QUERN_CONTINUE;
}

quern_callback quern_progress_callback(quern_progress *progress) {
    return (quern_callback){.name = "progress",
                            .band = QUERN_BAND_LOGGER,
                            .self = progress,
                            .fit_begin = on_fit_begin,
                            .step_end = on_step_end,
                            .log = on_log,
                            .epoch_end = on_epoch_end,
                            .exception = on_end,
                            .fit_end = on_end};
}
