/* fake_device.h - CUDA devices that live in host memory: another definition of cuda_driver
 * (src/kernels/cuda/device/driver.h), so that everything above that table runs without a GPU.
 *
 *   streams   run their work in order, at once, as late as CUDA allows, or in a seeded mixture of
 *             both: what forgets a wait or an event reads old data under the second
 *   memory    "device" memory has no access rights except while the device itself works on it:
 *             host code that dereferences a device pointer dies there
 *   graphs    are recorded, instantiated and replayed
 *   kernels   a launch of a fake_kernel runs it; any other function (what nvcc made) is counted
 *             and does nothing
 *   faults    the n-th call of each function of the table fails, once or for ever, with any code
 *
 *     fake_begin();
 *     fake.schedule = FAKE_LATE;
 *     fake.fault[FAKE_cudaMemcpyAsync] = (fake_fault){.at = 3, .code = cudaErrorIllegalAddress};
 *     … open cuda_backend, use it, close it …
 *     CHECK(fake_live() == 0);
 *     CHECK_TEXT(fake.misuse, "");
 *
 * Plans are written before the work starts. Calls may come from any thread. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAKE_DEVICE_H
#define QUERN_TESTS_KERNELS_CUDA_FAKE_DEVICE_H

#include "kernels/cuda/device/driver.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fake_call {
#define X(name, parameters) FAKE_##name,
    CUDA_DRIVER_LIST(X)
#undef X
        FAKE_CALL_COUNT
} fake_call;

typedef enum fake_schedule {
    FAKE_AT_ONCE,      /* work runs when it is issued */
    FAKE_LATE,         /* work runs when somebody waits for it */
    FAKE_MIXED,        /* each call runs some of the work that may run, chosen by `seed` */
    FAKE_COPIES_FIRST, /* streams that only copy run as soon as they may, the others late */
} fake_schedule;

typedef struct fake_fault {
    int64_t at; /* the n-th call fails, from 1; 0: none */
    cudaError_t code;
    bool for_ever; /* and all after it */
} fake_fault;

typedef struct fake_device {
    int device_count, driver_version, capability;
    size_t memory_bytes, graph_bytes; /* the second: that each executable graph takes */
    bool no_blas;                     /* cuBLASLt cannot be loaded */
    fake_schedule schedule;
    uint64_t seed;
    fake_fault fault[FAKE_CALL_COUNT];

    int64_t count[FAKE_CALL_COUNT]; /* calls so far, the failed ones included */
    int64_t fired[FAKE_CALL_COUNT]; /* of which failed by plan */
    int64_t operations;             /* that the device has run */
    int64_t graphs;                 /* of those, launches of a graph */
    void (*uploaded)(void *self); /* NULL, or told of each event that a stream of copies reaches */
    void *uploaded_self;
    int64_t device_ns; /* its clock: 1,000 an operation, and what a double adds while it runs */
    int64_t pageable_waits; /* copies to pageable memory: the host waited unasked */
    int64_t host_waits; /* calls in which a host waits: each of a stream, of an event that has not
                           come, of the two kinds that the names do not say (those copies, frees) */
    cudaError_t sticky; /* an error that only a new process gets rid of */
    int memory_asked;   /* the device that cudaMemGetInfo was last asked of */
    bool sticky_asked; /* whether it stays has been asked since, by cudaMemGetInfo: once is right */
    char misuse[256];  /* the first thing that no caller may do; "": none */
} fake_device;
extern fake_device fake;

/* Starts over: one H200, nothing planned, nothing alive. */
void fake_begin(void);
/* Blocks, streams, events, graphs and executables that are still alive. */
int64_t fake_live(void);
bool fake_fired(void); /* any planned failure */
const char *fake_call_name(fake_call call);
/* Device memory may be looked at by a test once the work on it has been waited for. */
void fake_read(void *to, const void *device_pointer, size_t bytes);

/* A kernel in host code: a launch whose function points to one of these copies the arguments when
 * it is issued, as CUDA does, and runs it when its turn comes. */
#define FAKE_KERNEL_MAGIC UINT64_C(0x716b65726e656c01)
#define FAKE_ARGUMENT_MAX 24
typedef struct fake_kernel {
    uint64_t magic; /* FAKE_KERNEL_MAGIC */
    const char *name;
    int argument_count;
    size_t argument_bytes[FAKE_ARGUMENT_MAX];
    void (*run)(dim3 grid, dim3 block, size_t shared_bytes, void **arguments);
} fake_kernel;

#ifdef __cplusplus
}
#endif
#endif
