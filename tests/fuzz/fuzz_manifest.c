/* fuzz_manifest.c - the bytes are a manifest: as they are, and with the digest that would make them
 * a whole one, since no search finds that. */
#include "../../src/host/train/checkpoint/algorithms.h"
#include "../../src/host/train/checkpoint/manifest.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

/* A record against itself and against another: what is the same is no difference. */
static void compare(const char *record) {
    static const char other[] = "cublasLt 1; GPU; product\t00\ncudnn 2; GPU; conv2d\tnone\n";
    if (!algorithms_are_whole(record)) return;
    const algorithms_difference same = algorithms_compare(record, record);
    const algorithms_difference d = algorithms_compare(other, record);
    if (record[0] != '\0' && strchr(record, '\n') == NULL) abort();
    /* of two lines with one key the first counts */
    if (same.foreign != 0 || same.added != 0 || (d.key != NULL && d.key_length == 0)) abort();
}

static void parse(const quern_host *host, const void *data, size_t bytes) {
    manifest m;
    bool as_written;
    const quern_status status = manifest_parse(&m, host, data, bytes, &as_written);
    if (status != QUERN_OK) {
        if (status != QUERN_INPUT && status != QUERN_UNSUPPORTED) abort();
        if (quern_error()[0] == '\0') abort();
        return;
    }
    const checkpoint_content *c = &m.content;
    if (c->counters.step < 0 || c->configuration[0] != '{') abort();
    compare(c->algorithms);
    volatile uint8_t sum = 0;
    for (int64_t i = 0; i < c->callback_count; i++)
        for (size_t k = 0; k < c->callbacks[i].bytes; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)c->callbacks[i].data)[k]);
    manifest_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    memory_files files = {.count = 0};
    const quern_host host = memory_files_host(&files);
    parse(&host, data, bytes);
    char *whole = malloc(bytes + 64), digest_text[DIGEST_TEXT];
    if (whole == NULL) return 0;
    if (bytes > 0) memcpy(whole, data, bytes);
    digest_of(whole, bytes, digest_text);
    const int tail = snprintf(whole + bytes, 64, "  \"digest\": \"%s\"\n}\n", digest_text);
    parse(&host, whole, bytes + (size_t)tail);
    free(whole);
    return 0;
}
