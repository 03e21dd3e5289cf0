#include "cudnn_table.h"

/* Hundreds stand for kinds: 2xxx a bad parameter, 3xxx not supported, 4xxx internal, 5xxx on the
 * device. */
static quern_status status_of(cudnnStatus_t code) {
    if (code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) return QUERN_DEVICE_MEMORY;
    if (code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED) return QUERN_HOST_MEMORY;
    if (code == CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH ||
        code == CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH ||
        code == CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED)
        return QUERN_UNSUPPORTED;
    switch ((int)code / 1000) {
    case 1: return QUERN_DEVICE_LOST; /* not initialized */
    case 3: return QUERN_UNSUPPORTED;
    case 5: return QUERN_DEVICE_LOST;
    default: return QUERN_INTERNAL;
    }
}

quern_status cudnn_check(const cudnn_table *table, cudnnStatus_t code, const char *call,
                         const char *what) {
    if (code == CUDNN_STATUS_SUCCESS) return QUERN_OK;
    char words[400] = "";
    table->cudnnGetLastErrorString(words, sizeof words);
    return cuda_fail(status_of(code), "%s: %s: %s (%d)%s%s", what, call,
                     table->cudnnGetErrorString(code), (int)code, words[0] != 0 ? ": " : "", words);
}
