/* nccl_group.c - joining, watching, leaving and aborting a group of GPUs. */
#include "nccl_group.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* How often NCCL is asked whether it is ready. */
#define PAUSE_NS 20000L

static int64_t now_of(const collective_group *g) {
    const quern_clock *clock = &cuda_device_host(g->device)->clock;
    return clock->monotonic_ns(clock->self);
}

/* Under the lock: keeps this thread's sentence as the group's. */
static quern_status keep(collective_group *g, quern_status status) {
    if (g->status != QUERN_OK || status == QUERN_OK) return status;
    g->status = status;
    snprintf(g->sentence, sizeof g->sentence, "%s", cuda_services()->error());
    return status;
}

static quern_status say_again(const collective_group *g) {
    return g->status == QUERN_OK ? QUERN_OK : cuda_fail(g->status, "%s", g->sentence);
}

/* Under the lock. An error that NCCL found by itself comes out of here too. */
static quern_status look(collective_group *g, const char *call, const char *what, bool *done) {
    ncclResult_t found = ncclSuccess;
    *done = true;
    if (g->status != QUERN_OK) return say_again(g);
    QUERN_TRY(keep(g, device_status(g->device)));
    const ncclResult_t asked = g->nccl.ncclCommGetAsyncError(g->communicator, &found);
    if (asked != ncclSuccess)
        return keep(g, nccl_check(g->device, &g->nccl, g->communicator, asked,
                                  "ncclCommGetAsyncError", what));
    *done = found != ncclInProgress;
    return *done ? keep(g, nccl_check(g->device, &g->nccl, g->communicator, found, call, what))
                 : QUERN_OK;
}

static quern_status look_again(collective_group *g, int64_t deadline, const char *call,
                               const char *what, bool *done) {
    pthread_mutex_lock(&g->lock);
    quern_status status = look(g, call, what, done);
    if (status == QUERN_OK && !*done && now_of(g) > deadline)
        status = keep(g, cuda_fail(QUERN_PEER_LOST,
                                   "%s: %s is not done after %.3g s on CUDA device %d (%s)", what,
                                   call, (double)g->timeout_ns / 1e9,
                                   (int)cuda_device_index(g->device), cuda_device_name(g->device)));
    pthread_mutex_unlock(&g->lock);
    return status;
}

