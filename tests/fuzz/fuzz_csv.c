/* fuzz_csv.c - [which column is chosen, and as what, 1 byte][the text]. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char *const columns[] = {NULL, "0", "1", "kind"};
    if (bytes < 1) return 0;
    const char *column = columns[data[0] & 3];
    const bool is_class = (data[0] & 4) != 0;
    memory_files files = {.file = {{"t.csv", data + 1, bytes - 1}}, .count = 1};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    const quern_status status =
        quern_dataset_csv(&set, &device,
                          &(quern_csv_desc){.path = "t.csv",
                                            .label_column = is_class ? column : NULL,
                                            .target_column = is_class ? NULL : column});
    fuzz_judge(status, set);
    return 0;
}
