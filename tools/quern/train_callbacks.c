/* train_callbacks.c - what listens to a run: its history, report and event file in the run folder,
 * progress on standard error, early stop and plateau where they are asked for. */
#include "train.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void write_progress(void *self, const char *text, size_t bytes) {
    (void)self;
    while (bytes > 0) {
        const ssize_t written = write(STDERR_FILENO, text, bytes);
        if (written <= 0) return; /* nobody reads: training goes on */
        text += written;
        bytes -= (size_t)written;
    }
}

static int32_t terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

static quern_status open_progress(training *t) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    const bool terminal = isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
    return quern_progress_create(
        &t->progress, t->device,
        &(quern_progress_desc){.write = write_progress,
                               .terminal = terminal,
                               .color = terminal && !(no_color && *no_color),
                               .width = terminal ? terminal_width() : 80});
}

/* A run without TensorBoard is as good. */
static quern_status open_board(training *t) {
    const quern_status status = quern_tensorboard_create(&t->board, t->device, t->dir.path);
    return status == QUERN_UNSUPPORTED ? QUERN_OK : status;
}

static quern_status open_report(training *t, const char *configuration) {
    char path[PATH_BYTES], title[512];
    quern_status status = path_join(path, t->dir.path, "report.html");
    if (status != QUERN_OK) return status;
    snprintf(title, sizeof title, "%s on %s", t->options->model, t->options->data);
    return quern_report_create(
        &t->report, t->device,
        &(quern_report_desc){.path = path, .title = title, .configuration = configuration});
}

/* A run that goes on from a checkpoint cuts it back to what it held then; else it begins anew. */
static quern_status open_history(training *t, const char *configuration) {
    char path[PATH_BYTES];
    const quern_status status = path_join(path, t->dir.path, "metrics.jsonl");
    if (status != QUERN_OK) return status;
    return quern_jsonl_create(&t->jsonl, t->device,
                              &(quern_history_desc){.path = path, .header = configuration});
}

static quern_status open_judges(training *t) {
    const options *o = t->options;
    quern_status status = QUERN_OK;
    if (o->patience)
        status = quern_early_stop_create(&t->early_stop, t->device,
                                         &(quern_early_stop_desc){.patience = o->patience});
    if (status == QUERN_OK && o->plateau)
        status = quern_plateau_create(&t->plateau, t->device,
                                      &(quern_plateau_desc){.patience = o->plateau});
    return status;
}

quern_status train_callbacks_open(training *t) {
    char *configuration = NULL;
    quern_status status = open_judges(t);
    if (status == QUERN_OK) status = outputs_config_line(t, &configuration);
    if (status == QUERN_OK) status = open_history(t, configuration);
    if (status == QUERN_OK) status = open_report(t, configuration);
    free(configuration);
    if (status == QUERN_OK) status = open_board(t);
    if (status == QUERN_OK && !t->options->quiet) status = open_progress(t);
    if (status == QUERN_OK) status = profile_open_range(&t->profile, t->options, t->device);
    return status;
}

/* A run that goes on takes its new configuration with its first update: one that was over, or is
 * refused, keeps what it has. */
static quern_action renew_config(void *self, const quern_event *event) {
    training *t = self;
    if (t->config_renewed || !quern_trainer_resumed(event->trainer)) return QUERN_CONTINUE;
    t->config_renewed = true;
    const quern_status status = outputs_write_config(t);
    return status == QUERN_OK ? QUERN_CONTINUE : quern_event_fail(event, status);
}

int32_t train_callbacks(training *t, quern_callback out[TRAIN_CALLBACKS_MAX]) {
    int32_t count = 0;
    out[count++] = signals_callback();
    out[count++] = (quern_callback){.name = "config", .self = t, .update_end = renew_config};
    out[count++] = quern_jsonl_callback(t->jsonl);
    out[count++] = quern_report_callback(t->report);
    if (t->progress) out[count++] = quern_progress_callback(t->progress);
    if (t->board) out[count++] = quern_tensorboard_callback(t->board);
    if (t->early_stop) out[count++] = quern_early_stop_callback(t->early_stop);
    if (t->plateau) out[count++] = quern_plateau_callback(t->plateau);
    if (t->profile.range) out[count++] = quern_profile_range_callback(t->profile.range);
    return count;
}

void train_callbacks_release(training *t) {
    quern_progress_destroy(t->progress);
    quern_jsonl_destroy(t->jsonl);
    quern_report_destroy(t->report);
    quern_tensorboard_destroy(t->board);
    quern_early_stop_destroy(t->early_stop);
    quern_plateau_destroy(t->plateau);
}
