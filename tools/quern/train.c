/* train.c - `quern train`: everything that can be refused is refused before the first step. */
#include "train.h"
#include "commands.h"

#include <math.h>
#include <string.h>

static quern_status open_device_and_data(training *t) {
    const options *o = t->options;
    quern_device_info info;
    quern_status status = profile_open(&t->profile, o);
    if (status == QUERN_OK) status = session_device(&t->device, o, &t->lowest, &t->profile);
    if (status == QUERN_OK) status = quern_device_info_get(t->device, &info);
    if (status != QUERN_OK) return status;
    snprintf(t->device_name, sizeof t->device_name, "%s:%d %s",
             info.kind == QUERN_DEVICE_CUDA ? "cuda" : "cpu", (int)info.index, info.name);
    status = samples_open(&t->data, t->device, o->data, o->valid);
    if (status == QUERN_OK) status = train_check_data(o, &t->data);
    if (status != QUERN_OK) return status;
    return samples_measure(&t->data);
}

static quern_status open_folder(training *t) {
    const quern_status status = run_dir_open(&t->dir, t->options);
    if (status != QUERN_OK) return status;
    t->has_dir = true;
    return path_join(t->checkpoints, t->dir.path, "checkpoints");
}

static quern_status open_trainer(training *t) {
    quern_callback callbacks[TRAIN_CALLBACKS_MAX];
    quern_trainer_desc desc;
    quern_status status = train_desc(&desc, t);
    desc.callbacks = callbacks;
    desc.callback_count = train_callbacks(t, callbacks);
    if (status == QUERN_OK) status = quern_trainer_memory(&t->memory, &desc);
    /* What a run goes on from, and what was changed in it, is worth telling whoever asks for it. */
    const quern_log_level lowest = t->lowest;
    if (t->options->resume) t->lowest = QUERN_LOG_INFO;
    if (status == QUERN_OK) status = quern_trainer_create(&t->trainer, &desc);
    t->lowest = lowest;
    return status;
}

static quern_status prepare(training *t) {
    quern_status status = open_device_and_data(t);
    if (status == QUERN_OK)
        status = model_create(&t->net, t->device, t->options->model, &t->data.input,
                              t->data.class_count);
    if (status == QUERN_OK) status = open_folder(t);
    if (status == QUERN_OK) status = train_check_resume(t);
    if (status == QUERN_OK) status = train_callbacks_open(t);
    if (status == QUERN_OK) status = open_trainer(t);
    if (status != QUERN_OK || quern_trainer_resumed(t->trainer)) return status;
    return outputs_write_config(t);
}

/* A finished run that was resumed has evaluated nothing in this process. */
static quern_status evaluate_end(training *t) {
    if (!t->data.valid || t->result.signal || !isnan(t->result.valid_loss)) return QUERN_OK;
    quern_scalar scalars[8];
    int32_t count = 0;
    const quern_status status =
        quern_trainer_evaluate(t->trainer, t->data.valid, scalars, 8, &count);
    if (status != QUERN_OK) return status;
    t->result.valid_loss = session_scalar(scalars, count, "loss");
    t->result.valid_accuracy = session_scalar(scalars, count, "accuracy");
    return QUERN_OK;
}

/* Early stop is the only callback of this command that ends a run. */
const char *train_ended_by(const training *t) {
    const bool early = t->result.reason == QUERN_STOPPED_CALLBACK;
    return early ? "early stop (--patience)" : quern_stop_reason_name(t->result.reason);
}

/* Who resumes with a higher limit a run that --patience ended would wonder why nothing happens. */
static void tell_that_it_was_over(const training *t) {
    const quern_result *r = &t->result;
    const char *from = quern_trainer_resumed(t->trainer);
    if (!from || !r->checkpoint || strcmp(from, r->checkpoint) != 0) return;
    if (r->reason == QUERN_STOPPED_SIGNAL || r->reason == QUERN_STOPPED_FILE) return;
    fprintf(stderr, "quern: the run was over, ended by %s: nothing was left to train\n",
            train_ended_by(t));
}

static quern_status run(training *t) {
    if (!t->options->quiet) outputs_print_start(t);
    t->started = true;
    quern_status status = quern_trainer_fit(t->trainer, &t->result);
    signals_note(t->result.signal);
    if (t->result.checkpoint)
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s", t->result.checkpoint);
    if (status != QUERN_OK || t->result.at_once) return status; /* no time for anything else */
    tell_that_it_was_over(t);
    status = quern_trainer_digest(t->trainer, t->digest);
    if (status == QUERN_OK) status = evaluate_end(t);
    return status == QUERN_OK ? outputs_write_model(t) : status;
}

static void release(training *t) {
    const char *const names[] = {"metrics.jsonl", "config.json", "checkpoints", NULL};
    quern_trainer_destroy(t->trainer);
    train_callbacks_release(t);
    model_release(&t->net);
    samples_release(&t->data);
    profile_release_range(&t->profile);
    quern_device_destroy(t->device);
    if (profile_release(&t->profile) != QUERN_OK)
        fprintf(stderr, "quern: --trace: %s\n", quern_error());
    if (t->has_dir && !t->started) run_dir_undo(&t->dir, names);
    if (t->has_dir) run_dir_release(&t->dir);
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
    snprintf(reason, sizeof reason, "%s", status == QUERN_OK ? train_ended_by(&t) : quern_error());
    int code = quern_status_exit_code(status);
    if (status != QUERN_OK) fprintf(stderr, "quern: %s\n", reason);
    quern_status printed = QUERN_OK;
    if (o->json)
        printed = outputs_print_json(&t, status, reason);
    else if (status == QUERN_OK)
        printed = outputs_print_text(&t);
    if (printed != QUERN_OK && status == QUERN_OK) code = command_fail(printed);
    release(&t);
    return code == 0 && signals_received() ? 128 + signals_received() : code;
}
