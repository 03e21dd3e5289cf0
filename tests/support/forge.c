#include "forge.h"

#include "../../src/host/train/checkpoint/digest.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first place of `text` at or behind `from`; NULL: none. The data need not be terminated. */
static char *find(const forge_file *f, const char *from, const char *text) {
    const size_t length = strlen(text);
    for (const char *at = from; at && at + length <= f->data + f->bytes; at++)
        if (memcmp(at, text, length) == 0) return f->data + (at - f->data);
    return NULL;
}

static bool row_digest(forge_file *manifest, const char *name, const forge_file *file) {
    char text[DIGEST_TEXT], row[64];
    snprintf(row, sizeof row, "\"%s\": {\"bytes\"", name);
    char *at = find(manifest, find(manifest, manifest->data, row), "\"xxh3_128\": \"");
    if (!at || at + 13 + DIGEST_TEXT > manifest->data + manifest->bytes) return false;
    digest_of(file->data, file->bytes, text);
    memcpy(at + 13, text, DIGEST_TEXT - 1);
    return true;
}

bool forge_digests(forge_file *manifest, const forge_file *model, const forge_file *state) {
    const size_t tail = sizeof "  \"digest\": \"\"\n}\n" - 1 + DIGEST_TEXT - 1;
    char text[DIGEST_TEXT];
    if (manifest->bytes < tail || !row_digest(manifest, "model.safetensors", model) ||
        !row_digest(manifest, "state.safetensors", state))
        return false;
    char *last = manifest->data + manifest->bytes - tail;
    if (memcmp(last, "  \"digest\": \"", 13) != 0) return false;
    digest_of(manifest->data, manifest->bytes - tail, text);
    memcpy(last + 13, text, DIGEST_TEXT - 1);
    return true;
}

bool forge_number(forge_file *manifest, const char *key, const char *value) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\n  \"%s\": ", key);
    char *at = find(manifest, manifest->data, quoted);
    if (!at) return false;
    at += strlen(quoted);
    char *end = at;
    while (end < manifest->data + manifest->bytes && strchr("-0123456789", *end)) end++;
    const size_t old = (size_t)(end - at), now = strlen(value);
    if (manifest->bytes - old + now > manifest->capacity) return false;
    memmove(at + now, end, (size_t)(manifest->data + manifest->bytes - end));
    memcpy(at, value, now);
    manifest->bytes = manifest->bytes - old + now;
    return true;
}

void *forge_element(forge_file *tensors, const char *name, size_t element, size_t element_bytes) {
    char quoted[600];
    uint64_t header = 0;
    if (tensors->bytes < sizeof header) return NULL;
    memcpy(&header, tensors->data, sizeof header);
    snprintf(quoted, sizeof quoted, "\"%s\":{", name);
    static const char offsets[] = "\"data_offsets\":[";
    char *at = find(tensors, find(tensors, tensors->data, quoted), offsets);
    if (!at || header > tensors->bytes - sizeof header) return NULL;
    const uint64_t first = strtoull(at + sizeof offsets - 1, NULL, 10);
    const uint64_t where = sizeof header + header + first + element * element_bytes;
    return where + element_bytes <= tensors->bytes ? tensors->data + where : NULL;
}
