/* outputs.c - what a run leaves behind and what it says. */
#include "train.h"
#include "commands.h"
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void write_floats(json *j, const char *key, const float *values, int32_t count) {
    json_key(j, key);
    fputc('[', j->to);
    for (int32_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", j->to);
        json_write_number(j->to, (double)values[i]);
    }
    fputc(']', j->to);
}

/* What the run computes with that no option says. */
static void write_data(json *j, const samples *s) {
    json_count(j, "train-samples", quern_dataset_length(s->train));
    json_count(j, "validation-samples", s->valid ? quern_dataset_length(s->valid) : 0);
    json_count(j, "classes", s->class_count);
    json_number(j, "data-scale", (double)s->transform.scale);
    write_floats(j, "data-mean", s->transform.mean, s->transform.channel_count);
    write_floats(j, "data-deviation", s->transform.deviation, s->transform.channel_count);
}

static void write_resolved(json *j, const quern_trainer *trainer) {
    const quern_trainer_desc *d = quern_trainer_resolved(trainer);
    json_number(j, "beta1", d->optimizer.beta1);
    json_number(j, "beta2", d->optimizer.beta2);
    json_number(j, "epsilon", d->optimizer.epsilon);
    json_count(j, "schedule-updates", d->optimizer.schedule.total);
    json_count(j, "planned-updates", quern_trainer_planned_steps(trainer));
    json_count(j, "prefetch", d->prefetch);
    json_count(j, "run-ahead", d->run_ahead);
}

/* Paths so that they mean the same from every working directory. */
static void write_option(const training *t, int option, FILE *to) {
    const options *o = t->options;
    char path[PATH_BYTES];
    if (option == OPTION_run_dir)
        json_write_text(to, t->dir.path);
    else if (option == OPTION_data && samples_path(path, o->data) == QUERN_OK)
        json_write_text(to, path);
    else if (option == OPTION_valid && o->valid && path_absolute(path, o->valid) == QUERN_OK)
        json_write_text(to, path);
    else if (option == OPTION_stop_file && o->stop_file &&
             path_absolute(path, o->stop_file) == QUERN_OK)
        json_write_text(to, path);
    else
        option_write_json(o, option, to);
}

static void write_config(const training *t, FILE *to, const char *gap) {
    const option_row *rows = option_table();
    json j;
    json_begin(&j, to, gap);
    json_text(&j, "quern", quern_version());
    json_text(&j, "command", "train");
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!(rows[i].commands & TRAIN)) continue;
        json_key(&j, rows[i].name);
        write_option(t, i, to);
    }
    json_text(&j, "device-name", t->device_name);
    write_data(&j, &t->data);
    if (t->trainer) write_resolved(&j, t->trainer);
    json_end(&j);
}

quern_status outputs_config_line(const training *t, char **out) {
    sheet s;
    *out = NULL;
    quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    write_config(t, s.to, " ");
    status = sheet_finish(&s);
    if (status == QUERN_OK)
        *out = s.data;
    else
        sheet_release(&s);
    return status;
}

quern_status outputs_write_config(const training *t) {
    char path[PATH_BYTES];
    sheet s;
    quern_status status = path_join(path, t->dir.path, "config.json");
    if (status == QUERN_OK) status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    write_config(t, s.to, "\n  ");
    fputc('\n', s.to);
    return sheet_save(&s, path);
}

/* The weights that were evaluated. */
quern_status outputs_write_model(const training *t) {
    char path[PATH_BYTES];
    quern_parameters *average = quern_trainer_average(t->trainer);
    const quern_status status = path_join(path, t->dir.path, "model.safetensors");
    if (status != QUERN_OK) return status;
    return weights_save(path, t->options, &t->net, &t->data,
                        average ? average : quern_trainer_parameters(t->trainer));
}

