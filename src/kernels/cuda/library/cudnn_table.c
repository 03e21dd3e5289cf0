#include "cudnn_table.h"

#include <stdio.h>

/* Thousands stand for kinds: 1xxx not initialized, which is also what a device without memory is
 * told, 2xxx a bad parameter, 3xxx not supported, 4xxx internal, 5xxx on the device: an engine that
 * could not be loaded, if the device is well. */
static quern_status status_of(const backend_device *device, cudnnStatus_t code) {
    if (code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) return QUERN_DEVICE_MEMORY;
    if (code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED) return QUERN_HOST_MEMORY;
    if (code == CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH ||
        code == CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH ||
        code == CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED)
        return QUERN_UNSUPPORTED;
    if (code == CUDNN_STATUS_SUCCESS) return QUERN_OK;
    switch ((int)code / 1000) {
    case 3: return QUERN_UNSUPPORTED;
    case 1:
    case 5: return cuda_device_answers(device) ? QUERN_INTERNAL : QUERN_DEVICE_LOST;
    default: return QUERN_INTERNAL;
    }
}

static quern_status fail(backend_device *device, const cudnn_table *table, quern_status status,
                         cudnnStatus_t code, const char *call, const char *what) {
    char own[300] = "", words[400];
    table->cudnnGetLastErrorString(own, sizeof own);
    snprintf(words, sizeof words, "%s%s%s", table->cudnnGetErrorString(code),
             own[0] != 0 ? ": " : "", own);
    return cuda_device_fail(device, status, call, (int)code, words, what);
}

quern_status cudnn_check(backend_device *device, const cudnn_table *table, cudnnStatus_t code,
                         const char *call, const char *what) {
    const quern_status status = status_of(device, code);
    return status == QUERN_OK ? QUERN_OK : fail(device, table, status, code, call, what);
}

quern_status cudnn_ask(backend_device *device, const cudnn_table *table, cudnnStatus_t code,
                       const char *call, const char *what, bool *yes) {
    const quern_status status = status_of(device, code);
    *yes = status == QUERN_OK;
    if (*yes || status == QUERN_UNSUPPORTED || status == QUERN_INTERNAL) return QUERN_OK;
    return fail(device, table, status, code, call, what);
}
