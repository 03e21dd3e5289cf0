/* safetensors.h - an opened safetensors file. */
#ifndef QUERN_TRAIN_SAFETENSORS_H
#define QUERN_TRAIN_SAFETENSORS_H

#include "../../base/file.h"
#include <quern/safetensors.h>

struct quern_safetensors {
    const quern_host *host;
    uint8_t *owned; /* the file's bytes when this object read them */
    const uint8_t *data;
    size_t bytes;
    void *header; /* json_t: owns every name and note */
    quern_safetensors_entry *entries;
    quern_safetensors_note *notes;
    int64_t entry_count, note_count;
    int64_t entry_capacity, note_capacity;
};

/* The name of a dtype in the header: "F32". */
const char *safetensors_dtype_text(quern_dtype dtype);

/* What shape and dtype take; false when that overflows. */
bool safetensors_shape_bytes(const quern_safetensors_entry *entry, size_t *bytes);

/* The reader for those who have a host and no device. */
QUERN_MUST_CHECK quern_status safetensors_parse(quern_safetensors **out, const quern_host *host,
                                                const char *name, const void *data, size_t bytes);

/* The writer (safetensors_write.c) for those whose bytes come one tensor at a time: `emit` writes
 * those of entries[i], whose `data` is not read. */
typedef quern_status safetensors_emit(const void *self, file_writer *to, int64_t i);
typedef struct safetensors_content {
    const quern_safetensors_entry *entries;
    int64_t entry_count;
    const quern_safetensors_note *notes;
    int32_t note_count;
    safetensors_emit *emit;
    const void *emit_self;
} safetensors_content;
QUERN_MUST_CHECK quern_status safetensors_write(const quern_host *host, const char *path,
                                                const safetensors_content *content);

/* safetensors_header.c: header length and header, as they stand in front of the tensors' bytes in
 * the order of `entries` (whose data is not read). `capacity` is at least the bound; *bytes
 * receives what was written. */
size_t safetensors_header_bound(const quern_safetensors_entry *entries, int64_t entry_count,
                                const quern_safetensors_note *notes, int32_t note_count);
QUERN_MUST_CHECK quern_status safetensors_header_fill(uint8_t *to, size_t capacity, size_t *bytes,
                                                      const quern_safetensors_entry *entries,
                                                      int64_t entry_count,
                                                      const quern_safetensors_note *notes,
                                                      int32_t note_count);

#define SAFETENSORS_HEADER_LIMIT ((size_t)100000000)
#define SAFETENSORS_NOTES_KEY "__metadata__"

#endif
