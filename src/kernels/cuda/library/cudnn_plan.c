#include "cudnn_plan_parts.h"

#include "../device/device.h"
#include "plan_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 3072, REMEMBERED_BYTES = KEY_BYTES + 16, NONE_BYTES = 48 };
#define NONE_WITH RECORD_NONE " with driver "

quern_status cudnn_make(cuda_libraries *l, cudnnBackendDescriptorType_t type, cudnn_node *out,
                        const char *what) {
    *out = NULL;
    const cudnnStatus_t code = l->dnn.cudnnBackendCreateDescriptor(type, out);
    if (code == CUDNN_STATUS_SUCCESS) return QUERN_OK;
    *out = NULL;
    return cudnn_check(l->owner, &l->dnn, code, "cudnnBackendCreateDescriptor", what);
}

void cudnn_unmake(cuda_libraries *l, cudnn_node node) {
    if (node != NULL) TORN_DOWN_DNN(l, cudnnBackendDestroyDescriptor, (node));
}

quern_status cudnn_set(cuda_libraries *l, cudnn_node node, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t count, const void *values,
                       const char *what) {
    return cudnn_check(l->owner, &l->dnn,
                       l->dnn.cudnnBackendSetAttribute(node, name, type, count, values),
                       "cudnnBackendSetAttribute", what);
}

/* What another library beside it, or a device with more to spare, would not refuse. */
static bool is_of_circumstances(cudnnStatus_t code) {
    return (int)code / 1000 != 3 || code == CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER ||
           code == CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART ||
           code == CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING ||
           code == CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE;
}

quern_status cudnn_answer(cuda_libraries *l, cudnnStatus_t code, const char *call, const char *what,
                          bool *yes) {
    if (code != CUDNN_STATUS_SUCCESS && is_of_circumstances(code)) l->dnn_doubt = true;
    return cudnn_ask(l->owner, &l->dnn, code, call, what, yes);
}

quern_status cudnn_get(cuda_libraries *l, cudnn_node node, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t most, int64_t *count, void *values,
                       const char *what) {
    bool got;
    *count = 0;
    const cudnnStatus_t code =
        l->dnn.cudnnBackendGetAttribute(node, name, type, most, count, values);
    QUERN_TRY(cudnn_answer(l, code, "cudnnBackendGetAttribute", what, &got));
    if (!got || *count < 0) *count = 0;
    return QUERN_OK;
}

quern_status cudnn_finalise(cuda_libraries *l, cudnn_node node, const char *what, bool *finalised) {
    return cudnn_answer(l, l->dnn.cudnnBackendFinalize(node), "cudnnBackendFinalize", what,
                        finalised);
}

quern_status cudnn_make_plan(cuda_libraries *l, cudnn_node *out, const char *what) {
    QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, out, what));
    const quern_status status =
        l->dnn_device != NULL ? cudnn_set(l, *out, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &l->dnn_device, what)
                              : cudnn_set(l, *out, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                          CUDNN_TYPE_HANDLE, 1, &l->dnn_handle, what);
    if (status == QUERN_OK) return QUERN_OK;
    cudnn_unmake(l, *out);
    *out = NULL;
    return status;
}

quern_status cudnn_read_scratch(cuda_libraries *l, cudnn_node plan, size_t *bytes,
                                const char *what) {
    int64_t size = 0, count = 0;
    QUERN_TRY(
        cudnn_check(l->owner, &l->dnn,
                    l->dnn.cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                    CUDNN_TYPE_INT64, 1, &count, &size),
                    "cudnnBackendGetAttribute", what));
    *bytes = size > 0 ? (size_t)size : 0;
    return QUERN_OK;
}

static quern_status read_text(cuda_libraries *l, cudnn_node plan, const char *text, size_t bytes,
                              const char *what, bool *read) {
    const cudnnStatus_t code = l->dnn.cudnnBackendSetAttribute(
        plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)bytes, text);
    QUERN_TRY(cudnn_ask(l->owner, &l->dnn, code, "cudnnBackendSetAttribute", what, read));
    return *read ? cudnn_finalise(l, plan, what, read) : QUERN_OK;
}

