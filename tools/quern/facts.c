#include "facts.h"
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool floats_from_text(const char *text, float *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        char *end = NULL;
        values[i] = text ? strtof(text, &end) : NAN;
        if (end == text || !isfinite(values[i])) return false;
        text = end;
    }
    return text && *text == '\0';
}

static quern_status read_count(int64_t *out, const char *text, int64_t low, int64_t high,
                               const char *path, const char *key) {
    char *end = NULL;
    const long long value = text ? strtoll(text, &end, 10) : -1;
    *out = value;
    if (text && end != text && !*end && value >= low && value <= high) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "%s: %s: expected %lld to %lld, found \"%s\"", path, key,
                      (long long)low, (long long)high, text ? text : "nothing");
}

static quern_status check_model(const facts *f, const char *path) {
    if (!f->model || strcmp(f->model, "mlp") == 0 || strcmp(f->model, "lenet") == 0)
        return QUERN_OK;
    return quern_fail(QUERN_INPUT, "%s: unknown model \"%s\"", path, f->model);
}

static bool transform_from_notes(facts *f, const quern_safetensors *file) {
    return floats_from_text(quern_safetensors_note_find(file, "quern.scale"), &f->scale, 1) &&
           floats_from_text(quern_safetensors_note_find(file, "quern.mean"), f->mean,
                            f->channel_count) &&
           floats_from_text(quern_safetensors_note_find(file, "quern.deviation"), f->deviation,
                            f->channel_count);
}

quern_status facts_from_notes(facts *out, const quern_safetensors *file, const char *path) {
    *out = (facts){.model = quern_safetensors_note_find(file, "quern.model"),
                   .data = quern_safetensors_note_find(file, "quern.data"),
                   .valid = quern_safetensors_note_find(file, "quern.valid")};
    const char *classes = quern_safetensors_note_find(file, "quern.classes");
    quern_status status = check_model(out, path);
    if (status != QUERN_OK || !classes) return status;
    status = read_count(&out->class_count, classes, 1, CLASS_MAX, path, "note quern.classes");
    int64_t channels = 0;
    if (status == QUERN_OK)
        status = read_count(&channels, quern_safetensors_note_find(file, "quern.channels"), 0,
                            QUERN_CHANNEL_MAX, path, "note quern.channels");
    if (status != QUERN_OK) return status;
    out->channel_count = (int32_t)channels;
    if (transform_from_notes(out, file)) return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "%s: notes quern.scale, quern.mean, quern.deviation: expected 1, %lld and "
                      "%lld finite numbers",
                      path, (long long)channels, (long long)channels);
}

quern_status facts_from_run(facts *out, recorded *config, const char *path) {
    *out = (facts){.model = recorded_text(config, "model"),
                   .data = recorded_text(config, "data"),
                   .valid = recorded_text(config, "valid")};
    quern_status status = check_model(out, path);
    if (status == QUERN_OK)
        status = read_count(&out->class_count, recorded_text(config, "classes"), 1, CLASS_MAX, path,
                            "classes");
    if (status != QUERN_OK) return status;
    const int64_t channels = recorded_floats(config, "data-mean", out->mean, QUERN_CHANNEL_MAX);
    out->channel_count = (int32_t)channels;
    if (channels >= 0 && recorded_floats(config, "data-scale", &out->scale, 1) == 1 &&
        recorded_floats(config, "data-deviation", out->deviation, QUERN_CHANNEL_MAX) == channels)
        return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "%s: data-scale, data-mean, data-deviation: expected a finite number and two "
                      "lists of them",
                      path);
}
