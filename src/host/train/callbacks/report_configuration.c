/* report_configuration.c - the configuration as rows of text, made once at create: fit parses and
 * allocates nothing. */
#include "report.h"
#include "../json_failure.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A string as it is, everything else as JSON. */
static quern_status value_text(quern_report *r, const char **out, const json_t *value) {
    if (json_is_string(value)) return arena_copy_string(&r->memory, out, json_string_value(value));
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (!dumped) return quern_fail(QUERN_HOST_MEMORY, "report: no memory for the configuration");
    const quern_status status = arena_copy_string(&r->memory, out, dumped);
    free(dumped);
    return status;
}

static quern_status rows_fill(quern_report *r, json_t *object) {
    const char **rows = NULL, *key;
    json_t *value;
    QUERN_TRY(arena_allocate(&r->memory, &rows, 2 * (int64_t)json_object_size(object), sizeof *rows,
                             "a configuration"));
    r->rows = rows;
    json_object_foreach(object, key, value) {
        QUERN_TRY(arena_copy_string(&r->memory, &rows[2 * r->row_count], key));
        QUERN_TRY(value_text(r, &rows[2 * r->row_count + 1], value));
        r->row_count++;
    }
    return QUERN_OK;
}

quern_status report_configuration(quern_report *r, const char *json) {
    if (!json) return QUERN_OK;
    json_error_t error;
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        const quern_status failure = json_failure(&error, QUERN_INVALID);
        return quern_fail(failure, "report: the configuration, line %d, column %d: %s", error.line,
                          error.column, json_failure_text(failure, &error));
    }
    const quern_status status =
        json_is_object(object)
            ? rows_fill(r, object)
            : quern_fail(QUERN_INVALID, "report: the configuration is no JSON object");
    json_decref(object);
    return status;
}
