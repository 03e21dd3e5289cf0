/* safetensors_write.c - named tensors to a file that every strict reader takes: what no such file
 * may hold is refused before anything is written.
 *
 * Temporary file beside the target, fsync, rename, fsync of the folder. Measured: without the two
 * fsyncs most simulated power cuts leave a corrupt file; with them none. */
#include "safetensors.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/text.h"
#include "../../device/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_utf8(const char *word) {
    for (size_t bytes; *word != '\0'; word += bytes)
        if ((bytes = text_sequence(word)) == 0) return false;
    return true;
}

static quern_status check_header(size_t bytes) {
    if (bytes <= SAFETENSORS_HEADER_LIMIT) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "a header of %zu bytes: no reader takes more than %zu", bytes,
                      SAFETENSORS_HEADER_LIMIT);
}

/* *bytes grows by what the words take in a header at least. free_text: may be no UTF-8. */
static quern_status check_words(const char *const *words, int64_t count, const char *what,
                                bool free_text, size_t *bytes) {
    for (int64_t i = 0; i < count; i++) {
        if (words[i] == NULL) return quern_fail(QUERN_INVALID, "%s %" PRId64 " is NULL", what, i);
        if (!free_text && !is_utf8(words[i]))
            return quern_fail(QUERN_INVALID, "%s %" PRId64 " is not UTF-8", what, i);
        *bytes += strlen(words[i]);
    }
    return check_header(*bytes);
}

static int compare_words(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The words are sorted in place. */
static quern_status check_distinct(const char **words, int64_t count, const char *what) {
    if (count > 0) qsort(words, (size_t)count, sizeof *words, compare_words);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(words[i - 1], words[i]) == 0)
            return quern_fail(QUERN_INVALID, "%s \"%s\" is there twice", what, words[i]);
    return QUERN_OK;
}

static quern_status check_entry(const quern_safetensors_entry *e) {
    size_t bytes = 0;
    if (strcmp(e->name, SAFETENSORS_NOTES_KEY) == 0)
        return quern_fail(QUERN_INVALID, "no tensor can be named " SAFETENSORS_NOTES_KEY);
    if ((unsigned)e->dtype >= QUERN_DTYPE_COUNT)
        return quern_fail(QUERN_INVALID, "tensor %s: dtype %d does not exist", e->name,
                          (int)e->dtype);
    if (e->rank < 0 || e->rank > QUERN_RANK_MAX)
        return quern_fail(QUERN_INVALID, "tensor %s: rank %" PRId32 ", expected 0 … %d", e->name,
                          e->rank, QUERN_RANK_MAX);
    for (int32_t i = 0; i < e->rank; i++)
        if (e->dim[i] < 0)
            return quern_fail(QUERN_INVALID, "tensor %s: dim %" PRId32 " is %" PRId64, e->name, i,
                              e->dim[i]);
    if (!safetensors_shape_bytes(e, &bytes))
        return quern_fail(QUERN_INVALID, "tensor %s: its size overflows", e->name);
    if (bytes != e->bytes)
        return quern_fail(QUERN_INVALID, "tensor %s: shape and dtype need %zu bytes, %zu are given",
                          e->name, bytes, e->bytes);
    return QUERN_OK;
}

static quern_status check_all(const safetensors_content *c, const char **words) {
    size_t bytes = 0;
    for (int64_t i = 0; i < c->entry_count; i++) words[i] = c->entries[i].name;
    QUERN_TRY(check_words(words, c->entry_count, "the name of tensor", false, &bytes));
    for (int64_t i = 0; i < c->entry_count; i++) QUERN_TRY(check_entry(&c->entries[i]));
    QUERN_TRY(check_distinct(words, c->entry_count, "tensor"));
    for (int32_t i = 0; i < c->note_count; i++) words[i] = c->notes[i].value;
    QUERN_TRY(check_words(words, c->note_count, "the text of note", true, &bytes));
    for (int32_t i = 0; i < c->note_count; i++) words[i] = c->notes[i].key;
    QUERN_TRY(check_words(words, c->note_count, "the key of note", false, &bytes));
    return check_distinct(words, c->note_count, "note");
}

