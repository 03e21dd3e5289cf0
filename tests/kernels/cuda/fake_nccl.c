#include "fake_nccl.h"

#include "fake_device.h"

#include <stdio.h>
#include <string.h>

fake_nccl_state fake_nccl;

struct ncclComm {
    int rank, size, looks;
    bool finalized;
};
static struct ncclComm communicators[16];

void fake_nccl_begin(void) {
    memset(communicators, 0, sizeof communicators);
    fake_nccl = (fake_nccl_state){.code = ncclSystemError};
}

static fake_library *own(void) { return &fake_nccl.library; }

static ncclResult_t failure(void) {
    if (fake_nccl.code == ncclUnhandledCudaError) (void)fake_library_is_lost(own());
    return fake_nccl.code;
}

static void note(const char *call) {
    snprintf(fake_nccl.last_call, sizeof fake_nccl.last_call, "%s", call);
}

static bool is_alive(ncclComm_t c, const char *call) {
    const bool alive = c != NULL && c->size > 0;
    if (!alive) fake_library_misuse(own(), "%s on a communicator that is not there", call);
    return alive;
}

static ncclResult_t begun(ncclComm_t c) {
    c->looks = fake_nccl.looks;
    return c->looks != 0 ? ncclInProgress : ncclSuccess;
}

static ncclResult_t get_version(int *version) {
    *version = 22809;
    return ncclSuccess;
}

static ncclResult_t get_unique_id(ncclUniqueId *out) {
    if (fake_library_enter(own())) return failure();
    for (int i = 0; i < NCCL_UNIQUE_ID_BYTES; i++) out->internal[i] = (char)(i + 1);
    return ncclSuccess;
}

static const char *get_error_string(ncclResult_t code) {
    return code == ncclRemoteError ? "remote process exited or there was a network error"
                                   : "some error";
}

static const char *get_last_error(ncclComm_t c) {
    if (fake_nccl.words != NULL) return fake_nccl.words;
    return c == NULL ? "" : "socketProgress: connection closed by remote peer";
}

static ncclResult_t init(ncclComm_t *out, int size, ncclUniqueId id, int rank,
                         ncclConfig_t *config) {
    *out = NULL;
    if (fake_library_enter(own())) return failure();
    if (rank < 0 || rank >= size) fake_library_misuse(own(), "rank %d of %d", rank, size);
    fake_nccl.blocking = config->blocking;
    memcpy(fake_nccl.last_id, id.internal, sizeof fake_nccl.last_id);
    for (size_t i = 0; i < sizeof communicators / sizeof communicators[0]; i++)
        if (communicators[i].size == 0) {
            communicators[i] = (struct ncclComm){.rank = rank, .size = size};
            *out = &communicators[i];
            own()->live++;
            return begun(*out);
        }
    return ncclInternalError;
}

static ncclResult_t finalize(ncclComm_t c) {
    if (!is_alive(c, "ncclCommFinalize")) return ncclInvalidArgument;
    if (fake_library_enter(own())) return failure();
    if (c->finalized) fake_library_misuse(own(), "finalized twice");
    c->finalized = true;
    fake_nccl.finalizes++;
    return begun(c);
}

static ncclResult_t release(ncclComm_t c) {
    memset(c, 0, sizeof *c);
    own()->live--;
    return ncclSuccess;
}

static ncclResult_t destroy(ncclComm_t c) {
    if (!is_alive(c, "ncclCommDestroy")) return ncclInvalidArgument;
    if (fake_library_enter(own())) return failure();
    if (!c->finalized) fake_library_misuse(own(), "destroyed before it was finalized");
    fake_nccl.destroys++;
    return release(c);
}

static ncclResult_t abort_all(ncclComm_t c) {
    if (!is_alive(c, "ncclCommAbort")) return ncclInvalidArgument;
    fake_nccl.aborts++;
    (void)release(c);
    return fake_nccl.abort_fails ? fake_nccl.code : ncclSuccess;
}

static ncclResult_t get_async_error(ncclComm_t c, ncclResult_t *out) {
    if (!is_alive(c, "ncclCommGetAsyncError")) return ncclInvalidArgument;
    if (fake_library_enter(own())) return failure();
    *out = fake_nccl.found;
    if (*out != ncclSuccess || c->looks == 0) return ncclSuccess;
    if (c->looks > 0) c->looks--;
    *out = ncclInProgress;
    return ncclSuccess;
}

