#include "nccl_table.h"

#include <stdio.h>

/* What NCCL cannot do because of the network or of another rank, and what it did not foresee, ends
 * the group: another rank is as good as gone. */
static quern_status status_of(ncclResult_t code) {
    switch (code) {
    case ncclUnhandledCudaError: return QUERN_DEVICE_LOST;
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
    const bool has_own = own != NULL && own[0] != 0;
    snprintf(words, sizeof words, "%s%s%.300s", table->ncclGetErrorString(code),
             has_own ? ": " : "", has_own ? own : "");
    return cuda_device_fail(device, status_of(code), call, (int)code, words, what);
}