quern_status outputs_print_json(const training *t, quern_status run, const char *reason) {
    const quern_result *r = &t->result;
    const size_t peak = r->peak_bytes > 0 ? r->peak_bytes : t->memory.peak_bytes;
    sheet s;
    json j;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    json_begin(&j, s.to, " ");
    json_text(&j, "status", command_status_name(run));
    json_text(&j, "reason", reason);
    json_text(&j, "stop_reason", t->started ? quern_stop_reason_name(r->reason) : NULL);
    json_count(&j, "steps", r->step);
    json_count(&j, "attempts", r->attempts);
    json_count(&j, "epochs", r->epochs);
    json_number(&j, "train_seconds", r->train_seconds);
    json_number(&j, "samples_per_second", r->samples_per_second);
    json_number(&j, "train/loss", r->train_loss);
    json_number(&j, "val/loss", r->valid_loss);
    json_number(&j, "val/accuracy", r->valid_accuracy);
    json_count(&j, "parameters", t->net.graph ? quern_graph_parameter_elements(t->net.graph) : 0);
    json_count(&j, "peak_bytes", (int64_t)peak);
    json_text(&j, "device", t->device ? t->device_name : NULL);
    json_count(&j, "seed", t->options->seed);
    json_text(&j, "run_dir", t->has_dir ? t->dir.path : NULL);
    json_text(&j, "checkpoint", t->checkpoint[0] ? t->checkpoint : NULL);
    json_text(&j, "digest", t->digest[0] ? t->digest : NULL);
    json_end(&j);
    fputc('\n', s.to);
    return sheet_print(&s);
}

void outputs_print_start(const training *t) {
    const options *o = t->options;
    char limit[64] = "", valid[64] = "none";
    if (o->steps) snprintf(limit, sizeof limit, ", at most %" PRId64 " updates", o->steps);
    if (t->data.valid)
        snprintf(valid, sizeof valid, "%" PRId64, quern_dataset_length(t->data.valid));
    fprintf(stderr, "quern %s\n", quern_version());
    fprintf(stderr, "device      %s, %s\n", t->device_name, o->precision);
    fprintf(stderr, "model       %s, %" PRId64 " parameters\n", o->model,
            quern_graph_parameter_elements(t->net.graph));
    fprintf(stderr, "data        %s, %" PRId64 " training, %s validation samples\n", o->data,
            quern_dataset_length(t->data.train), valid);
    fprintf(stderr, "batch       %" PRId64 " x %" PRId64 " accumulation x 1 rank\n", o->batch_size,
            o->accumulate);
    fprintf(stderr, "optimizer   %s, learning rate %g, schedule %s%s\n", o->optimizer, o->lr,
            o->schedule, limit);
    fprintf(stderr, "seed        %" PRId64 "\n", o->seed);
    fprintf(stderr, "memory      %.1f MB planned peak", (double)t->memory.peak_bytes / 1e6);
    if (t->memory.data_bytes > 0)
        fprintf(stderr, ", %.1f MB of it resident sets", (double)t->memory.data_bytes / 1e6);
    fprintf(stderr, "\n");
    fprintf(stderr, "run         %s\n", t->dir.path);
}

static const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

quern_status outputs_print_text(const training *t) {
    const quern_result *r = &t->result;
    sheet s;
    const quern_status status = sheet_open(&s);
    if (status != QUERN_OK) return status;
    fprintf(s.to, "%" PRId64 " update%s, %" PRId64 " epoch%s in %.1f s (%.0f samples/s)\n", r->step,
            plural(r->step), r->epochs, plural(r->epochs), r->train_seconds,
            unsigned_nan(r->samples_per_second));
    fprintf(s.to, "ended by            %s\n", train_ended_by(t));
    if (r->attempts > 0)
        fprintf(s.to, "training loss       %.4f\n", unsigned_nan(r->train_loss));
    else
        fprintf(s.to, "training loss       none: no batch was trained on\n");
    if (t->data.valid && t->result.signal && isnan(r->valid_loss)) {
        fprintf(s.to, "validation          not done: the run was interrupted\n");
    } else if (t->data.valid) {
        fprintf(s.to, "validation loss     %.4f\n", unsigned_nan(r->valid_loss));
        fprintf(s.to, "validation accuracy %.4f\n", unsigned_nan(r->valid_accuracy));
    }
    fprintf(s.to, "checkpoint          %s\n", t->checkpoint[0] ? t->checkpoint : "none");
    fprintf(s.to, "digest              %s\n", t->digest[0] ? t->digest : "none");
    fprintf(s.to, "report              %s/report.html\n", t->dir.path);
    return sheet_print(&s);
}
