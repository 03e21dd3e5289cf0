/* checkpoint.c - reads a checkpoint and believes nothing: the manifest by its own digest, each file
 * by the size and digest in the manifest and then by the strict parse. A file is read only when its
 * size is the one announced, so memory is bounded by what is really on the disk. */
#include "checkpoint.h"
#include "../safetensors/safetensors.h"
#include "../../base/file.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../device/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "checkpoint/name" in a buffer that is released with path_release. */
typedef struct joined_path {
    char *text;
    int64_t bytes;
} joined_path;

static quern_status path_join(joined_path *out, const quern_host *host, const char *directory,
                              const char *name) {
    out->bytes = (int64_t)(strlen(directory) + strlen(name) + 2);
    QUERN_TRY(memory_allocate(host, &out->text, out->bytes, 1, "a path"));
    snprintf(out->text, (size_t)out->bytes, "%s/%s", directory, name);
    return QUERN_OK;
}

static void path_release(const joined_path *path, const quern_host *host) {
    memory_release(host, path->text, path->bytes, 1);
}

/* unknown: as of file_read_judged. */
static quern_status check_size(const quern_host *host, const char *path,
                               const checkpoint_file *expected, bool *unknown) {
    quern_file_info info;
    const int64_t failure = file_info(host, path, &info);
    *unknown = file_failure_is_unknown(failure);
    if (failure < 0) return file_fail(QUERN_INPUT, "reading", path, failure);
    if (info.is_directory || info.byte_count != expected->bytes)
        return quern_fail(QUERN_INPUT, "%s: %" PRId64 " bytes, the manifest says %" PRId64, path,
                          info.byte_count, expected->bytes);
    return QUERN_OK;
}

static quern_status compare_digest(const char *path, size_t bytes, const char *found,
                                   const checkpoint_file *expected) {
    if ((int64_t)bytes == expected->bytes && strcmp(found, expected->digest) == 0) return QUERN_OK;
    return quern_fail(QUERN_INPUT,
                      "%s: %zu bytes with the digest %s, the manifest says %" PRId64
                      " with %s: the file is damaged",
                      path, bytes, found, expected->bytes, expected->digest);
}

static quern_status open_file(quern_safetensors **out, const quern_host *host, const char *path,
                              const checkpoint_file *expected, bool *unknown) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    char found[DIGEST_TEXT];
    QUERN_TRY(check_size(host, path, expected, unknown));
    QUERN_TRY(file_read_judged(host, path, (size_t)expected->bytes, &data, &bytes, unknown));
    digest_of(data, bytes, found);
    quern_status status = compare_digest(path, bytes, found, expected);
    *unknown = status == QUERN_OK; /* what has its digest is as it was written */
    if (status == QUERN_OK) status = safetensors_parse(out, host, path, data, bytes);
    if (status == QUERN_OK) {
        (*out)->owned = data;
    } else {
        memory_release(host, data, (int64_t)bytes, 1);
    }
    return status;
}

static quern_status open_named(quern_safetensors **out, const quern_host *host,
                               const char *directory, const char *name,
                               const checkpoint_file *expected, bool *unknown) {
    joined_path path;
    QUERN_TRY(path_join(&path, host, directory, name));
    const quern_status status = open_file(out, host, path.text, expected, unknown);
    path_release(&path, host);
    return status;
}

#define VERIFY_BYTES ((int64_t)1 << 20)

static void add_piece(void *self, const void *data, size_t bytes) { digest_add(self, data, bytes); }

/* Neither held nor parsed: what has its digest is as it was written. */
static quern_status check_digest(const quern_host *host, const char *path,
                                 const checkpoint_file *expected, bool *unknown) {
    uint8_t *buffer = NULL;
    digest d;
    char found[DIGEST_TEXT];
    QUERN_TRY(check_size(host, path, expected, unknown));
    *unknown = true; /* until it is read */
    QUERN_TRY(memory_allocate(host, &buffer, VERIFY_BYTES, 1, "a piece of a checkpoint"));
    digest_begin(&d);
    const quern_status status =
        file_read_pieces(host, path, buffer, (size_t)VERIFY_BYTES, add_piece, &d);
    memory_release(host, buffer, VERIFY_BYTES, 1);
    QUERN_TRY(status);
    *unknown = false;
    digest_end(&d, found);
    return compare_digest(path, (size_t)expected->bytes, found, expected);
}

static quern_status check_named_digest(const quern_host *host, const char *directory,
                                       const char *name, const checkpoint_file *expected,
                                       bool *unknown) {
    joined_path path;
    QUERN_TRY(path_join(&path, host, directory, name));
    const quern_status status = check_digest(host, path.text, expected, unknown);
    path_release(&path, host);
    return status;
}

static quern_status check_named_size(const quern_host *host, const char *directory,
                                     const char *name, const checkpoint_file *expected,
                                     bool *unknown) {
    joined_path path;
    QUERN_TRY(path_join(&path, host, directory, name));
    const quern_status status = check_size(host, path.text, expected, unknown);
    path_release(&path, host);
    return status;
}

static quern_status read_manifest(manifest *out, const quern_host *host, const char *directory,
                                  bool *unknown) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    joined_path path;
    *out = (manifest){0};
    QUERN_TRY(path_join(&path, host, directory, MANIFEST_FILE));
    quern_status status = file_read_judged(host, path.text, MANIFEST_LIMIT, &data, &bytes, unknown);
    if (status == QUERN_OK) {
        status = manifest_parse(out, host, data, bytes, unknown);
        if (status != QUERN_OK) status = error_prefix(status, "%s", path.text);
    }
    memory_release(host, data, (int64_t)bytes, 1);
    path_release(&path, host);
    return status;
}

