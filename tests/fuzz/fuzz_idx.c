/* fuzz_idx.c - [length, 2 bytes][that many bytes of the images' file][the labels' file]; either may
 * be gzip. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes < 2) return 0;
    size_t images = (size_t)data[0] | (size_t)data[1] << 8;
    if (images > bytes - 2) images = bytes - 2;
    memory_files files = {
        .file = {{"images", data + 2, images}, {"labels", data + 2 + images, bytes - 2 - images}},
        .count = 2};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    const quern_status status =
        quern_dataset_idx(&set, &device, &(quern_idx_desc){.images = "images", .labels = "labels"});
    fuzz_judge(status, set);
    return 0;
}