/* A plan from its text, if the library still accepts that; else p->plan stays NULL. */
static quern_status load(cudnn_plan *p, const char *text, size_t bytes, const char *what) {
    cuda_libraries *l = p->libraries;
    cudnn_node plan;
    bool loaded = false;
    QUERN_TRY(cudnn_make_plan(l, &plan, what));
    quern_status status = read_text(l, plan, text, bytes, what, &loaded);
    if (loaded && status == QUERN_OK) status = cudnn_read_scratch(l, plan, &p->scratch_bytes, what);
    if (loaded && status == QUERN_OK && p->scratch_bytes <= l->dnn_limit)
        p->plan = plan;
    else
        cudnn_unmake(l, plan);
    return status;
}

/* Under which a plan is remembered on disk: one that was timed is no answer to who wants the first.
 */
static void cache_key(char to[REMEMBERED_BYTES], const char *key, bool timed) {
    snprintf(to, REMEMBERED_BYTES, "%s%s", key, timed ? "; fastest" : "");
}

/* What is remembered on disk of a graph without an engine. An engine that is compiled at run time
 * needs a driver, which is no part of the key. */
static void write_none(char to[NONE_BYTES]) {
    int driver = 0;
    IGNORED(cudaDriverGetVersion, (&driver));
    snprintf(to, NONE_BYTES, NONE_WITH "%d", driver);
}

/* *settled: there is a plan, or it is known that there is none. */
static quern_status use_text(cudnn_plan *p, const plan_text *text, const char *key,
                             const char *what, bool *settled) {
    char none[NONE_BYTES];
    write_none(none);
    const bool is_none = strncmp(text->plan, NONE_WITH, sizeof NONE_WITH - 1) == 0;
    *settled = is_none && strcmp(text->plan, none) == 0;
    if (*settled) return algorithm_record_keep(p->libraries->record, key, RECORD_NONE);
    if (is_none) return QUERN_OK;
    QUERN_TRY(load(p, text->plan, text->plan_bytes, what));
    *settled = p->plan != NULL;
    if (*settled) return algorithm_record_keep(p->libraries->record, key, text->plan);
    libraries_tell_unusable(p->libraries, "a remembered plan", "cuDNN refuses it");
    return QUERN_OK;
}

/* What an earlier run found; it goes into the record too. */
static quern_status recall(cudnn_plan *p, const char *key, const char *what, bool timed,
                           bool *settled) {
    cuda_libraries *l = p->libraries;
    char remembered[REMEMBERED_BYTES];
    plan_text text;
    cache_key(remembered, key, timed);
    plan_cache_read(l, remembered, &text);
    *settled = false;
    if (text.file == NULL) return QUERN_OK;
    const quern_status status = use_text(p, &text, key, what, settled);
    plan_cache_release(l, &text);
    return status;
}

/* What this process found when it counted bytes, or looked for an engine in vain. */
static void recall_count(cudnn_plan *p, const char *key, bool bytes_only, bool *settled) {
    const char *text = algorithm_record_find(p->libraries->counted, key);
    const bool is_none = text != NULL && strcmp(text, RECORD_NONE) == 0;
    *settled = is_none || (text != NULL && bytes_only);
    if (is_none || !*settled) return;
    p->counted = true;
    p->scratch_bytes = (size_t)strtoull(text, NULL, 10);
}

static quern_status keep_count(cudnn_plan *p, const char *key) {
    cuda_libraries *l = p->libraries;
    char text[32] = RECORD_NONE;
    if (p->plan != NULL) snprintf(text, sizeof text, "%zu", p->scratch_bytes);
    if (l->counted == NULL) QUERN_TRY(cuda_record_create(l->owner, &l->counted, ""));
    return algorithm_record_keep(l->counted, key, text);
}

static quern_status get_text(const cudnn_plan *p, int64_t most, int64_t *count, char *text) {
    return cudnn_get(p->libraries, p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                     CUDNN_TYPE_CHAR, most, count, text, p->op);
}

