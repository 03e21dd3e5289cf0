/* fuzz_npy.c - the bytes are one .npy file. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    memory_files files = {.file = {{"x.npy", bytes > 0 ? data : (const uint8_t *)"", bytes}},
                          .count = 1};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    const quern_status status = quern_dataset_npy(
        &set, &device, &(quern_npy_desc){.field_count = 1, .names = {"x"}, .paths = {"x.npy"}});
    fuzz_judge(status, set);
    return 0;
}
