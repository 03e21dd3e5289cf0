#include "plan_cache.h"

#include "cache_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILE_LIMIT ((size_t)16 << 20)
enum { HEAD_BYTES = 4096, PATH_BYTES = 1200 };

/* What stands before the plan; 0 when it does not fit. */
static size_t write_head(char head[HEAD_BYTES], const char *key, const char *plan, size_t bytes) {
    const int length = snprintf(head, HEAD_BYTES, "quern plan 1\n%s\n%016" PRIx64 " %zu\n", key,
                                cache_hash(plan, bytes), bytes);
    return length > 0 && length < HEAD_BYTES ? (size_t)length : 0;
}

static bool write_path(const cuda_libraries *l, const char *key, char path[PATH_BYTES]) {
    if (l->folder[0] == 0) return false;
    const int length = snprintf(path, PATH_BYTES, "%s/plan-%016" PRIx64 ".txt", l->folder,
                                cache_hash(key, strlen(key)));
    return length > 0 && length < PATH_BYTES;
}

/* The plan behind its three lines; NULL when the file is not what was written. */
static const char *find_plan(const char *file, size_t bytes, const char *key, size_t *plan_bytes) {
    char head[HEAD_BYTES];
    const char *at = file;
    for (int line = 0; line < 3 && at != NULL; line++) {
        at = memchr(at, '\n', bytes - (size_t)(at - file));
        if (at != NULL) at++;
    }
    if (at == NULL) return NULL;
    const size_t begin = (size_t)(at - file);
    *plan_bytes = bytes - begin;
    const size_t expected = write_head(head, key, at, *plan_bytes);
    return expected == begin && memcmp(file, head, begin) == 0 ? at : NULL;
}

void plan_cache_read(cuda_libraries *l, const char *key, plan_text *out) {
    char path[PATH_BYTES];
    *out = (plan_text){0};
    if (!write_path(l, key, path)) return;
    char why[CACHE_WHY_BYTES];
    out->file = cache_file_read(l->host, path, FILE_LIMIT, &out->bytes, why);
    if (why[0] != 0) libraries_tell_unusable(l, path, why);
    if (out->file == NULL) return;
    out->plan = find_plan(out->file, out->bytes, key, &out->plan_bytes);
    if (out->plan != NULL) return;
    libraries_tell_unusable(l, path, "it is damaged, or of another library, device or graph");
    plan_cache_release(l, out);
}

void plan_cache_release(cuda_libraries *l, plan_text *text) {
    cuda_services()->release(l->host, text->file, (int64_t)text->bytes + 1, 1);
    *text = (plan_text){0};
}

quern_status plan_cache_write(cuda_libraries *l, const char *key, const char *plan, size_t bytes) {
    char head[HEAD_BYTES], path[PATH_BYTES], *file;
    const size_t begin = write_head(head, key, plan, bytes);
    if (begin == 0 || bytes > FILE_LIMIT - begin || !write_path(l, key, path)) return QUERN_OK;
    const int64_t count = (int64_t)(begin + bytes);
    QUERN_TRY(cuda_services()->allocate(l->host, &file, count, 1, "a remembered plan"));
    memcpy(file, head, begin);
    memcpy(file + begin, plan, bytes);
    if (!cache_file_write(l->host, path, file, begin + bytes))
        cuda_services()->log(l->host, QUERN_LOG_WARNING,
                             "%s cannot be written: the plan is made anew in the next run", path);
    cuda_services()->release(l->host, file, count, 1);
    return QUERN_OK;
}
