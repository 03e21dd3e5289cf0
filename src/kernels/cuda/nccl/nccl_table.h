/* nccl_table.h - the functions of NCCL that this module calls, as one table. The library (218 MB)
 * is loaded when the first world is made. The tests link another definition of nccl_open. */
#ifndef QUERN_KERNELS_CUDA_NCCL_TABLE_H
#define QUERN_KERNELS_CUDA_NCCL_TABLE_H

#include "../cuda.h"

#include <nccl.h>

/* clang-format off */
#define NCCL_LIST(X)                                                                               \
    X(ncclGetVersion) X(ncclGetUniqueId) X(ncclGetErrorString) X(ncclGetLastError)                 \
    X(ncclCommInitRankConfig) X(ncclCommFinalize) X(ncclCommDestroy) X(ncclCommAbort)              \
    X(ncclCommGetAsyncError) X(ncclGroupStart) X(ncclGroupEnd)                                     \
    X(ncclAllReduce) X(ncclReduceScatter) X(ncclAllGather) X(ncclBroadcast)
/* clang-format on */

typedef struct nccl_table {
#define X(name) __typeof__(name) *name;
    NCCL_LIST(X)
#undef X
} nccl_table;

/* Fills the table. UNSUPPORTED when the library or one of the functions is missing. */
QUERN_MUST_CHECK quern_status nccl_open(nccl_table *out);

/* OK, or a status with a sentence, as cuda_check gives it, and what the library said last. The
 * device is the current one. */
QUERN_MUST_CHECK quern_status nccl_check(backend_device *device, const nccl_table *table,
                                         ncclComm_t communicator, ncclResult_t code,
                                         const char *call, const char *what);

#endif