static quern_status check(const quern_host *host, const safetensors_content *c) {
    const int64_t count = c->entry_count > c->note_count ? c->entry_count : c->note_count;
    const char **words = NULL;
    if (c->entry_count < 0 || (c->entry_count > 0 && c->entries == NULL))
        return quern_fail(QUERN_INVALID, "%" PRId64 " tensors at NULL", c->entry_count);
    if (c->note_count < 0 || (c->note_count > 0 && c->notes == NULL))
        return quern_fail(QUERN_INVALID, "%" PRId32 " notes at NULL", c->note_count);
    QUERN_TRY(memory_allocate(host, &words, count, sizeof *words, "names of tensors"));
    const quern_status status = check_all(c, words);
    memory_release(host, words, count, sizeof *words);
    return status;
}

static quern_status write_header(file_writer *w, const safetensors_content *c) {
    const size_t capacity =
        safetensors_header_bound(c->entries, c->entry_count, c->notes, c->note_count);
    uint8_t *header = NULL;
    size_t bytes = 0;
    QUERN_TRY(memory_allocate(w->host, &header, (int64_t)capacity, 1, "a safetensors header"));
    quern_status status = safetensors_header_fill(header, capacity, &bytes, c->entries,
                                                  c->entry_count, c->notes, c->note_count);
    if (status == QUERN_OK) status = check_header(bytes - 8);
    if (status == QUERN_OK) status = file_writer_write(w, header, bytes);
    memory_release(w->host, header, (int64_t)capacity, 1);
    return status;
}

static quern_status write_file(const quern_host *host, const char *path,
                               const safetensors_content *c) {
    file_writer w;
    QUERN_TRY(file_writer_open(&w, host, path, QUERN_FILE_CREATE));
    quern_status status = write_header(&w, c);
    for (int64_t i = 0; i < c->entry_count && status == QUERN_OK; i++)
        status = c->emit(c->emit_self, &w, i);
    if (status == QUERN_OK) status = file_writer_sync(&w);
    const quern_status closed = file_writer_close(&w);
    return status != QUERN_OK ? status : closed;
}

quern_status safetensors_write(const quern_host *host, const char *path,
                               const safetensors_content *content) {
    char temporary[4096], folder[sizeof temporary];
    const int length = snprintf(temporary, sizeof temporary, "%s.part", path);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return quern_fail(QUERN_INVALID, "a path of %zu bytes is too long", strlen(path));
    quern_status status = check(host, content);
    if (status != QUERN_OK) return error_prefix(status, "%s", path);
    status = write_file(host, temporary, content);
    if (status == QUERN_OK) status = file_rename(host, temporary, path);
    if (status == QUERN_OK) {
        file_parent(path, folder);
        return file_sync_directory(host, folder);
    }
    file_discard(host, temporary);
    return status;
}

static quern_status emit_entry(const void *self, file_writer *to, int64_t i) {
    const quern_safetensors_entry *e = (const quern_safetensors_entry *)self + i;
    /* The analyzer does not know that quern_fail never returns QUERN_OK: entries were checked. */
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    return file_writer_write(to, e->data, e->bytes);
}

quern_status quern_safetensors_write(const char *path, quern_device *device,
                                     const quern_safetensors_entry *entries, int64_t entry_count,
                                     const quern_safetensors_note *notes, int32_t note_count) {
    if (path == NULL || device == NULL)
        return quern_fail(QUERN_INVALID, "a safetensors file needs a path and a device");
    for (int64_t i = 0; i < entry_count && entries != NULL; i++)
        if (entries[i].data == NULL && entries[i].bytes > 0)
            return quern_fail(QUERN_INVALID, "%s: tensor %" PRId64 " has no data", path, i);
    return safetensors_write(&device->host, path,
                             &(safetensors_content){.entries = entries,
                                                    .entry_count = entry_count,
                                                    .notes = notes,
                                                    .note_count = note_count,
                                                    .emit = emit_entry,
                                                    .emit_self = entries});
}
