/* json_failure.h - why jansson returned nothing: what it read is wrong, or it had no memory. */
#ifndef QUERN_TRAIN_JSON_FAILURE_H
#define QUERN_TRAIN_JSON_FAILURE_H

#include <quern/status.h>

#include <jansson.h>

/* HOST_MEMORY, or `refusal`. jansson tells few of its failed allocations by their code: most leave
 * no text, and where one ends a token early it speaks of a syntax error. */
static inline quern_status json_failure(const json_error_t *error, quern_status refusal) {
    if (json_error_code(error) == json_error_out_of_memory || error->text[0] == '\0')
        return QUERN_HOST_MEMORY;
    json_t *probe = json_string("probe");
    json_decref(probe);
    return probe != NULL ? refusal : QUERN_HOST_MEMORY;
}

/* The words for it. */
static inline const char *json_failure_text(quern_status status, const json_error_t *error) {
    return status == QUERN_HOST_MEMORY ? "no host memory to read JSON" : error->text;
}

#endif
