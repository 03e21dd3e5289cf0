/* nccl_group.h - one rank's part of an NCCL communicator.
 *
 * The communicator is non-blocking: no call of it waits for other ranks, so that a rank that is
 * gone cannot hang this one. What NCCL still has to do on the host after a call is waited for by
 * looking, with the group's limit. Every call that touches the communicator is made under the lock,
 * because an abort may come from another thread and frees it. */
#ifndef QUERN_KERNELS_CUDA_NCCL_GROUP_H
#define QUERN_KERNELS_CUDA_NCCL_GROUP_H

#include "../../collectives.h"
#include "../device/device.h"
#include "nccl_table.h"

#include <pthread.h>

struct collective_group {
    nccl_table nccl;
    backend_device *device;
    int32_t rank, size;
    int64_t timeout_ns;
    uint64_t sequence; /* collectives so far */
    void *token;       /* device memory: what a barrier sums */
    pthread_mutex_t lock;
    ncclComm_t communicator; /* NULL: aborted, or never made */
    /* the first failure, under the lock */
    quern_status status;
    char sentence[CUDA_SENTENCE_BYTES];
};

/* OK once NCCL has nothing left to do on the host after a call that returned `code`; else the
 * group's failure, which it keeps. `what` is for the sentence. */
QUERN_MUST_CHECK quern_status nccl_settle(collective_group *group, ncclResult_t code,
                                          const char *call, const char *what);
/* The first failure again, or OK. */
QUERN_MUST_CHECK quern_status nccl_group_status(collective_group *group);

quern_status nccl_all_reduce(const quern_kernel_args *args);
quern_status nccl_reduce_scatter(const quern_kernel_args *args);
quern_status nccl_all_gather(const quern_kernel_args *args);
quern_status nccl_broadcast(const quern_kernel_args *args);
quern_status nccl_barrier(const quern_kernel_args *args);

#endif
