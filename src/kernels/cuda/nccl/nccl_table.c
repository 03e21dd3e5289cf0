#include "nccl_table.h"

#include <stdio.h>
#include <string.h>

/* A call of CUDA that NCCL made has failed: which one its last words say. Memory that is not there
 * loses no device, nor does anything else of one that CUDA still takes calls for. */
static quern_status status_of_cuda(const backend_device *device, const char *own) {
    static const char *const of_device[] = {"out of memory", "CUDA malloc", "CUDA calloc"};
    if (!cuda_device_answers(device)) return QUERN_DEVICE_LOST;
    if (strstr(own, "host alloc") != NULL) return QUERN_HOST_MEMORY;
    for (size_t i = 0; i < sizeof of_device / sizeof of_device[0]; i++)
        if (strstr(own, of_device[i]) != NULL) return QUERN_DEVICE_MEMORY;
    return QUERN_INTERNAL;
}

/* What NCCL cannot do because of the network or of another rank, and what it did not foresee, ends
 * the group: another rank is as good as gone. */
static quern_status status_of(const backend_device *device, ncclResult_t code, const char *own) {
    switch (code) {
    case ncclUnhandledCudaError: return status_of_cuda(device, own);
    case ncclInvalidArgument: return QUERN_INTERNAL;
    case ncclInvalidUsage: return QUERN_INVALID; /* two ranks on one GPU */
    default: return QUERN_PEER_LOST;
    }
}

quern_status nccl_check(backend_device *device, const nccl_table *table, ncclComm_t communicator,
                        ncclResult_t code, const char *call, const char *what) {
    char words[400];
    if (code == ncclSuccess) return QUERN_OK;
    const char *own = table->ncclGetLastError(communicator);
    if (own == NULL) own = "";
    snprintf(words, sizeof words, "%s%s%.300s", table->ncclGetErrorString(code),
             own[0] != 0 ? ": " : "", own);
    return cuda_device_fail(device, status_of(device, code, own), call, (int)code, words, what);
}