static ncclResult_t group_start(void) {
    if (fake_library_enter(own())) return failure();
    fake_nccl.depth++;
    return ncclSuccess;
}

static ncclResult_t group_end(void) {
    if (fake_nccl.depth-- <= 0) fake_library_misuse(own(), "a group that was not opened ends");
    if (own()->forbidden) return fake_nccl.code; /* what was opened has to be closed */
    return fake_library_enter(own()) ? failure() : ncclSuccess;
}

static void run_copy(dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    (void)grid, (void)block, (void)shared_bytes;
    memmove(*(void **)arguments[0], *(const void **)arguments[1], *(const size_t *)arguments[2]);
}
static const fake_kernel copy_kernel = {
    FAKE_KERNEL_MAGIC, "nccl", 3, {sizeof(void *), sizeof(void *), sizeof(size_t)}, run_copy};

static size_t bytes_of(ncclDataType_t type) {
    switch (type) {
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt64:
    case ncclFloat64: return 8;
    default: return 4;
    }
}

/* What one rank alone gets: its own. */
static ncclResult_t collect(const char *call, const void *in, void *out, size_t count,
                            ncclDataType_t type, int reduction, int root, ncclComm_t c,
                            cudaStream_t stream) {
    if (!is_alive(c, call)) return ncclInvalidArgument;
    if (fake_library_enter(own())) return failure();
    note(call);
    fake_nccl.last_type = (int)type, fake_nccl.last_reduction = reduction;
    fake_nccl.last_root = root, fake_nccl.last_count = count;
    fake_nccl.collectives++;
    size_t bytes = count * bytes_of(type);
    void *arguments[] = {&out, &in, &bytes};
    if (c->size == 1 && cuda_driver.cudaLaunchKernel(&copy_kernel, (dim3){1, 1, 1}, (dim3){1, 1, 1},
                                                     arguments, 0, stream) != cudaSuccess)
        return ncclUnhandledCudaError;
    return begun(c);
}

static ncclResult_t all_reduce(const void *in, void *out, size_t count, ncclDataType_t type,
                               ncclRedOp_t reduction, ncclComm_t c, cudaStream_t stream) {
    return collect("ncclAllReduce", in, out, count, type, (int)reduction, -1, c, stream);
}

static ncclResult_t reduce_scatter(const void *in, void *out, size_t count, ncclDataType_t type,
                                   ncclRedOp_t reduction, ncclComm_t c, cudaStream_t stream) {
    return collect("ncclReduceScatter", in, out, count, type, (int)reduction, -1, c, stream);
}

static ncclResult_t all_gather(const void *in, void *out, size_t count, ncclDataType_t type,
                               ncclComm_t c, cudaStream_t stream) {
    return collect("ncclAllGather", in, out, count, type, -1, -1, c, stream);
}

static ncclResult_t broadcast(const void *in, void *out, size_t count, ncclDataType_t type,
                              int root, ncclComm_t c, cudaStream_t stream) {
    return collect("ncclBroadcast", in, out, count, type, -1, root, c, stream);
}

quern_status nccl_open(nccl_table *out) {
    if (fake_nccl.missing) return cuda_fail(QUERN_UNSUPPORTED, "libnccl.so.2 cannot be loaded");
    *out = (nccl_table){
        .ncclGetVersion = get_version,
        .ncclGetUniqueId = get_unique_id,
        .ncclGetErrorString = get_error_string,
        .ncclGetLastError = get_last_error,
        .ncclCommInitRankConfig = init,
        .ncclCommFinalize = finalize,
        .ncclCommDestroy = destroy,
        .ncclCommAbort = abort_all,
        .ncclCommGetAsyncError = get_async_error,
        .ncclGroupStart = group_start,
        .ncclGroupEnd = group_end,
        .ncclAllReduce = all_reduce,
        .ncclReduceScatter = reduce_scatter,
        .ncclAllGather = all_gather,
        .ncclBroadcast = broadcast,
    };
    return QUERN_OK;
}
