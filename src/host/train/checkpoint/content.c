/* content.c - what holds for a checkpoint's content before it is written. */
#include "manifest.h"
#include "../safetensors/safetensors.h"
#include "../../base/memory.h"
#include "../../base/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

quern_status content_digest(const quern_host *host, const checkpoint_content *content,
                            char out[DIGEST_TEXT]) {
    const int64_t count = content->model_count + content->state_count;
    const quern_safetensors_entry **all = NULL;
    QUERN_TRY(memory_allocate(host, &all, count, sizeof(void *), "the tensors to be digested"));
    for (int64_t i = 0; i < content->model_count; i++) all[i] = &content->model[i];
    for (int64_t i = 0; i < content->state_count; i++)
        all[content->model_count + i] = &content->state[i];
    const quern_status status = digest_of_tensors(host, all, count, out);
    memory_release(host, all, count, sizeof(void *));
    return status;
}

static quern_status check_list(const quern_safetensors_entry *entries, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(entries[i].name, SAFETENSORS_NOTES_KEY) == 0)
            return quern_fail(QUERN_INTERNAL, "no tensor can be named " SAFETENSORS_NOTES_KEY);
        for (int64_t k = 0; k < i; k++)
            if (strcmp(entries[i].name, entries[k].name) == 0)
                return quern_fail(QUERN_INTERNAL, "two tensors of a checkpoint are named %s",
                                  entries[i].name);
    }
    return QUERN_OK;
}

quern_status content_check_names(const checkpoint_content *content) {
    QUERN_TRY(check_list(content->model, content->model_count));
    return check_list(content->state, content->state_count);
}

/* Index of the first element that is not finite; -1: there is none. */
static int64_t find_not_finite(const quern_safetensors_entry *e) {
    const int64_t count = (int64_t)(e->bytes / quern_dtype_bytes(e->dtype));
    if (e->dtype == QUERN_F32) {
        for (int64_t i = 0; i < count; i++)
            if (!isfinite(((const float *)e->data)[i])) return i;
    } else if (e->dtype == QUERN_F64) {
        for (int64_t i = 0; i < count; i++)
            if (!isfinite(((const double *)e->data)[i])) return i;
    }
    return -1;
}

static quern_status check_finite(const quern_safetensors_entry *entries, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = find_not_finite(&entries[i]);
        if (at >= 0)
            return quern_fail(QUERN_NOT_FINITE,
                              "%s is not finite at element %" PRId64
                              ": a state that is of no use is not saved",
                              entries[i].name, at);
    }
    return QUERN_OK;
}

quern_status content_check_finite(const checkpoint_content *content) {
    QUERN_TRY(check_finite(content->model, content->model_count));
    return check_finite(content->state, content->finite_count);
}
