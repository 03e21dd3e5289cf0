/* inspect_checkpoint.c - a checkpoint, and a folder of them. Everything shown was verified. */
#include "inspect.h"

#include <inttypes.h>

typedef struct listing {
    FILE *to;
    quern_device *device;
    bool as_json;
    int count;
    bool found_whole;    /* the newest whole one has come */
    bool barred;         /* one has come that a resume would stop at */
    quern_status usable; /* why a run could not be resumed */
} listing;

static void write_entry_json(const listing *l, const quern_checkpoint_entry *e,
                             const quern_checkpoint_info *info, bool latest) {
    json j;
    if (l->count > 0) fputs(", ", l->to);
    json_begin(&j, l->to, " ");
    json_count(&j, "step", e->step);
    json_text(&j, "path", e->path);
    json_flag(&j, "whole", e->status == QUERN_OK);
    json_text(&j, "reason", e->status == QUERN_OK ? NULL : e->reason);
    if (info) {
        json_count(&j, "epoch", info->epoch);
        json_count(&j, "attempts", info->attempts);
        json_count(&j, "samples", info->samples);
        json_count(&j, "bytes", (int64_t)info->bytes);
        json_flag(&j, "latest", latest);
    }
    json_end(&j);
}

static const char *state_word(const quern_checkpoint_entry *e) {
    if (e->status == QUERN_UNSUPPORTED) return "newer";
    return e->unreadable ? "unreadable" : "damaged";
}

static void write_entry_text(const listing *l, const quern_checkpoint_entry *e,
                             const quern_checkpoint_info *info, bool latest) {
    if (l->count == 0) fputs("checkpoints\n", l->to);
    fprintf(l->to, "  step %-10" PRId64, e->step);
    if (info)
        fprintf(l->to, " epoch %-6" PRId64 " %12zu bytes  whole%s", info->epoch, info->bytes,
                latest ? ", latest" : "");
    else
        fprintf(l->to, " %s: ", state_word(e));
    if (!info) plain_write(l->to, e->reason);
    fputc('\n', l->to);
}

static void visit(void *context, const quern_checkpoint_entry *e) {
    listing *l = context;
    quern_checkpoint *checkpoint = NULL;
    quern_checkpoint_info info;
    quern_checkpoint_entry entry = *e;
    if (e->status == QUERN_OK)
        entry.status = quern_checkpoint_open(&checkpoint, l->device, e->path);
    if (entry.status != e->status) entry.reason = quern_error();
    if (checkpoint) info = quern_checkpoint_info_get(checkpoint);
    const bool latest = checkpoint && !l->found_whole && !l->barred;
    if (!l->found_whole && l->usable != QUERN_UNSUPPORTED) l->usable = entry.status;
    l->found_whole |= checkpoint != NULL;
    l->barred |= entry.unreadable || entry.status == QUERN_UNSUPPORTED;
    if (l->as_json)
        write_entry_json(l, &entry, checkpoint ? &info : NULL, latest);
    else
        write_entry_text(l, &entry, checkpoint ? &info : NULL, latest);
    l->count++;
    quern_checkpoint_destroy(checkpoint);
}

quern_status checkpoints_write(FILE *to, quern_device *device, const char *folder, bool as_json,
                               quern_status *usable) {
    listing l = {.to = to, .device = device, .as_json = as_json};
    if (as_json) fputc('[', to);
    const quern_status status = quern_checkpoint_list(device, folder, visit, &l);
    if (as_json) fputc(']', to);
    if (status == QUERN_OK && !as_json && l.count == 0) fputs("no checkpoints\n", to);
    *usable = l.usable;
    return status;
}

static void write_info_json(json *j, const quern_checkpoint_info *i, const char *digest) {
    json_text(j, "path", i->path);
    json_count(j, "version", i->version);
    json_text(j, "digest", digest);
    json_count(j, "bytes", (int64_t)i->bytes);
    json_count(j, "step", i->step);
    json_count(j, "attempts", i->attempts);
    json_count(j, "samples", i->samples);
    json_count(j, "epoch", i->epoch);
    json_count(j, "batch", i->batch);
    json_count(j, "sample", i->sample);
    json_number(j, "train_seconds", i->train_seconds);
    json_key(j, "seed");
    fprintf(j->to, "%" PRIu64, i->seed);
    json_text(j, "metric", i->metric);
    json_number(j, "metric_value", i->metric_value);
    json_text(j, "algorithms", i->algorithms);
    json_key(j, "configuration");
    fputs(i->configuration, j->to); /* a JSON object, verified */
}

static void write_info_text(FILE *to, const quern_checkpoint_info *i, const char *digest) {
    fprintf(to, "digest        %s\n", digest);
    fprintf(to, "format        %" PRId64 ", %zu bytes\n", i->version, i->bytes);
    fprintf(to, "step          %" PRId64 " (%" PRId64 " attempts, %" PRId64 " samples)\n", i->step,
            i->attempts, i->samples);
    fprintf(to, "position      epoch %" PRId64 ", batch %" PRId64 ", sample %" PRId64 "\n",
            i->epoch, i->batch, i->sample);
    fprintf(to, "trained       %.1f s, seed %" PRIu64 "\n", unsigned_nan(i->train_seconds),
            i->seed);
    if (i->metric) {
        fputs("best by       ", to);
        plain_write(to, i->metric);
        fprintf(to, " %.6g\n", unsigned_nan(i->metric_value));
    }
    fputs("configuration ", to);
    plain_write(to, i->configuration);
    fputc('\n', to);
}

quern_status checkpoint_write(FILE *to, quern_device *device, const char *path, bool as_json) {
    quern_checkpoint *checkpoint = NULL;
    char digest[33];
    quern_status status = quern_checkpoint_open(&checkpoint, device, path);
    if (status == QUERN_OK) status = quern_checkpoint_digest(checkpoint, digest);
    if (status != QUERN_OK) {
        quern_checkpoint_destroy(checkpoint);
        return status;
    }
    const quern_checkpoint_info info = quern_checkpoint_info_get(checkpoint);
    const quern_safetensors *state = quern_checkpoint_state(checkpoint);
    json j = {.to = to, .gap = " "};
    if (as_json)
        write_info_json(&j, &info, digest);
    else
        write_info_text(to, &info, digest);
    if (as_json) fputs(", ", to);
    tensors_write(to, quern_checkpoint_model(checkpoint), as_json);
    fputs(as_json ? ", \"state\": " : "state\n", to);
    tensor_list_write(to, state, as_json);
    quern_checkpoint_destroy(checkpoint);
    return QUERN_OK;
}
