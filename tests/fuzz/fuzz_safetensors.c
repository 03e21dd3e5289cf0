/* fuzz_safetensors.c - the bytes are one safetensors file. */
#include "fuzz.h"

#include <quern/safetensors.h>

/* Every byte that an entry claims is read, so that a lie shows under ASan. */
static unsigned touch(const quern_safetensors *file) {
    const quern_safetensors_entry *entries = NULL;
    const int64_t count = quern_safetensors_entries(file, &entries);
    unsigned sum = 0;
    for (int64_t i = 0; i < count; i++)
        for (size_t k = 0; k < entries[i].bytes; k++) sum += ((const uint8_t *)entries[i].data)[k];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    memory_files files = {.count = 0};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_safetensors *file = NULL;
    const quern_status status = quern_safetensors_parse(&file, &device, "x", data, bytes);
    if ((status == QUERN_OK) != (file != NULL)) abort();
    if (status != QUERN_OK && (status != QUERN_INPUT || quern_error()[0] == '\0')) abort();
    volatile unsigned sum = file ? touch(file) : 0;
    (void)sum;
    quern_safetensors_destroy(file);
    return 0;
}
