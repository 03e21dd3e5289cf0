/* safetensors_header.c - the header that the writers put in front of the bytes: compact JSON,
 * padded with spaces so that the bytes begin at a multiple of 8. Entries lie in the order given. */
#include "safetensors.h"
#include "../../base/report.h"
#include "../../base/size.h"
#include "../../base/text.h"

#include <inttypes.h>
#include <string.h>

/* One entry; *offset moves on by the tensor's bytes. */
static quern_status add_entry(text *t, const quern_safetensors_entry *entry, size_t *offset) {
    size_t end = 0;
    if (!size_add(*offset, entry->bytes, &end) || end > INT64_MAX)
        return quern_fail(QUERN_SHAPE, "the tensors have more bytes than fit a file");
    text_add_json_string(t, entry->name);
    text_add(t, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_text(entry->dtype));
    for (int32_t i = 0; i < entry->rank; i++)
        text_add(t, "%s%" PRId64, i > 0 ? "," : "", entry->dim[i]);
    text_add(t, "],\"data_offsets\":[%zu,%zu]}", *offset, end);
    *offset = end;
    return QUERN_OK;
}

static quern_status fill(text *t, const quern_safetensors_entry *entries, int64_t entry_count,
                         const quern_safetensors_note *notes, int32_t note_count) {
    text_add(t, "{");
    if (note_count > 0) text_add(t, "\"" SAFETENSORS_NOTES_KEY "\":{");
    for (int32_t i = 0; i < note_count; i++) {
        if (i > 0) text_add(t, ",");
        text_add_json_string(t, notes[i].key);
        text_add(t, ":");
        text_add_json_string(t, notes[i].value);
    }
    if (note_count > 0) text_add(t, "}");
    size_t offset = 0;
    for (int64_t i = 0; i < entry_count; i++) {
        if (i > 0 || note_count > 0) text_add(t, ",");
        QUERN_TRY(add_entry(t, &entries[i], &offset));
    }
    text_add(t, "}");
    while (t->length % 8 != 0 && !t->overflow) text_add(t, " ");
    return QUERN_OK;
}

/* An escaped byte takes at most six; the largest entry has eight dims of 19 digits. */
size_t safetensors_header_bound(const quern_safetensors_entry *entries, int64_t entry_count,
                                const quern_safetensors_note *notes, int32_t note_count) {
    size_t bytes = 64;
    for (int32_t i = 0; i < note_count; i++)
        bytes += 6 * (strlen(notes[i].key) + strlen(notes[i].value)) + 8;
    for (int64_t i = 0; i < entry_count; i++) bytes += 6 * strlen(entries[i].name) + 320;
    return bytes;
}

quern_status safetensors_header_fill(uint8_t *to, size_t capacity, size_t *bytes,
                                     const quern_safetensors_entry *entries, int64_t entry_count,
                                     const quern_safetensors_note *notes, int32_t note_count) {
    QUERN_ENSURE(capacity > 8);
    text t = text_over((char *)to + 8, capacity - 8);
    QUERN_TRY(fill(&t, entries, entry_count, notes, note_count));
    if (t.overflow) return quern_fail(QUERN_INTERNAL, "a safetensors header outgrew its bound");
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)((uint64_t)t.length >> (8 * i));
    *bytes = 8 + t.length;
    return QUERN_OK;
}
