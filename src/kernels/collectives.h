/* collectives.h - what ranks do together: one const table for each backend.
 *
 * A rank is a process, or a thread, with a device of its own; `size` ranks make a group. A
 * collective is a kernel function like any other: it is issued to a stream with the backend's
 * `call`, runs in the stream's order, is recorded by a capture, and its failure sticks to the
 * stream. Its args->attributes is a collective_call. All ranks issue the same collectives, with the
 * same counts, dtypes, reductions and roots, in the same order. One call may take several tensors,
 * in[i] to out[i] for i < input_count: they are done as if one after the other, and where the
 * library can, at once.
 *
 *   all_reduce      out[i] = in[i] reduced over the ranks; the same bits on each
 *   reduce_scatter  in[i] is `size` parts of out[i].count elements: out = part `rank`, reduced
 *   all_gather      out[i] is `size` parts of in[i].count elements: part r = rank r's in
 *   broadcast       out[i] = rank root's in[i]; the other ranks' in is not read
 *   barrier         takes no tensors: what is behind it runs when all ranks have come to it
 *
 * Views are contiguous. In place is allowed: out == in, and for reduce_scatter and all_gather where
 * the small one is part `rank` of the large. Sums are taken in an order that does not change from
 * run to run: same size, same bits. MEAN is the sum divided by `size`, for floating types alone.
 * MAX does not promise to keep a NaN. A rank that is gone, or silent for longer than the group's
 * limit, is PEER_LOST with a sentence that names rank and call; then the group can only be left. */
#ifndef QUERN_KERNELS_COLLECTIVES_H
#define QUERN_KERNELS_COLLECTIVES_H

#include "../host/base/message.h"
#include <quern/kernel.h>

#define COLLECTIVE_LIST(X) X(all_reduce) X(reduce_scatter) X(all_gather) X(broadcast) X(barrier)
#define X(name) COLLECTIVE_##name,
typedef enum collective { COLLECTIVE_LIST(X) COLLECTIVE_COUNT } collective;
#undef X

#define COLLECTIVE_REDUCTION_LIST(X) X(SUM, "sum") X(MEAN, "mean") X(MAX, "max")
#define X(name, text) COLLECTIVE_##name,
typedef enum collective_reduction {
    COLLECTIVE_REDUCTION_LIST(X) COLLECTIVE_REDUCTION_COUNT
} collective_reduction;
#undef X

typedef struct collective_group collective_group;

/* Must stay unchanged, like the arguments, until the work has run. */
typedef struct collective_call {
    collective_group *group;
    collective_reduction reduction; /* all_reduce, reduce_scatter */
    int32_t root;                   /* broadcast */
} collective_call;

/* What rank 0 makes and all ranks join with. */
typedef struct collective_id {
    unsigned char bytes[128];
} collective_id;

typedef struct collective_join {
    int32_t rank, size;
    int64_t timeout_ns; /* for a peer to answer */
    collective_id id;
    /* This rank's connections, by rank, at most to rank 0 or from it: rank 0 has one to each other,
     * each other has one to rank 0. They outlive the group. */
    const peer *peers;
} collective_join;

typedef struct backend_device backend_device;

typedef struct collectives {
    const char *name; /* "NCCL" */
    /* The data go over the peers of `join`; else nothing of the group touches these. */
    bool uses_peers;
    quern_status (*identify)(backend_device *device, collective_id *out);
    /* Returns when all ranks have joined. */
    quern_status (*join)(collective_group **out, backend_device *device,
                         const collective_join *desc);
    /* What was issued runs to its end first, unless the group has failed or was aborted. */
    void (*leave)(collective_group *group);
    /* Without waiting, from any thread: a failure of the group that is known by now. */
    quern_status (*status)(collective_group *group);
    /* From any thread: what is under way on this rank ends, in whatever state. */
    void (*abort)(collective_group *group);
    quern_kernel_function run[COLLECTIVE_COUNT];
} collectives;

#endif
