/* weights.c - model.safetensors: the trained state, with notes that say how to use it, so that
 * eval and predict need nothing but the file, wherever they are run. */
#include "place.h"
#include "session.h"

#include <stdio.h>

/* Floats as decimal numbers that read back exactly, separated by spaces. */
static void floats_to_text(char *out, size_t bytes, const float *values, int32_t count) {
    size_t length = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < count && length < bytes; i++)
        length += (size_t)snprintf(out + length, bytes - length, "%s%.9g", i > 0 ? " " : "",
                                   (double)values[i]);
}

quern_status weights_save(const char *path, const options *o, const model *m, const samples *s,
                          quern_parameters *parameters) {
    const quern_transform *t = &s->transform;
    char classes[24], channels[24], scale[24], mean[16 * QUERN_CHANNEL_MAX];
    char deviation[16 * QUERN_CHANNEL_MAX], data[PATH_BYTES], valid[PATH_BYTES] = "";
    quern_status status = samples_path(data, o->data);
    if (status == QUERN_OK && o->valid) status = samples_path(valid, o->valid);
    if (status != QUERN_OK) return status;
    snprintf(classes, sizeof classes, "%lld", (long long)s->class_count);
    snprintf(channels, sizeof channels, "%d", (int)t->channel_count);
    floats_to_text(scale, sizeof scale, &t->scale, 1);
    floats_to_text(mean, sizeof mean, t->mean, t->channel_count);
    floats_to_text(deviation, sizeof deviation, t->deviation, t->channel_count);
    const quern_safetensors_note notes[] = {
        {"quern.version", quern_version()},
        {"quern.model", o->model},
        {"quern.data", data},
        {"quern.classes", classes},
        {"quern.scale", scale},
        {"quern.channels", channels},
        {"quern.mean", mean},
        {"quern.deviation", deviation},
        {"quern.valid", valid},
    };
    const int32_t count = (int32_t)(sizeof notes / sizeof *notes);
    return quern_safetensors_save(path, m->graph, parameters, notes, o->valid ? count : count - 1);
}
