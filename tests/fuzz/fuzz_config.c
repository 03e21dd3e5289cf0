/* fuzz_config.c - the bytes are the command's YAML file. */
#include "../../tools/quern/config.h"
#include "../../tools/quern/options.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const char *texts[OPTION_COUNT] = {0};
    void *values = NULL;
    const quern_status status = config_parse(&values, "x.yaml", data, bytes, texts);
    const bool expected = status == QUERN_OK || status == QUERN_INVALID || status == QUERN_INPUT;
    if (!expected || (status != QUERN_OK && quern_error()[0] == '\0')) abort();
    config_release(values);
    return 0;
}
