/* safetensors.h - an opened safetensors file. */
#ifndef QUERN_TRAIN_SAFETENSORS_H
#define QUERN_TRAIN_SAFETENSORS_H

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

#define SAFETENSORS_HEADER_LIMIT ((size_t)100000000)
#define SAFETENSORS_NOTES_KEY "__metadata__"

#endif
