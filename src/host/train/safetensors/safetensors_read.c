/* safetensors_read.c - the strict reader. Nothing in the header is believed: the length is bounded
 * by the file, each product is checked, and the tensors, sorted by offset, must tile the bytes
 * without hole or overlap. jansson parses the JSON: it refuses duplicate keys, invalid UTF-8, NUL
 * in strings and integers beyond 64 bits, and bounds the depth. */
#include "safetensors.h"
#include "../json_failure.h"
#include "../../base/memory.h"
#include "../../base/report.h"
#include "../../base/size.h"
#include "../../device/device.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define X(name, bytes, text) text,
static const char *const dtype_texts[] = {QUERN_DTYPE_LIST(X)};
#undef X

const char *safetensors_dtype_text(quern_dtype dtype) { return dtype_texts[dtype]; }

static bool dtype_from_text(const char *text, quern_dtype *out) {
    for (int i = 0; i < QUERN_DTYPE_COUNT; i++) {
        if (strcmp(text, dtype_texts[i]) != 0) continue;
        *out = (quern_dtype)i;
        return true;
    }
    return false;
}

/* data_offsets: [begin, end], relative to the first byte after the header. */
static quern_status read_offsets(quern_safetensors *f, quern_safetensors_entry *e, json_t *pair,
                                 size_t data_start) {
    if (!json_is_array(pair) || json_array_size(pair) != 2 ||
        !json_is_integer(json_array_get(pair, 0)) || !json_is_integer(json_array_get(pair, 1)))
        return quern_fail(QUERN_INPUT, "tensor %s: data_offsets is not [begin, end]", e->name);
    const int64_t begin = json_integer_value(json_array_get(pair, 0));
    const int64_t end = json_integer_value(json_array_get(pair, 1));
    const size_t available = f->bytes - data_start;
    if (begin < 0 || end < begin || (uint64_t)end > available)
        return quern_fail(QUERN_INPUT,
                          "tensor %s: data_offsets [%" PRId64 ", %" PRId64
                          "] are outside the %zu bytes of data",
                          e->name, begin, end, available);
    e->data = f->data + data_start + (size_t)begin;
    e->bytes = (size_t)(end - begin);
    return QUERN_OK;
}

bool safetensors_shape_bytes(const quern_safetensors_entry *entry, size_t *bytes) {
    int64_t count = 1;
    for (int32_t i = 0; i < entry->rank; i++)
        if (!count_multiply(count, entry->dim[i], &count)) return false;
    return count_bytes(count, quern_dtype_bytes(entry->dtype), bytes);
}

static quern_status read_shape(quern_safetensors_entry *e, json_t *shape) {
    if (!json_is_array(shape))
        return quern_fail(QUERN_INPUT, "tensor %s: shape is not a list", e->name);
    const size_t rank = json_array_size(shape);
    if (rank > QUERN_RANK_MAX)
        return quern_fail(QUERN_INPUT, "tensor %s: rank %zu, expected at most %d", e->name, rank,
                          QUERN_RANK_MAX);
    e->rank = (int32_t)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        e->dim[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || e->dim[i] < 0)
            return quern_fail(QUERN_INPUT, "tensor %s: dim %zu is not a count", e->name, i);
    }
    size_t bytes = 0;
    if (!safetensors_shape_bytes(e, &bytes))
        return quern_fail(QUERN_INPUT, "tensor %s: its size overflows", e->name);
    if (bytes != e->bytes)
        return quern_fail(QUERN_INPUT, "tensor %s: shape and dtype need %zu bytes, found %zu",
                          e->name, bytes, e->bytes);
    return QUERN_OK;
}

static quern_status read_entry(quern_safetensors *f, const char *name, json_t *value,
                               size_t data_start) {
    quern_safetensors_entry *e = &f->entries[f->entry_count];
    e->name = name;
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    json_t *shape = json_object_get(value, "shape");
    json_t *offsets = json_object_get(value, "data_offsets");
    if (json_object_size(value) != 3 || !dtype || !shape || !offsets)
        return quern_fail(QUERN_INPUT, "tensor %s: expected exactly dtype, shape and data_offsets",
                          name);
    if (!dtype_from_text(dtype, &e->dtype))
        return quern_fail(QUERN_INPUT, "tensor %s: unknown dtype \"%s\"", name, dtype);
    QUERN_TRY(read_offsets(f, e, offsets, data_start));
    QUERN_TRY(read_shape(e, shape));
    f->entry_count++;
    return QUERN_OK;
}

static quern_status read_notes(quern_safetensors *f, json_t *notes) {
    if (!json_is_object(notes))
        return quern_fail(QUERN_INPUT, SAFETENSORS_NOTES_KEY " is not an object");
    f->note_capacity = (int64_t)json_object_size(notes);
    QUERN_TRY(memory_allocate(f->host, &f->notes, f->note_capacity, sizeof *f->notes,
                              "the notes of a safetensors file"));
    const char *key;
    json_t *value;
    json_object_foreach(notes, key, value) {
        if (!json_is_string(value))
            return quern_fail(QUERN_INPUT, SAFETENSORS_NOTES_KEY ": %s is not a string", key);
        f->notes[f->note_count++] = (quern_safetensors_note){key, json_string_value(value)};
    }
    return QUERN_OK;
}

