/* fuzz.h - what a fuzz target defines, and what the data targets share. */
#ifndef QUERN_TESTS_FUZZ_FUZZ_H
#define QUERN_TESTS_FUZZ_FUZZ_H

#include "../../src/host/data/dataset.h"
#include "../data/memory_files.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A set that opened must hold what it says; one that did not must say why. */
static inline void fuzz_judge(quern_status status, quern_dataset *set) {
    if ((status == QUERN_OK) != (set != NULL)) abort();
    if (status != QUERN_OK) {
        if (status != QUERN_INPUT || quern_error()[0] == '\0') abort();
        return;
    }
    for (int32_t f = 0; f < set->field_count; f++)
        if (field_check_values("fuzz", &set->fields[f], set->data[f], 0, set->length) != QUERN_OK)
            abort();
    quern_dataset_destroy(set);
}

#endif
