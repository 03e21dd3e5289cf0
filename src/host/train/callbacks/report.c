/* report.c - the callback behind the HTML report: it keeps a curve for every scalar of log and
 * eval_end and for the throughput, and the counts of the last evaluation's confusion matrix.
 *
 * All of that lies in one block, made at init and saved as it lies but for the throughput, which is
 * no state: the curves of a resumed run are whole. The file is written at fit_end, through a buffer
 * of the object. */
#include "report.h"

#include <quern/train.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char throughput[] = "train/samples_per_second";

static quern_status desc_check(const quern_report_desc *d) {
    if (!d || !d->path || !d->path[0]) return quern_fail(QUERN_INVALID, "report: path is missing");
    if (d->class_count < 0 || (d->class_count > 0) != (d->class_names != NULL))
        return quern_fail(QUERN_INVALID, "report: class_count is %" PRId32 " with%s class_names",
                          d->class_count, d->class_names ? "" : "out");
    return QUERN_OK;
}

static quern_status names_copy(quern_report *r, const quern_report_desc *d) {
    const char **names = NULL;
    QUERN_TRY(arena_allocate(&r->memory, &names, d->class_count, sizeof *names, "class names"));
    for (int32_t i = 0; i < d->class_count; i++)
        QUERN_TRY(
            arena_copy_string(&r->memory, &names[i], d->class_names[i] ? d->class_names[i] : ""));
    r->class_names = names;
    r->class_name_count = d->class_count;
    return QUERN_OK;
}

static quern_status part_make(quern_report *r) {
    char *part = NULL;
    const int64_t bytes = (int64_t)(strlen(r->path) + sizeof ".part");
    QUERN_TRY(arena_allocate(&r->memory, &part, bytes, 1, "a path"));
    snprintf(part, (size_t)bytes, "%s.part", r->path);
    r->part = part;
    return QUERN_OK;
}

static quern_status report_fill(quern_report *r, const quern_report_desc *desc) {
    const char *title = desc->title ? desc->title : "Quern";
    QUERN_TRY(arena_copy_string(&r->memory, &r->path, desc->path));
    QUERN_TRY(arena_copy_string(&r->memory, &r->title, title));
    QUERN_TRY(part_make(r));
    QUERN_TRY(names_copy(r, desc));
    return report_configuration(r, desc->configuration);
}

quern_status quern_report_create(quern_report **out, quern_device *device,
                                 const quern_report_desc *desc) {
    quern_report *r = NULL;
    *out = NULL;
    QUERN_TRY(desc_check(desc));
    QUERN_TRY(memory_allocate(&device->host, &r, 1, sizeof *r, "report"));
    r->host = &device->host;
    r->memory = (arena){.host = r->host};
    r->page.writer.file = -1;
    const quern_status status = report_fill(r, desc);
    if (status == QUERN_OK)
        *out = r;
    else
        quern_report_destroy(r);
    return status;
}

/* The first confusion matrix, when it is not too large to be looked at. */
static quern_status confusion_find(quern_report *r, const quern_trainer_desc *d) {
    for (int32_t i = 0; i < d->metric_count && !r->metric; i++) {
        if (d->metrics[i].kind != QUERN_METRIC_CONFUSION) continue;
        r->metric = d->metrics[i].name;
        r->class_count = quern_tensor_shape(d->metrics[i].value).dim[0];
    }
    if (r->class_name_count > 0 && r->class_name_count != r->class_count)
        return quern_fail(QUERN_INVALID,
                          "report: %" PRId32 " class names for a confusion matrix of %" PRId64
                          " classes",
                          r->class_name_count, r->class_count);
    if (r->class_count <= REPORT_CLASSES) return QUERN_OK;
    r->metric = NULL;
    r->class_count = 0;
    return QUERN_OK;
}

/* The throughput comes last, behind what is saved. */
static quern_status block_make(quern_report *r) {
    const size_t counts = (size_t)(r->class_count * r->class_count) * sizeof(double);
    const size_t bytes = counts + (size_t)r->curve_count * sizeof(report_series);
    QUERN_TRY(arena_allocate(&r->memory, &r->block, (int64_t)bytes, 1, "the report's curves"));
    r->saved_bytes = bytes - sizeof(report_series);
    r->counts = (void *)r->block;
    r->series = (void *)(r->block + counts);
    for (int64_t i = 0; i < r->curve_count; i++) report_curve_begin(&r->series[i].curve);
    r->state = (report_state){.curve_count = r->curve_count, .class_count = r->class_count};
    return QUERN_OK;
}

