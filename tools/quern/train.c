/* train.c - `quern train`: everything that can be refused is refused before the first step. */
#include "train.h"
#include "commands.h"

#include <math.h>
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
    const bool terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    return quern_progress_create(
        &t->progress, t->device,
        &(quern_progress_desc){.write = write_progress,
                               .terminal = terminal,
                               .color = terminal && !(no_color && *no_color),
                               .width = terminal ? terminal_width() : 80});
}

static quern_status open_device_and_data(training *t) {
    const options *o = t->options;
    quern_device_info info;
    quern_status status = session_device(&t->device, o);
    if (status == QUERN_OK) status = quern_device_info_get(t->device, &info);
    if (status != QUERN_OK) return status;
    snprintf(t->device_name, sizeof t->device_name, "%s:%d %s",
             info.kind == QUERN_DEVICE_CUDA ? "cuda" : "cpu", (int)info.index, info.name);
    status = samples_open(&t->data, t->device, o->data, o->valid);
    if (status == QUERN_OK) status = train_check_data(o, &t->data);
    if (status != QUERN_OK) return status;
    return samples_measure(&t->data);
}

static quern_status open_early_stop(training *t) {
    if (!t->options->patience) return QUERN_OK;
    return quern_early_stop_create(&t->early_stop, t->device,
                                   &(quern_early_stop_desc){.patience = t->options->patience});
}

/* A run without TensorBoard is as good. */
static quern_status open_board(training *t) {
    const quern_status status = quern_tensorboard_create(&t->board, t->device, t->dir.path);
    return status == QUERN_UNSUPPORTED ? QUERN_OK : status;
}

static quern_status open_report(training *t, const char *configuration) {
    char path[4096], title[512];
    quern_status status = run_dir_file(&t->dir, "report.html", path, sizeof path);
    if (status != QUERN_OK) return status;
    snprintf(title, sizeof title, "%s on %s", t->options->model, t->options->data);
    return quern_report_create(
        &t->report, t->device,
        &(quern_report_desc){.path = path, .title = title, .configuration = configuration});
}

static quern_status open_run(training *t) {
    char path[4096];
    quern_status status = run_dir_open(&t->dir, t->options);
    if (status != QUERN_OK) return status;
    t->has_dir = true;
    status = run_dir_file(&t->dir, "checkpoints", t->checkpoints, sizeof t->checkpoints);
    if (status == QUERN_OK) status = run_dir_file(&t->dir, "metrics.jsonl", path, sizeof path);
    char *header = NULL;
    if (status == QUERN_OK) status = outputs_config_line(t, &header);
    if (status == QUERN_OK)
        status = quern_jsonl_create(&t->jsonl, t->device,
                                    &(quern_history_desc){.path = path, .header = header});
    if (status == QUERN_OK) status = open_report(t, header);
    free(header);
    return status == QUERN_OK ? open_board(t) : status;
}

static quern_action check_signal(void *self, const quern_event *event) {
    (void)self;
    (void)event;
    return signals_received() ? QUERN_STOP : QUERN_CONTINUE;
}

static quern_status open_trainer(training *t) {
    quern_callback callbacks[6] = {
        {.name = "signals", .fit_begin = check_signal},
        quern_jsonl_callback(t->jsonl),
        quern_report_callback(t->report),
    };
    int32_t count = 3;
    if (t->progress) callbacks[count++] = quern_progress_callback(t->progress);
    if (t->board) callbacks[count++] = quern_tensorboard_callback(t->board);
    if (t->early_stop) callbacks[count++] = quern_early_stop_callback(t->early_stop);
    quern_trainer_desc desc;
    quern_status status = train_desc(&desc, t);
    desc.callbacks = callbacks;
    desc.callback_count = count;
    if (status == QUERN_OK) status = quern_trainer_memory(&t->memory, &desc);
    if (status == QUERN_OK) status = quern_trainer_create(&t->trainer, &desc);
    return status;
}

static quern_status prepare(training *t) {
    quern_status status = open_device_and_data(t);
    if (status == QUERN_OK)
        status = model_create(&t->net, t->device, t->options->model, &t->data.input,
                              t->data.class_count);
    if (status == QUERN_OK) status = open_early_stop(t);
    if (status == QUERN_OK) status = open_run(t);
    if (status == QUERN_OK && !t->options->quiet) status = open_progress(t);
    if (status == QUERN_OK) status = open_trainer(t);
    if (status == QUERN_OK) status = outputs_write_config(t);
    return status;
}

static quern_status run(training *t) {
    if (!t->options->quiet) outputs_print_start(t);
    t->started = true;
    signals_watch(t->trainer);
    const quern_status status = quern_trainer_fit(t->trainer, &t->result);
    signals_watch(NULL);
    t->stop_signal = signals_received();
    return status;
}

static void release(training *t) {
    char board[512] = "";
    if (t->board)
        snprintf(board, sizeof board, "%s", strrchr(quern_tensorboard_path(t->board), '/') + 1);
    const char *const names[] = {"metrics.jsonl", "config.json", board[0] ? board : NULL, NULL};
    quern_trainer_destroy(t->trainer);
    quern_progress_destroy(t->progress);
    quern_jsonl_destroy(t->jsonl);
    quern_report_destroy(t->report);
    quern_tensorboard_destroy(t->board);
    quern_early_stop_destroy(t->early_stop);
    model_release(&t->net);
    samples_release(&t->data);
    quern_device_destroy(t->device);
    if (t->has_dir && !t->started) run_dir_undo(&t->dir, names);
    if (t->has_dir) run_dir_release(&t->dir);
}

static const char *end_reason(const training *t, quern_status status) {
    if (status != QUERN_OK) return quern_error();
    return t->stop_signal ? "signal" : quern_stop_reason_name(t->result.reason);
}

int command_train(const options *o) {
    quern_status status = train_check(o);
    if (status != QUERN_OK) return command_fail(status);
    training t = {.options = o};
    t.result.train_loss = t.result.valid_loss = t.result.valid_accuracy = NAN;
    signals_install();
    status = prepare(&t);
    if (status == QUERN_OK) status = run(&t);
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", end_reason(&t, status));
    if (t.started) {
        const quern_status written = outputs_write_results(&t, status);
        if (status == QUERN_OK && written != QUERN_OK) {
            status = written;
            snprintf(reason, sizeof reason, "%s", quern_error());
        }
    }
    int code = quern_status_exit_code(status);
    if (status != QUERN_OK) fprintf(stderr, "quern: %s\n", reason);
    quern_status printed = QUERN_OK;
    if (o->json)
        printed = outputs_print_json(&t, status, reason);
    else if (status == QUERN_OK)
        printed = outputs_print_text(&t);
    if (printed != QUERN_OK && status == QUERN_OK) code = command_fail(printed);
    if (code == 0 && t.stop_signal) code = 128 + t.stop_signal;
    release(&t);
    return code;
}
