/* manifest_read.c - the manifest back from its bytes. Nothing in it is believed before its digest
 * is right; afterwards every member is still checked, because a digest says "as written", not "as
 * we would have written it". jansson refuses duplicate keys, invalid UTF-8, NUL in strings and
 * integers beyond 64 bits, and bounds the depth; memory is bounded by the bytes. */
#include "manifest.h"
#include "../json_failure.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_BYTES (sizeof "  \"digest\": \"\"\n}\n" - 1 + DIGEST_TEXT - 1)

static quern_status check_digest(const char *data, size_t bytes) {
    char whole[DIGEST_TEXT], tail[TAIL_BYTES + 1];
    if (bytes < TAIL_BYTES) return quern_fail(QUERN_INPUT, "%zu bytes are no manifest", bytes);
    const size_t body = bytes - TAIL_BYTES;
    digest_of(data, body, whole);
    snprintf(tail, sizeof tail, "  \"digest\": \"%s\"\n}\n", whole);
    if (memcmp(data + body, tail, TAIL_BYTES) != 0)
        return quern_fail(QUERN_INPUT,
                          "offset %zu: the digest of the %zu bytes before it would be %s: the "
                          "manifest is damaged or cut",
                          body, body, whole);
    return QUERN_OK;
}

static quern_status refuse(const char *key, const char *expected) {
    return quern_fail(QUERN_INPUT, "\"%s\" is missing or not %s", key, expected);
}

static quern_status read_count(json_t *object, const char *key, int64_t *out) {
    const json_t *value = json_object_get(object, key);
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0 ? QUERN_OK : refuse(key, "a count");
}

static quern_status read_counter(json_t *object, const char *key, int64_t *out) {
    QUERN_TRY(read_count(object, key, out));
    if (*out <= CHECKPOINT_COUNTER_MAX) return QUERN_OK;
    return quern_fail(QUERN_INPUT, "\"%s\" is %" PRId64 ", which no run can have come to", key,
                      *out);
}

static quern_status read_string(json_t *object, const char *key, const char **out) {
    *out = json_string_value(json_object_get(object, key));
    return *out != NULL ? QUERN_OK : refuse(key, "a string");
}

static bool is_hexadecimal(const char *s) { return s[strspn(s, "0123456789abcdef")] == '\0'; }

static quern_status read_file_row(json_t *files, const char *name, checkpoint_file *out) {
    json_t *row = json_object_get(files, name);
    const char *digest_text;
    if (!json_is_object(row) || json_object_size(row) != 2)
        return refuse(name, "an object of bytes and xxh3_128");
    QUERN_TRY(read_count(row, "bytes", &out->bytes));
    QUERN_TRY(read_string(row, "xxh3_128", &digest_text));
    if (strlen(digest_text) != DIGEST_TEXT - 1 || !is_hexadecimal(digest_text))
        return refuse("xxh3_128", "32 hexadecimal digits");
    memcpy(out->digest, digest_text, DIGEST_TEXT);
    return QUERN_OK;
}

static quern_status read_files(manifest *m) {
    json_t *files = json_object_get(m->json, "files");
    if (!json_is_object(files) || json_object_size(files) != 2)
        return refuse("files", "an object of " MODEL_FILE " and " STATE_FILE);
    QUERN_TRY(read_file_row(files, MODEL_FILE, &m->model));
    return read_file_row(files, STATE_FILE, &m->state);
}

static uint8_t nibble(char digit) {
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static quern_status read_callback(manifest *m, const char *name, const json_t *value,
                                  uint8_t **next) {
    const char *digits = json_string_value(value);
    if (digits == NULL || strlen(digits) % 2 != 0 || !is_hexadecimal(digits))
        return quern_fail(QUERN_INPUT, "the state of callback \"%s\" is not hexadecimal", name);
    const size_t bytes = strlen(digits) / 2;
    for (size_t i = 0; i < bytes; i++)
        (*next)[i] = (uint8_t)(nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1]));
    m->callbacks[m->content.callback_count++] =
        (checkpoint_callback){.name = name, .data = *next, .bytes = bytes};
    if (bytes > 0) *next += bytes; /* without a byte there is no memory */
    return QUERN_OK;
}

static quern_status read_callbacks(manifest *m) {
    json_t *callbacks = json_object_get(m->json, "callbacks"), *value;
    const char *name;
    if (!json_is_object(callbacks)) return refuse("callbacks", "an object");
    json_object_foreach(callbacks, name, value) m->callback_bytes += json_string_length(value) / 2;
    m->callback_capacity = (int64_t)json_object_size(callbacks);
    QUERN_TRY(memory_allocate(m->host, &m->callbacks, m->callback_capacity, sizeof *m->callbacks,
                              "the callbacks of a manifest"));
    QUERN_TRY(memory_allocate(m->host, &m->callback_data, (int64_t)m->callback_bytes, 1,
                              "the callback states of a manifest"));
    m->content.callbacks = m->callbacks;
    uint8_t *next = m->callback_data;
    json_object_foreach(callbacks, name, value) QUERN_TRY(read_callback(m, name, value, &next));
    return QUERN_OK;
}