static quern_status begin(quern_report *r, const quern_event *event) {
    const quern_trainer_desc *d = quern_trainer_resolved(event->trainer);
    r->metric = NULL;
    r->class_count = 0;
    r->parameter_count = quern_graph_parameter_elements(d->graph);
    r->curve_count = (int64_t)event->scalar_count + 1;
    QUERN_TRY(arena_copy_string(&r->memory, &r->device, quern_trainer_device_name(event->trainer)));
    QUERN_TRY(
        arena_allocate(&r->memory, &r->names, r->curve_count, sizeof *r->names, "curves' names"));
    for (int32_t i = 0; i < event->scalar_count; i++)
        QUERN_TRY(arena_copy_string(&r->memory, &r->names[i], event->scalars[i].name));
    r->names[event->scalar_count] = throughput;
    QUERN_TRY(confusion_find(r, d));
    return block_make(r);
}

static quern_action answer(const quern_event *event, quern_status status) {
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

static quern_action on_init(void *self, const quern_event *event) {
    return answer(event, begin(self, event));
}

/* What a checkpoint held is drawn later: it has to be what this code can have written. */
static quern_action on_load_end(void *self, const quern_event *event) {
    quern_report *r = self;
    bool valid = r->state.curve_count == r->curve_count && r->state.class_count == r->class_count &&
                 memchr(r->state.set, 0, sizeof r->state.set) != NULL;
    for (int64_t i = 0; valid && i < r->curve_count; i++)
        valid = report_curve_valid(&r->series[i].curve);
    if (valid) return QUERN_CONTINUE;
    return answer(event, quern_fail(QUERN_INPUT, "report: the state in %s cannot be of this run",
                                    event->checkpoint ? event->checkpoint : "the checkpoint"));
}

static void curve_add(quern_report *r, const quern_event *event, const char *name, double value) {
    for (int64_t i = 0; i < r->curve_count; i++) {
        if (strcmp(r->names[i], name) != 0) continue;
        report_curve_add(&r->series[i].curve, r->series[i].points, (double)event->step, value);
        return;
    }
}

static quern_action on_log(void *self, const quern_event *event) {
    quern_report *r = self;
    for (int32_t i = 0; i < event->scalar_count; i++)
        curve_add(r, event, event->scalars[i].name, event->scalars[i].value);
    curve_add(r, event, throughput, event->samples_per_second);
    return QUERN_CONTINUE;
}

/* NaN of an evaluation that a stop cut short was not measured: it is no gap. */
static quern_action on_eval_end(void *self, const quern_event *event) {
    quern_report *r = self;
    for (int32_t i = 0; i < event->scalar_count; i++)
        if (!r->stopping || !isnan(event->scalars[i].value))
            curve_add(r, event, event->scalars[i].name, event->scalars[i].value);
    if (!r->metric || quern_trainer_confusion(event->trainer, r->metric, r->counts,
                                              r->class_count * r->class_count) != QUERN_OK)
        return QUERN_CONTINUE;
    r->state.evaluated = 1;
    memset(r->state.set, 0, sizeof r->state.set);
    snprintf(r->state.set, sizeof r->state.set, "%s",
             event->evaluation ? event->evaluation : "val");
    return QUERN_CONTINUE;
}

static quern_action on_fit_begin(void *self, const quern_event *event) {
    quern_report *r = self;
    r->stopping = false;
    r->attempts_begun = event->attempts;
    return QUERN_CONTINUE;
}

static quern_action on_stop(void *self, const quern_event *event) {
    (void)event;
    ((quern_report *)self)->stopping = true;
    return QUERN_CONTINUE;
}

/* A finished run that was resumed has measured nothing that its page does not show already. */
static bool is_shown(const quern_report *r, const quern_event *event) {
    bool found = false;
    return event->status == QUERN_OK && event->attempts == r->attempts_begun &&
           quern_trainer_resumed(event->trainer) &&
           file_find(r->host, r->path, &found) == QUERN_OK && found;
}

static quern_action on_fit_end(void *self, const quern_event *event) {
    return is_shown(self, event) ? QUERN_CONTINUE : answer(event, report_write(self, event));
}

static quern_callback_state state_of(void *self) {
    quern_report *r = self;
    return (quern_callback_state){&r->state, sizeof r->state, r->block, r->saved_bytes};
}

quern_callback quern_report_callback(quern_report *report) {
    return (quern_callback){.name = "report",
                            .band = QUERN_BAND_LOGGER,
                            .self = report,
                            .state = state_of,
                            .init = on_init,
                            .load_end = on_load_end,
                            .fit_begin = on_fit_begin,
                            .stop_requested = on_stop,
                            .log = on_log,
                            .eval_end = on_eval_end,
                            .fit_end = on_fit_end};
}

void quern_report_destroy(quern_report *r) {
    if (!r) return;
    const quern_host *host = r->host;
    arena_release(&r->memory);
    memory_release(host, r, 1, sizeof *r);
}