static int compare_entries(const void *a, const void *b) {
    const quern_safetensors_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes == y->bytes ? 0 : x->bytes < y->bytes ? -1 : 1;
}

/* Sorted, each tensor begins where the one before ended, and the last ends with the file. */
static quern_status check_tiling(quern_safetensors *f, size_t data_start) {
    if (f->entry_count > 0)
        qsort(f->entries, (size_t)f->entry_count, sizeof *f->entries, compare_entries);
    const uint8_t *next = f->data + data_start;
    for (int64_t i = 0; i < f->entry_count; i++) {
        const uint8_t *begin = f->entries[i].data;
        if (begin != next)
            return quern_fail(QUERN_INPUT, "tensor %s begins at offset %td, expected %td: %s",
                              f->entries[i].name, begin - f->data, next - f->data,
                              begin < next ? "an overlap" : "a hole");
        next = begin + f->entries[i].bytes;
    }
    const size_t used = (size_t)(next - f->data);
    if (used != f->bytes)
        return quern_fail(QUERN_INPUT, "the tensors end at offset %zu, the file at %zu", used,
                          f->bytes);
    return QUERN_OK;
}

static quern_status read_header(quern_safetensors *f, size_t header_bytes) {
    const char *text = (const char *)f->data + 8;
    size_t length = header_bytes;
    while (length > 0 && text[length - 1] == ' ') length--;
    if (length < 2 || text[0] != '{' || text[length - 1] != '}')
        return quern_fail(QUERN_INPUT, "the header is not a JSON object");
    json_error_t error;
    f->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!f->header) {
        const quern_status status = json_failure(&error, QUERN_INPUT);
        return quern_fail(status, "header, offset %d: %s", 8 + error.position,
                          json_failure_text(status, &error));
    }
    f->entry_capacity = (int64_t)json_object_size(f->header);
    QUERN_TRY(memory_allocate(f->host, &f->entries, f->entry_capacity, sizeof *f->entries,
                              "the tensors of a safetensors file"));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)f->header, key, value) {
        if (strcmp(key, SAFETENSORS_NOTES_KEY) == 0)
            QUERN_TRY(read_notes(f, value));
        else
            QUERN_TRY(read_entry(f, key, value, 8 + header_bytes));
    }
    return check_tiling(f, 8 + header_bytes);
}

static quern_status parse(quern_safetensors *f) {
    if (f->bytes < 8) return quern_fail(QUERN_INPUT, "%zu bytes, expected at least 8", f->bytes);
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)f->data[i] << (8 * i);
    if (length > SAFETENSORS_HEADER_LIMIT || length > f->bytes - 8)
        return quern_fail(QUERN_INPUT,
                          "offset 0: a header of %" PRIu64 " bytes does not fit, %zu bytes follow:"
                          " this is no .safetensors file, or a part of one",
                          length, f->bytes - 8);
    return read_header(f, (size_t)length);
}

quern_status safetensors_parse(quern_safetensors **out, const quern_host *host, const char *name,
                               const void *data, size_t bytes) {
    quern_safetensors *f = NULL;
    *out = NULL;
    QUERN_TRY(memory_allocate(host, &f, 1, sizeof *f, "a safetensors file"));
    f->host = host;
    f->data = data;
    f->bytes = bytes;
    const quern_status status = parse(f);
    if (status != QUERN_OK) {
        quern_safetensors_destroy(f);
        return error_prefix(status, "%s", name);
    }
    *out = f;
    return QUERN_OK;
}

quern_status quern_safetensors_parse(quern_safetensors **out, quern_device *device,
                                     const char *name, const void *data, size_t bytes) {
    return safetensors_parse(out, &device->host, name, data, bytes);
}

quern_status quern_safetensors_open(quern_safetensors **out, quern_device *device,
                                    const char *path) {
    uint8_t *data = NULL;
    size_t bytes = 0;
    *out = NULL;
    QUERN_TRY(file_read_all(&device->host, path, PTRDIFF_MAX, &data, &bytes));
    const quern_status status = quern_safetensors_parse(out, device, path, data, bytes);
    if (*out == NULL)
        memory_release(&device->host, data, (int64_t)bytes, 1);
    else
        (*out)->owned = data;
    return status;
}

void quern_safetensors_destroy(quern_safetensors *file) {
    if (!file) return;
    const quern_host *host = file->host;
    json_decref(file->header);
    memory_release(host, file->entries, file->entry_capacity, sizeof *file->entries);
    memory_release(host, file->notes, file->note_capacity, sizeof *file->notes);
    memory_release(host, file->owned, (int64_t)file->bytes, 1);
    memory_release(host, file, 1, sizeof *file);
}

int64_t quern_safetensors_entries(const quern_safetensors *file,
                                  const quern_safetensors_entry **out) {
    *out = file->entries;
    return file->entry_count;
}

const quern_safetensors_entry *quern_safetensors_find(const quern_safetensors *file,
                                                      const char *name) {
    for (int64_t i = 0; i < file->entry_count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}

int64_t quern_safetensors_notes(const quern_safetensors *file, const quern_safetensors_note **out) {
    *out = file->notes;
    return file->note_count;
}

const char *quern_safetensors_note_find(const quern_safetensors *file, const char *key) {
    for (int64_t i = 0; i < file->note_count; i++)
        if (strcmp(file->notes[i].key, key) == 0) return file->notes[i].value;
    return NULL;
}