/* The plan's text in memory of `bytes`; NULL, QUERN_OK: not every engine can be written down. */
static quern_status write_down(const cudnn_plan *p, char **out, int64_t *bytes, size_t *length) {
    const cuda_libraries *l = p->libraries;
    int64_t needed, written;
    *out = NULL;
    QUERN_TRY(get_text(p, 0, &needed, NULL));
    if (needed == 0 || needed >= INT32_MAX) return QUERN_OK;
    *bytes = needed + 1;
    QUERN_TRY(cuda_services()->allocate(l->host, out, *bytes, 1, "a plan's text"));
    const quern_status status = get_text(p, needed, &written, *out);
    if (status == QUERN_OK && written > 0 && written <= needed) {
        *length = strnlen(*out, (size_t)written);
        (*out)[*length] = 0;
        return QUERN_OK;
    }
    cuda_services()->release(l->host, *out, *bytes, 1);
    *out = NULL;
    return status;
}

/* Remembered on disk and in the record. */
static quern_status keep(const cudnn_plan *p, const char *key) {
    cuda_libraries *l = p->libraries;
    char *text;
    int64_t bytes = 0;
    size_t length = 0;
    QUERN_TRY(write_down(p, &text, &bytes, &length));
    if (text == NULL) return algorithm_record_keep(l->record, key, RECORD_UNWRITTEN);
    char remembered[REMEMBERED_BYTES];
    cache_key(remembered, key, p->timed);
    quern_status status = plan_cache_write(l, remembered, text, length);
    if (status == QUERN_OK) status = algorithm_record_keep(l->record, key, text);
    cuda_services()->release(l->host, text, bytes, 1);
    return status;
}

/* What the record says; *followed: that it was something which the library accepts. */
static quern_status follow_record(cudnn_plan *p, const char *key, const char *what,
                                  bool *followed) {
    cuda_libraries *l = p->libraries;
    const char *text = algorithm_record_find(l->record, key);
    *followed = text != NULL && strcmp(text, RECORD_NONE) == 0;
    if (text == NULL || strcmp(text, RECORD_UNWRITTEN) == 0) return QUERN_OK;
    if (!*followed) {
        QUERN_TRY(load(p, text, strlen(text), what));
        *followed = p->plan != NULL;
        if (!*followed) libraries_tell_unusable(l, "the algorithm record", "cuDNN refuses it");
    }
    return *followed ? algorithm_record_keep(l->record, key, text) : QUERN_OK;
}

static quern_status keep_none(cudnn_plan *p, const char *key, bool timed) {
    char none[NONE_BYTES], remembered[REMEMBERED_BYTES];
    QUERN_TRY(algorithm_record_keep(p->libraries->record, key, RECORD_NONE));
    if (p->libraries->dnn_doubt) return QUERN_OK;
    QUERN_TRY(keep_count(p, key));
    write_none(none);
    cache_key(remembered, key, timed);
    return plan_cache_write(p->libraries, remembered, none, strlen(none));
}

static quern_status choose(cudnn_plan *p, cudnn_graph *g, const cudnn_plan_desc *desc,
                           const char *key) {
    QUERN_TRY(cudnn_choose(p, g, desc));
    if (desc->bytes_only)
        return p->plan == NULL && p->libraries->dnn_doubt ? QUERN_OK : keep_count(p, key);
    const bool tuned = cudnn_is_tuned(p, desc);
    if (p->plan == NULL) return keep_none(p, key, tuned);
    /* What could not be timed is no answer yet: the next time another may be the fastest. */
    if (p->timed || !tuned) QUERN_TRY(keep_count(p, key));
    return keep(p, key);
}

static quern_status find(cudnn_plan *p, cudnn_graph *g, const cudnn_plan_desc *desc,
                         const char *key) {
    bool settled;
    QUERN_TRY(follow_record(p, key, g->key, &settled));
    if (settled) return QUERN_OK;
    recall_count(p, key, desc->bytes_only, &settled);
    if (settled)
        return p->counted ? QUERN_OK
                          : algorithm_record_keep(p->libraries->record, key, RECORD_NONE);
    if (p->libraries->tune) QUERN_TRY(recall(p, key, g->key, true, &settled));
    if (!settled && !cudnn_is_tuned(p, desc)) QUERN_TRY(recall(p, key, g->key, false, &settled));
    return settled ? QUERN_OK : choose(p, g, desc, key);
}

