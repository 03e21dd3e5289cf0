/* weights.c - model.safetensors: the trained state, with notes that say how to use it, so that
 * eval and predict need nothing but the file. */
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Floats as decimal numbers that read back exactly, separated by spaces. */
static void floats_to_text(char *out, size_t bytes, const float *values, int32_t count) {
    size_t length = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < count && length < bytes; i++)
        length += (size_t)snprintf(out + length, bytes - length, "%s%.9g", i > 0 ? " " : "",
                                   (double)values[i]);
}

static bool floats_from_text(const char *text, float *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        char *end = NULL;
        values[i] = text ? strtof(text, &end) : NAN;
        if (end == text || !isfinite(values[i])) return false;
        text = end;
    }
    return text && *text == '\0';
}

quern_status weights_save(const char *path, const options *o, const model *m, const samples *s,
                          quern_parameters *parameters) {
    const quern_transform *t = &s->transform;
    char classes[24], channels[24], scale[24], mean[16 * QUERN_CHANNEL_MAX];
    char deviation[16 * QUERN_CHANNEL_MAX];
    snprintf(classes, sizeof classes, "%lld", (long long)s->class_count);
    snprintf(channels, sizeof channels, "%d", (int)t->channel_count);
    floats_to_text(scale, sizeof scale, &t->scale, 1);
    floats_to_text(mean, sizeof mean, t->mean, t->channel_count);
    floats_to_text(deviation, sizeof deviation, t->deviation, t->channel_count);
    const quern_safetensors_note notes[] = {
        {"quern.version", quern_version()},
        {"quern.model", o->model},
        {"quern.data", o->data},
        {"quern.classes", classes},
        {"quern.scale", scale},
        {"quern.channels", channels},
        {"quern.mean", mean},
        {"quern.deviation", deviation},
    };
    return quern_safetensors_save(path, m->graph, parameters, notes,
                                  (int32_t)(sizeof notes / sizeof *notes));
}

/* The notes of a file that quern wrote replace what would else be measured. */
static quern_status use_notes(trained *t, const char *path) {
    const quern_safetensors *f = t->file;
    quern_transform *transform = &t->data.transform;
    const char *classes = quern_safetensors_note_find(f, "quern.classes");
    const char *channels = quern_safetensors_note_find(f, "quern.channels");
    if (!classes) return samples_measure(&t->data);
    char *end = NULL;
    const long long class_count = strtoll(classes, &end, 10);
    if (*end || class_count < 1 || class_count > CLASS_MAX)
        return quern_fail(QUERN_INPUT, "%s: note quern.classes: expected 1 to %d, found \"%s\"",
                          path, CLASS_MAX, classes);
    const long count = channels ? strtol(channels, &end, 10) : -1;
    if (!channels || *end || count < 0 || count > QUERN_CHANNEL_MAX)
        return quern_fail(QUERN_INPUT, "%s: note quern.channels: expected 0 to %d, found \"%s\"",
                          path, QUERN_CHANNEL_MAX, channels ? channels : "nothing");
    if (t->data.class_count > class_count)
        return quern_fail(QUERN_INPUT, "the data set has %lld classes, %s was trained on %lld",
                          (long long)t->data.class_count, path, class_count);
    t->data.class_count = class_count;
    transform->channel_count = (int32_t)count;
    const bool fits =
        floats_from_text(quern_safetensors_note_find(f, "quern.scale"), &transform->scale, 1) &&
        floats_from_text(quern_safetensors_note_find(f, "quern.mean"), transform->mean,
                         transform->channel_count) &&
        floats_from_text(quern_safetensors_note_find(f, "quern.deviation"), transform->deviation,
                         transform->channel_count);
    if (fits) return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "%s: notes quern.scale, quern.mean, quern.deviation: expected 1, %ld and "
                      "%ld finite numbers",
                      path, count, count);
}

static quern_status find_path(char *out, size_t bytes, const options *o) {
    if (!o->run_dir == !o->weights)
        return quern_fail(QUERN_INVALID, "expected one of --run-dir and --weights");
    const int length = o->weights ? snprintf(out, bytes, "%s", o->weights)
                                  : snprintf(out, bytes, "%s/model.safetensors", o->run_dir);
    if (length < 0 || (size_t)length >= bytes)
        return quern_fail(QUERN_INVALID, "the path of the weights is too long");
    return QUERN_OK;
}

/* What the user says has precedence over what the file says. */
static quern_status choose(const char **out, const char *given, const trained *t, const char *note,
                           const char *option) {
    *out = given ? given : quern_safetensors_note_find(t->file, note);
    if (*out) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "the file does not say its %s: --%s is needed", option,
                      option);
}

static quern_status build(trained *t, const options *o, const char *path) {
    const char *name = NULL, *data = NULL;
    quern_status status = choose(&name, o->model, t, "quern.model", "model");
    if (status == QUERN_OK) status = choose(&data, o->data, t, "quern.data", "data");
    if (status == QUERN_OK && strcmp(name, "mlp") != 0 && strcmp(name, "lenet") != 0)
        status = quern_fail(QUERN_INPUT, "%s: note quern.model: unknown model \"%s\"", path, name);
    if (status == QUERN_OK) status = samples_open(&t->data, t->device, data);
    if (status == QUERN_OK) status = use_notes(t, path);
    if (status == QUERN_OK)
        status = model_create(&t->net, t->device, name, &t->data.input, t->data.class_count);
    if (status != QUERN_OK) return status;
    t->subject = samples_for_evaluation(&t->data);
    quern_trainer_desc desc = session_trainer(o, &t->net, &t->data);
    desc.valid = t->subject;
    desc.outputs = &t->net.probabilities;
    desc.output_count = 1;
    status = quern_trainer_create(&t->trainer, &desc);
    if (status != QUERN_OK) return status;
    return quern_safetensors_load(t->file, t->net.graph, quern_trainer_parameters(t->trainer));
}

quern_status trained_open(trained *t, const options *o) {
    char path[4096];
    *t = (trained){0};
    quern_status status = find_path(path, sizeof path, o);
    if (status == QUERN_OK) status = session_device(&t->device, o);
    if (status == QUERN_OK) status = quern_safetensors_open(&t->file, t->device, path);
    if (status == QUERN_OK) status = build(t, o, path);
    if (status != QUERN_OK) trained_release(t);
    return status;
}

void trained_release(trained *t) {
    quern_trainer_destroy(t->trainer);
    model_release(&t->net);
    samples_release(&t->data);
    quern_safetensors_destroy(t->file);
    quern_device_destroy(t->device);
    *t = (trained){0};
}
