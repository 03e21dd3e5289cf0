/* recorded.c - config.json through jansson. */
#include "recorded.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDED_BYTES_MAX = 1 << 20, TEXT_MAX = 128 };

struct recorded {
    json_t *object;
    char texts[TEXT_MAX][32]; /* of numbers */
    int text_count;
};

static quern_status read_file(char **out, size_t *bytes, FILE *file, const char *path) {
    *out = malloc(RECORDED_BYTES_MAX);
    if (!*out) return quern_fail(QUERN_HOST_MEMORY, "no memory to read %s", path);
    *bytes = fread(*out, 1, RECORDED_BYTES_MAX, file);
    if (ferror(file)) return quern_fail(QUERN_INPUT, "read %s: %s", path, strerror(errno));
    if (*bytes < RECORDED_BYTES_MAX) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "%s: expected less than %d bytes", path, RECORDED_BYTES_MAX);
}

static quern_status parse(recorded **out, const char *data, size_t bytes, const char *path) {
    json_error_t error;
    json_t *object = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        const bool is_json = object != NULL;
        json_decref(object);
        return quern_fail(QUERN_INPUT, "%s: line %d: %s", path, is_json ? 1 : error.line,
                          is_json ? "expected an object" : error.text);
    }
    *out = calloc(1, sizeof **out);
    if (*out)
        (*out)->object = object;
    else
        json_decref(object);
    return *out ? QUERN_OK : quern_fail(QUERN_HOST_MEMORY, "no memory for %s", path);
}

quern_status recorded_open(recorded **out, const char *folder) {
    char path[4096], *data = NULL;
    size_t bytes = 0;
    *out = NULL;
    const int length = snprintf(path, sizeof path, "%s/config.json", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return quern_fail(QUERN_INVALID, "the path %.60s… is too long", folder);
    FILE *file = fopen(path, "rb");
    if (!file && (errno == ENOENT || errno == ENOTDIR)) return QUERN_OK;
    if (!file) return quern_fail(QUERN_INPUT, "open %s: %s", path, strerror(errno));
    quern_status status = read_file(&data, &bytes, file, path);
    if (status == QUERN_OK) status = parse(out, data, bytes, path);
    free(data);
    fclose(file);
    return status;
}

void recorded_release(recorded *r) {
    if (!r) return;
    json_decref(r->object);
    free(r);
}

const char *recorded_text(recorded *r, const char *key) {
    const json_t *value = json_object_get(r->object, key);
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_boolean(value)) return json_is_true(value) ? "true" : "false";
    if (!json_is_number(value) || r->text_count == TEXT_MAX) return NULL;
    char *text = r->texts[r->text_count++];
    if (json_is_integer(value))
        snprintf(text, sizeof *r->texts, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(text, sizeof *r->texts, "%.17g", json_real_value(value));
    return text;
}

int64_t recorded_floats(const recorded *r, const char *key, float *out, int64_t capacity) {
    const json_t *value = json_object_get(r->object, key);
    const bool list = json_is_array(value);
    const int64_t count = list ? (int64_t)json_array_size(value) : 1;
    if (count > capacity) return -1;
    for (int64_t i = 0; i < count; i++) {
        const json_t *item = list ? json_array_get(value, (size_t)i) : value;
        if (!json_is_number(item)) return -1;
        out[i] = (float)json_number_value(item);
        if (!isfinite(out[i])) return -1;
    }
    return count;
}
