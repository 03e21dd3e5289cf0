/* nccl_run.c - the collectives as calls of NCCL on the stream that they are given.
 *
 * Deterministic: NCCL adds in the order of the rings and trees that it found when the group was
 * made; the same machine and world size give the same bits. In a capture the launches are recorded
 * like any other. */
#include "nccl_group.h"

#include <stdio.h>

static const ncclDataType_t types[QUERN_DTYPE_COUNT] = {
    [QUERN_F32] = ncclFloat32, [QUERN_F64] = ncclFloat64, [QUERN_BF16] = ncclBfloat16,
    [QUERN_F16] = ncclFloat16, [QUERN_I32] = ncclInt32,   [QUERN_I64] = ncclInt64,
    [QUERN_U8] = ncclUint8,
};

static const char *const names[QUERN_DTYPE_COUNT] = {
#define X(name, bytes, text) [QUERN_##name] = text,
    QUERN_DTYPE_LIST(X)
#undef X
};

static const ncclRedOp_t reductions[COLLECTIVE_REDUCTION_COUNT] = {
    [COLLECTIVE_SUM] = ncclSum, [COLLECTIVE_MEAN] = ncclAvg, [COLLECTIVE_MAX] = ncclMax};

typedef struct call {
    collective_group *group;
    const collective_call *how;
    cudaStream_t stream;
    const void *in;
    void *out;
    size_t in_count, out_count;
    quern_dtype dtype;
} call;

static ncclResult_t all_reduce(const call *c) {
    return c->group->nccl.ncclAllReduce(c->in, c->out, c->in_count, types[c->dtype],
                                        reductions[c->how->reduction], c->group->communicator,
                                        c->stream);
}

static ncclResult_t reduce_scatter(const call *c) {
    return c->group->nccl.ncclReduceScatter(c->in, c->out, c->out_count, types[c->dtype],
                                            reductions[c->how->reduction], c->group->communicator,
                                            c->stream);
}

static ncclResult_t all_gather(const call *c) {
    return c->group->nccl.ncclAllGather(c->in, c->out, c->in_count, types[c->dtype],
                                        c->group->communicator, c->stream);
}

static ncclResult_t broadcast(const call *c) {
    return c->group->nccl.ncclBroadcast(c->in, c->out, c->out_count, types[c->dtype], c->how->root,
                                        c->group->communicator, c->stream);
}

typedef struct kind {
    const char *name, *call;
    ncclResult_t (*one)(const call *c);
} kind;
static const kind all_reduces = {"all_reduce", "ncclAllReduce", all_reduce};
static const kind reduce_scatters = {"reduce_scatter", "ncclReduceScatter", reduce_scatter};
static const kind all_gathers = {"all_gather", "ncclAllGather", all_gather};
static const kind broadcasts = {"broadcast", "ncclBroadcast", broadcast};

static call call_of(const quern_kernel_args *args, int32_t i) {
    const collective_call *how = args->attributes;
    return (call){
        .group = how->group,
        .how = how,
        .stream = cuda_stream_handle(args->stream),
        .in = args->in[i].data,
        .out = args->out[i].data,
        .in_count = (size_t)args->in[i].count,
        .out_count = (size_t)args->out[i].count,
        .dtype = args->out[i].dtype,
    };
}

static bool is_well(ncclResult_t code) { return code == ncclSuccess || code == ncclInProgress; }

/* Under the lock. A group that was opened is closed whatever happened in it. */
static ncclResult_t issue(const kind *k, const quern_kernel_args *args, const char **failed) {
    const nccl_table *nccl = &((const collective_call *)args->attributes)->group->nccl;
    *failed = "ncclGroupStart";
    ncclResult_t code = nccl->ncclGroupStart();
    if (code != ncclSuccess) return code;
    for (int32_t i = 0; i < args->input_count && is_well(code); i++) {
        const call c = call_of(args, i);
        *failed = k->call;
        code = k->one(&c);
    }
    const ncclResult_t ended = nccl->ncclGroupEnd();
    if (!is_well(code) || is_well(ended)) return is_well(code) ? ended : code;
    *failed = "ncclGroupEnd";
    return ended;
}

static quern_status run(const quern_kernel_args *args, const kind *k) {
    collective_group *g = ((const collective_call *)args->attributes)->group;
    char what[160];
    const char *failed = k->call;
    const quern_view *first = &args->out[0];
    g->sequence++;
    snprintf(what, sizeof what, "rank %d of %d, %s %llu (%lld %s%s)", (int)g->rank, (int)g->size,
             k->name, (unsigned long long)g->sequence, (long long)first->count, names[first->dtype],
             args->input_count > 1 ? " and more" : "");
    pthread_mutex_lock(&g->lock);
    const bool usable = g->status == QUERN_OK && g->communicator != NULL;
    const ncclResult_t code = usable ? issue(k, args, &failed) : ncclInProgress;
    pthread_mutex_unlock(&g->lock);
    return nccl_settle(g, code, failed, what);
}

quern_status nccl_all_reduce(const quern_kernel_args *args) { return run(args, &all_reduces); }
quern_status nccl_reduce_scatter(const quern_kernel_args *args) {
    return run(args, &reduce_scatters);
}
quern_status nccl_all_gather(const quern_kernel_args *args) { return run(args, &all_gathers); }
quern_status nccl_broadcast(const quern_kernel_args *args) { return run(args, &broadcasts); }

/* NCCL has no barrier: the sum of one number of every rank is one. */
quern_status nccl_barrier(const quern_kernel_args *args) {
    static const kind barriers = {"barrier", "ncclAllReduce", all_reduce};
    const collective_call *asked = args->attributes;
    const collective_call how = {.group = asked->group, .reduction = COLLECTIVE_MAX};
    const quern_view token = {.data = how.group->token, .count = 1, .dtype = QUERN_I32};
    const quern_kernel_args sum = {.attributes = &how,
                                   .in = &token,
                                   .out = &token,
                                   .input_count = 1,
                                   .output_count = 1,
                                   .stream = args->stream};
    return run(&sum, &barriers);
}
