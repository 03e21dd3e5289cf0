/* fuzz_configuration.c - the bytes are two configurations, with a zero byte between them. */
#include "fuzz.h"

#include <quern/checkpoint.h>

#include <string.h>

static void visit(void *context, const quern_checkpoint_change *change) {
    bool *exact = context;
    if (change->key == NULL || strstr(change->sentence, change->key) == NULL) abort();
    if (change->another_run && change->exact) abort();
    *exact = *exact && change->exact;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char *texts = malloc(bytes + 2);
    if (texts == NULL) return 0;
    if (bytes > 0) memcpy(texts, data, bytes);
    texts[bytes] = texts[bytes + 1] = '\0';
    bool exact = false, expected = true;
    const quern_status status =
        quern_checkpoint_compare(texts, texts + strlen(texts) + 1, &exact, visit, &expected);
    if (status != QUERN_OK && (status != QUERN_INPUT || quern_error()[0] == '\0' || exact)) abort();
    if (status == QUERN_OK && exact != expected) abort();
    free(texts);
    return 0;
}
