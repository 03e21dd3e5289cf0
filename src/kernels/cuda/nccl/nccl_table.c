#include "nccl_table.h"

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

quern_status nccl_check(const nccl_table *table, ncclComm_t communicator, ncclResult_t code,
                        const char *call, const char *what) {
    if (code == ncclSuccess) return QUERN_OK;
    const char *words = table->ncclGetLastError(communicator);
    const bool has_words = words != NULL && words[0] != 0;
    return cuda_fail(status_of(code), "%s: %s: %s (%d)%s%.400s", what, call,
                     table->ncclGetErrorString(code), (int)code, has_words ? ": " : "",
                     has_words ? words : "");
}