static quern_status read_configuration(manifest *m) {
    json_t *configuration = json_object_get(m->json, "configuration");
    if (!json_is_object(configuration)) return refuse("configuration", "an object");
    const size_t bytes = json_dumpb(configuration, NULL, 0, JSON_COMPACT);
    QUERN_TRY(memory_allocate(m->host, &m->configuration, (int64_t)bytes + 1, 1,
                              "the configuration of a manifest"));
    m->configuration_bytes = bytes + 1;
    if (bytes == 0 || json_dumpb(configuration, m->configuration, bytes, JSON_COMPACT) != bytes)
        return quern_fail(QUERN_HOST_MEMORY, "no host memory for the configuration of a manifest");
    m->content.configuration = m->configuration;
    return QUERN_OK;
}

static quern_status read_seed(manifest *m) {
    const char *digits;
    QUERN_TRY(read_string(m->json, "seed", &digits));
    char *end;
    errno = 0;
    m->content.seed = strtoull(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0)
        return refuse("seed", "a 64-bit number in quotes");
    return QUERN_OK;
}

static quern_status read_metric(manifest *m) {
    json_t *metric = json_object_get(m->json, "metric");
    const json_t *value = json_object_get(metric, "value");
    if (!json_is_object(metric)) return refuse("metric", "an object");
    QUERN_TRY(read_string(metric, "name", &m->content.metric));
    if (!json_is_number(value) && !json_is_null(value)) return refuse("value", "a number or null");
    m->content.metric_value = json_is_null(value) ? (double)NAN : json_number_value(value);
    if (m->content.metric[0] == '\0') m->content.metric = NULL;
    return QUERN_OK;
}

static quern_status read_members(manifest *m) {
    const char *format;
    if (!json_is_object((json_t *)m->json))
        return quern_fail(QUERN_INPUT, "it is not a JSON object");
    QUERN_TRY(read_string(m->json, "format", &format));
    if (strcmp(format, MANIFEST_FORMAT) != 0)
        return quern_fail(QUERN_INPUT, "its format is \"%s\", expected \"" MANIFEST_FORMAT "\"",
                          format);
    QUERN_TRY(read_count(m->json, "version", &m->version));
    if (m->version > MANIFEST_VERSION)
        return quern_fail(QUERN_UNSUPPORTED,
                          "it is of format version %" PRId64
                          "; this library, %d.%d.%d, reads versions up "
                          "to %d: a newer one is needed",
                          m->version, MANIFEST_LIBRARY, MANIFEST_VERSION);
    if (m->version < 1) return refuse("version", "a format version from 1 on");
#define X(name) QUERN_TRY(read_counter(m->json, #name, &m->content.counters.name));
    CHECKPOINT_COUNTERS(X)
#undef X
    QUERN_TRY(read_seed(m));
    QUERN_TRY(read_metric(m));
    QUERN_TRY(read_string(m->json, "algorithms", &m->content.algorithms));
    QUERN_TRY(read_files(m));
    QUERN_TRY(read_callbacks(m));
    return read_configuration(m);
}

quern_status manifest_parse(manifest *out, const quern_host *host, const void *data, size_t bytes,
                            bool *as_written) {
    *out = (manifest){.host = host};
    *as_written = false;
    if (bytes > MANIFEST_LIMIT)
        return quern_fail(QUERN_INPUT, "%zu bytes, at most %zu are accepted", bytes,
                          MANIFEST_LIMIT);
    QUERN_TRY(check_digest(data, bytes));
    *as_written = true;
    json_error_t error;
    out->json = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &error);
    if (out->json == NULL) {
        const quern_status status = json_failure(&error, QUERN_INPUT);
        return quern_fail(status, "line %d, column %d: %s", error.line, error.column,
                          json_failure_text(status, &error));
    }
    const quern_status status = read_members(out);
    if (status != QUERN_OK) manifest_release(out);
    return status;
}

void manifest_release(manifest *m) {
    if (m->host == NULL) return;
    memory_release(m->host, m->callbacks, m->callback_capacity, sizeof *m->callbacks);
    memory_release(m->host, m->callback_data, (int64_t)m->callback_bytes, 1);
    memory_release(m->host, m->configuration, (int64_t)m->configuration_bytes, 1);
    json_decref(m->json);
    *m = (manifest){0};
}