static checkpoint_verdict verdict_of(quern_status status, bool unknown) {
    if (status == QUERN_OK) return CHECKPOINT_IS_WHOLE;
    return status == QUERN_INPUT && !unknown ? CHECKPOINT_DAMAGED : CHECKPOINT_UNKNOWN;
}

static quern_status check_sizes(const quern_host *host, const char *path, const manifest *m,
                                bool *unknown) {
    QUERN_TRY(check_named_size(host, path, MODEL_FILE, &m->model, unknown));
    return check_named_size(host, path, STATE_FILE, &m->state, unknown);
}

quern_status checkpoint_read_manifest(manifest *out, const quern_host *host, const char *path,
                                      checkpoint_verdict *verdict) {
    bool unknown = false;
    quern_status status = read_manifest(out, host, path, &unknown);
    if (status == QUERN_OK) {
        status = check_sizes(host, path, out, &unknown);
        if (status != QUERN_OK) manifest_release(out);
    }
    *verdict = verdict_of(status, unknown);
    return status;
}

static quern_status verify_files(const quern_host *host, const char *path, bool *unknown) {
    manifest m;
    QUERN_TRY(read_manifest(&m, host, path, unknown));
    quern_status status = check_named_digest(host, path, MODEL_FILE, &m.model, unknown);
    if (status == QUERN_OK) status = check_named_digest(host, path, STATE_FILE, &m.state, unknown);
    manifest_release(&m);
    return status;
}

quern_status checkpoint_verify(const quern_host *host, const char *path,
                               checkpoint_verdict *verdict) {
    bool unknown = false;
    const quern_status status = verify_files(host, path, &unknown);
    *verdict = verdict_of(status, unknown);
    return status;
}

static quern_status read_all(quern_checkpoint *c, const char *path, bool *unknown) {
    manifest *m = &c->manifest;
    QUERN_TRY(memory_allocate(c->host, &c->path, (int64_t)strlen(path) + 1, 1, "a path"));
    c->path_bytes = strlen(path) + 1;
    memcpy(c->path, path, c->path_bytes);
    QUERN_TRY(read_manifest(m, c->host, path, unknown));
    QUERN_TRY(open_named(&c->model, c->host, path, MODEL_FILE, &m->model, unknown));
    QUERN_TRY(open_named(&c->state, c->host, path, STATE_FILE, &m->state, unknown));
    m->content.model_count = quern_safetensors_entries(c->model, &m->content.model);
    m->content.state_count = quern_safetensors_entries(c->state, &m->content.state);
    return QUERN_OK;
}

quern_status checkpoint_judge(quern_checkpoint **out, const quern_host *host, const char *path,
                              checkpoint_verdict *verdict) {
    quern_checkpoint *c = NULL;
    bool unknown = false;
    *out = NULL;
    *verdict = CHECKPOINT_UNKNOWN;
    QUERN_TRY(memory_allocate(host, &c, 1, sizeof *c, "a checkpoint"));
    c->host = host;
    const quern_status status = read_all(c, path, &unknown);
    *verdict = verdict_of(status, unknown);
    if (status != QUERN_OK) {
        quern_checkpoint_destroy(c);
        return status;
    }
    *out = c;
    return QUERN_OK;
}

quern_status checkpoint_open(quern_checkpoint **out, const quern_host *host, const char *path) {
    checkpoint_verdict verdict;
    return checkpoint_judge(out, host, path, &verdict);
}

quern_status quern_checkpoint_open(quern_checkpoint **out, quern_device *device, const char *path) {
    return checkpoint_open(out, &device->host, path);
}

void quern_checkpoint_destroy(quern_checkpoint *c) {
    if (c == NULL) return;
    const quern_host *host = c->host;
    manifest_release(&c->manifest);
    quern_safetensors_destroy(c->model);
    quern_safetensors_destroy(c->state);
    memory_release(host, c->path, (int64_t)c->path_bytes, 1);
    memory_release(host, c, 1, sizeof *c);
}

quern_checkpoint_info quern_checkpoint_info_get(const quern_checkpoint *c) {
    const checkpoint_content *content = &c->manifest.content;
    const checkpoint_counters *counters = &content->counters;
    return (quern_checkpoint_info){
        .path = c->path,
        .version = c->manifest.version,
        .step = counters->step,
        .attempts = counters->attempts,
        .samples = counters->samples,
        .epoch = counters->epoch,
        .batch = counters->batch,
        .sample = counters->sample,
        .train_seconds = (double)counters->train_ns * 1e-9,
        .seed = content->seed,
        .metric = content->metric,
        .metric_value = content->metric_value,
        .configuration = content->configuration,
        .algorithms = content->algorithms,
        .bytes = (size_t)(c->manifest.model.bytes + c->manifest.state.bytes),
    };
}

const quern_safetensors *quern_checkpoint_model(const quern_checkpoint *c) { return c->model; }
const quern_safetensors *quern_checkpoint_state(const quern_checkpoint *c) { return c->state; }

quern_status quern_checkpoint_digest(const quern_checkpoint *c, char digest_text[33]) {
    return content_digest(c->host, &c->manifest.content, digest_text);
}

quern_status quern_checkpoint_load(const quern_checkpoint *c, quern_graph *graph,
                                   quern_parameters *parameters) {
    const quern_status status = quern_safetensors_load(c->model, graph, parameters);
    return status == QUERN_OK ? status : error_prefix(status, "%s/" MODEL_FILE, c->path);
}