static quern_status prepare(cudnn_plan *p, cudnn_graph *g, const cudnn_plan_desc *desc) {
    char key[KEY_BYTES];
    snprintf(p->op, sizeof p->op, "%s", g->op);
    snprintf(key, sizeof key, "cudnn %zu; %s; %s%s%s%s", p->libraries->dnn.cudnnGetVersion(),
             p->libraries->device, g->key, desc->deterministic ? "; deterministic" : "",
             desc->no_tensor_cores ? "; no tensor cores" : "",
             desc->no_fall_back ? "; first choice" : "");
    return find(p, g, desc, key);
}

quern_status cudnn_plan_create(cudnn_plan **out, cudnn_graph *g, const cudnn_plan_desc *desc) {
    *out = NULL;
    if (g->status != QUERN_OK) return g->status;
    cudnn_plan *p;
    QUERN_TRY(cuda_services()->allocate(g->libraries->host, &p, 1, sizeof *p, "a plan of cuDNN"));
    p->libraries = g->libraries;
    const quern_status status = prepare(p, g, desc);
    if (status == QUERN_OK && (p->plan != NULL || p->counted))
        *out = p;
    else
        cudnn_plan_destroy(p);
    return status;
}

void cudnn_plan_destroy(cudnn_plan *p) {
    if (p == NULL) return;
    cudnn_unmake(p->libraries, p->pack);
    cudnn_unmake(p->libraries, p->plan);
    cuda_services()->release(p->libraries->host, p, 1, sizeof *p);
}

size_t cudnn_plan_scratch_bytes(const cudnn_plan *p) { return p == NULL ? 0 : p->scratch_bytes; }

/* The same step gives the same pointers every time, so the pack is mostly the last one's. */
static bool is_packed(const cudnn_plan *p, const cudnn_plan_run_desc *run) {
    if (p->pack == NULL || p->packed.count != run->count || p->packed.scratch != run->scratch)
        return false;
    for (int32_t i = 0; i < run->count; i++)
        if (p->packed.ids[i] != run->ids[i] || p->packed.pointers[i] != run->pointers[i])
            return false;
    return true;
}

static quern_status pack(cudnn_plan *p, const cudnn_plan_run_desc *run) {
    cuda_libraries *l = p->libraries;
    cudnn_unmake(l, p->pack);
    QUERN_TRY(cudnn_make(l, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &p->pack, p->op));
    quern_status status = cudnn_set(l, p->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                    CUDNN_TYPE_INT64, run->count, run->ids, p->op);
    if (status == QUERN_OK)
        status = cudnn_set(l, p->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
                           run->count, run->pointers, p->op);
    if (status == QUERN_OK)
        status = cudnn_set(l, p->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                           &run->scratch, p->op);
    if (status == QUERN_OK)
        status = cudnn_check(l->owner, &l->dnn, l->dnn.cudnnBackendFinalize(p->pack),
                             "cudnnBackendFinalize", p->op);
    p->packed = *run;
    if (status == QUERN_OK) return QUERN_OK;
    cudnn_unmake(l, p->pack);
    p->pack = NULL;
    return status;
}

quern_status cudnn_plan_run(cudnn_plan *p, const cudnn_plan_run_desc *run) {
    cuda_libraries *l = p->libraries;
    if (p->counted) return cuda_fail(QUERN_INTERNAL, "%s: planned for its bytes only", p->op);
    if (!is_packed(p, run)) QUERN_TRY(pack(p, run));
    QUERN_TRY(cudnn_check(l->owner, &l->dnn,
                          l->dnn.cudnnSetStream(l->dnn_handle, cuda_stream_handle(run->stream)),
                          "cudnnSetStream", p->op));
    return cudnn_check(l->owner, &l->dnn,
                       l->dnn.cudnnBackendExecute(l->dnn_handle, p->plan, p->pack),
                       "cudnnBackendExecute", p->op);
}