quern_status nccl_settle(collective_group *g, ncclResult_t code, const char *call,
                         const char *what) {
    const int64_t deadline = now_of(g) + g->timeout_ns;
    if (code != ncclSuccess && code != ncclInProgress) {
        pthread_mutex_lock(&g->lock);
        quern_status status = say_again(g); /* an abort may have been the reason */
        if (status == QUERN_OK)
            status = keep(g, nccl_check(g->device, &g->nccl, g->communicator, code, call, what));
        pthread_mutex_unlock(&g->lock);
        return status;
    }
    for (bool done = false;;) {
        QUERN_TRY(look_again(g, deadline, call, what, &done));
        if (done) return QUERN_OK;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
}

quern_status nccl_group_status(collective_group *g) {
    bool done;
    char what[64];
    snprintf(what, sizeof what, "rank %d of %d", (int)g->rank, (int)g->size);
    int previous;
    QUERN_TRY(device_enter(g->device, &previous));
    pthread_mutex_lock(&g->lock);
    const quern_status status = look(g, "a collective", what, &done);
    pthread_mutex_unlock(&g->lock);
    device_leave(g->device, previous);
    return status;
}

static quern_status cuda_identify(backend_device *device, collective_id *out) {
    nccl_table nccl;
    ncclUniqueId id;
    int previous;
    QUERN_TRY(nccl_open(&nccl));
    quern_status status = device_enter(device, &previous);
    if (status == QUERN_OK)
        status = nccl_check(device, &nccl, NULL, nccl.ncclGetUniqueId(&id), "ncclGetUniqueId",
                            "making the id of a world");
    device_leave(device, previous);
    QUERN_TRY(status);
    _Static_assert(sizeof id == sizeof out->bytes, "an id of NCCL's is what ranks exchange");
    memcpy(out->bytes, &id, sizeof id);
    return QUERN_OK;
}

static quern_status make_communicator(collective_group *g, const collective_join *desc) {
    ncclUniqueId id;
    char what[64];
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    memcpy(&id, desc->id.bytes, sizeof id);
    snprintf(what, sizeof what, "rank %d of %d, joining", (int)g->rank, (int)g->size);
    const ncclResult_t code =
        g->nccl.ncclCommInitRankConfig(&g->communicator, g->size, id, g->rank, &config);
    if (code != ncclSuccess && code != ncclInProgress)
        return nccl_check(g->device, &g->nccl, NULL, code, "ncclCommInitRankConfig", what);
    return nccl_settle(g, code, "ncclCommInitRankConfig", what);
}

static quern_status join_here(collective_group *g, const collective_join *desc) {
    int previous;
    QUERN_TRY(nccl_open(&g->nccl));
    quern_status status = device_enter(g->device, &previous);
    if (status == QUERN_OK)
        status = CHECKED(g->device, "joining a group of ranks", cudaMalloc,
                         (&g->token, sizeof(int32_t)));
    if (status == QUERN_OK) status = make_communicator(g, desc);
    device_leave(g->device, previous);
    return status;
}

/* Also on a device that cannot be entered. */
static quern_status abort_here(const collective_group *g) {
    int previous;
    const quern_status entered = device_enter(g->device, &previous);
    const quern_status status =
        nccl_check(g->device, &g->nccl, NULL, g->nccl.ncclCommAbort(g->communicator),
                   "ncclCommAbort", "leaving");
    device_leave(g->device, previous);
    return status == QUERN_OK ? entered : status;
}

/* What is under way on this rank ends; the streams go on without its result. The application's
 * thread may have another device as the current one. */
static void cuda_abort(collective_group *g) {
    pthread_mutex_lock(&g->lock);
    if (g->communicator != NULL) TORN_DOWN_AS(g->device, abort_here(g));
    g->communicator = NULL;
    if (g->status == QUERN_OK) {
        g->status = QUERN_PEER_LOST;
        snprintf(g->sentence, sizeof g->sentence, "rank %d of %d was aborted", (int)g->rank,
                 (int)g->size);
    }
    pthread_mutex_unlock(&g->lock);
}

/* In order: finalizing lets issued work run to its end. */
static quern_status part_in_order(collective_group *g) {
    QUERN_TRY(device_status(g->device));
    QUERN_TRY(
        nccl_settle(g, g->nccl.ncclCommFinalize(g->communicator), "ncclCommFinalize", "leaving"));
    QUERN_TRY(nccl_check(g->device, &g->nccl, NULL, g->nccl.ncclCommDestroy(g->communicator),
                         "ncclCommDestroy", "leaving"));
    g->communicator = NULL;
    return QUERN_OK;
}

static void part(collective_group *g) {
    if (g->status == QUERN_OK && g->communicator != NULL) TORN_DOWN_AS(g->device, part_in_order(g));
    cuda_abort(g);
}

static void cuda_leave(collective_group *g) {
    char before[CUDA_SENTENCE_BYTES];
    int previous;
    if (g == NULL) return;
    snprintf(before, sizeof before, "%s", cuda_services()->error());
    const quern_status entered = device_enter(g->device, &previous);
    part(g);
    if (g->token != NULL) TORN_DOWN(g->device, cudaFree, (g->token));
    device_leave(g->device, previous);
    (void)cuda_fail(entered, "%s", before);
    pthread_mutex_destroy(&g->lock);
    cuda_services()->release(cuda_device_host(g->device), g, 1, sizeof *g);
}

static quern_status cuda_join(collective_group **out, backend_device *device,
                              const collective_join *desc) {
    collective_group *g;
    *out = NULL;
    QUERN_TRY(
        cuda_services()->allocate(cuda_device_host(device), &g, 1, sizeof *g, "a group of ranks"));
    g->device = device;
    g->rank = desc->rank, g->size = desc->size;
    g->timeout_ns = desc->timeout_ns;
    pthread_mutex_init(&g->lock, NULL); /* which cannot fail without attributes */
    const quern_status status = join_here(g, desc);
    if (status == QUERN_OK)
        *out = g;
    else
        cuda_leave(g);
    return status;
}

const collectives cuda_collectives = {
    .name = "NCCL",
    .identify = cuda_identify,
    .join = cuda_join,
    .leave = cuda_leave,
    .status = nccl_group_status,
    .abort = cuda_abort,
    .run =
        {
#define X(name) [COLLECTIVE_##name] = nccl_##name,
            COLLECTIVE_LIST(X)
#undef X
        },
};
