/* fake_nccl.h - NCCL without a GPU: another definition of nccl_open. It records what it is asked,
 * and in a world of one does it, as work of the fake device's stream. Any call of it may be told to
 * fail, to take its time, or never to be done; and an error may come up by itself. What the library
 * forbids is noted as misuse. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_NCCL_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_NCCL_H

#include "fake_library.h"
#include "kernels/cuda/nccl/nccl_table.h"

typedef struct fake_nccl_state {
    fake_library library; /* live: communicators */
    ncclResult_t code;    /* of a call that fails by plan */
    int looks;            /* calls of ncclCommGetAsyncError until a call is done; -1: never */
    ncclResult_t found;   /* what has come up by itself */
    const char *words;    /* what it says last; NULL: of a peer, where there is a communicator */
    bool missing;         /* the library is not there */
    bool abort_fails;     /* it is done, and gives the code */
    int64_t aborts, finalizes, destroys, collectives;
    int depth; /* of groups */
    int last_type, last_reduction, last_root, blocking;
    size_t last_count;
    char last_call[32];
    unsigned char last_id[NCCL_UNIQUE_ID_BYTES];
} fake_nccl_state;
extern fake_nccl_state fake_nccl;

void fake_nccl_begin(void);

#endif
