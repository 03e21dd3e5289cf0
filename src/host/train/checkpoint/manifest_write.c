/* manifest_write.c - the manifest as text, by the library's own bounded writer. */
#include "manifest.h"
#include "../../base/report.h"

#include <inttypes.h>
#include <string.h>

/* An escaped byte takes at most six, a hexadecimal one two. */
size_t manifest_bound(const checkpoint_content *content) {
    size_t bytes = 2048 + strlen(content->configuration) + 6 * strlen(content->algorithms);
    if (content->metric != NULL) bytes += 6 * strlen(content->metric);
    for (int64_t i = 0; i < content->callback_count; i++)
        bytes += 6 * strlen(content->callbacks[i].name) + 2 * content->callbacks[i].bytes + 16;
    return bytes;
}

static void add_bytes(text *t, const uint8_t *data, size_t bytes) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes && t->capacity - t->length > 2; i++) {
        t->data[t->length++] = digits[data[i] >> 4];
        t->data[t->length++] = digits[data[i] & 15];
    }
    t->data[t->length] = '\0';
}

static void add_file(text *t, const char *name, const checkpoint_file *file) {
    text_add(t, "    \"%s\": {\"bytes\": %" PRId64 ", \"xxh3_128\": \"%s\"}", name, file->bytes,
             file->digest);
}

static void add_callbacks(text *t, const checkpoint_content *content) {
    text_add(t, "  \"callbacks\": {");
    for (int64_t i = 0; i < content->callback_count; i++) {
        const checkpoint_callback *callback = &content->callbacks[i];
        text_add(t, i > 0 ? ",\n    " : "\n    ");
        text_add_json_string(t, callback->name);
        text_add(t, ": \"");
        add_bytes(t, callback->data, callback->bytes);
        text_add(t, "\"");
    }
    text_add(t, content->callback_count > 0 ? "\n  },\n" : "},\n");
}

static quern_status add_counters(text *t, const checkpoint_counters *counters) {
#define X(name)                                                                                    \
    if (counters->name < 0)                                                                        \
        return quern_fail(QUERN_INTERNAL, "the counter " #name " is %" PRId64, counters->name);    \
    text_add(t, "  \"" #name "\": %" PRId64 ",\n", counters->name);
    CHECKPOINT_COUNTERS(X)
#undef X
    return QUERN_OK;
}

quern_status manifest_write(text *t, const checkpoint_content *content,
                            const checkpoint_file *model, const checkpoint_file *state) {
    text_add(t, "{\n  \"format\": \"" MANIFEST_FORMAT "\",\n  \"version\": %d,\n",
             MANIFEST_VERSION);
    text_add(t, "  \"library\": \"%d.%d.%d\",\n", MANIFEST_LIBRARY);
    QUERN_TRY(add_counters(t, &content->counters));
    text_add(t, "  \"seed\": \"%" PRIu64 "\",\n", content->seed); /* JSON readers stop at 2^53 */
    text_add(t, "  \"metric\": {\"name\": ");
    text_add_json_string(t, content->metric != NULL ? content->metric : "");
    text_add(t, ", \"value\": ");
    text_add_json_number(t, content->metric_value);
    text_add(t, "},\n  \"configuration\": %s,\n", content->configuration);
    text_add(t, "  \"algorithms\": ");
    text_add_json_string(t, content->algorithms);
    text_add(t, ",\n");
    add_callbacks(t, content);
    text_add(t, "  \"files\": {\n");
    add_file(t, MODEL_FILE, model);
    text_add(t, ",\n");
    add_file(t, STATE_FILE, state);
    text_add(t, "\n  },\n");
    char whole[DIGEST_TEXT];
    digest_of(t->data, t->length, whole);
    text_add(t, "  \"digest\": \"%s\"\n}\n", whole);
    if (t->overflow) return quern_fail(QUERN_INTERNAL, "a manifest outgrew its bound");
    return QUERN_OK;
}
