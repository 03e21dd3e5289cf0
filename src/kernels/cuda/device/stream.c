/* stream.c - a CUDA stream: what is issued to it, what failed on it, what its kernels found.
 *
 * A kernel function runs on the calling thread and issues its launches. Its failure is returned at
 * once and sticks to the stream, like a fault that a kernel found on the device: what follows is
 * dropped until a wait has returned it. */
#include "device.h"

#include "../../collectives.h"
#include "nvtx.h"

#include <stdio.h>
#include <string.h>

cudaStream_t cuda_stream_handle(const quern_stream *s) { return s->handle; }
void *cuda_stream_native(const quern_stream *s) { return s->handle; }
backend_device *cuda_stream_device(const quern_stream *s) { return s->device; }
cuda_fault *cuda_stream_fault(const quern_stream *s) { return s->fault; }

/* The name of a kernel function, found by looking through the tables: only failures need it. */
static const char *function_name(quern_kernel_function f) {
#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula)                                \
    if (cuda_kernels[QUERN_OP_ID_##name] != NULL) {                                                \
        if (f == cuda_kernels[QUERN_OP_ID_##name]->forward) return #name " forward";               \
        if (f == cuda_kernels[QUERN_OP_ID_##name]->backward) return #name " backward";             \
    }
#include <quern/ops.def>
#undef QUERN_OP
#define X(name)                                                                                    \
    if (f == cuda_tasks[TASK_##name]) return "the task " #name;
    TASK_LIST(X)
#undef X
#define X(constant, name, states, reads)                                                           \
    if (f == cuda_update_rules[QUERN_OPTIMIZER_##constant]) return "the update " #name;
    QUERN_OPTIMIZER_LIST(X)
#undef X
#define X(name)                                                                                    \
    if (f == cuda_collectives.run[COLLECTIVE_##name]) return "the collective " #name;
    COLLECTIVE_LIST(X)
#undef X
    return "an op of the application";
}

const char *cuda_stream_doing(const quern_stream *s) {
    if (s->last != NULL) return function_name(s->last);
    return s->last_recorded ? "a recorded step" : "";
}

void stream_note(quern_stream *s, quern_kernel_function function) {
    s->last = function;
    s->last_recorded = function == NULL;
    s->last_copy = NULL;
}

void stream_note_nothing(quern_stream *s) {
    stream_note(s, NULL);
    s->last_recorded = false;
}

quern_status stream_check(const quern_stream *s, cudaError_t code, const char *call,
                          const char *what) {
    char whole[240];
    if (code == cudaSuccess) return QUERN_OK;
    snprintf(whole, sizeof whole, "%s, stream %s,", what, s->name);
    return cuda_check(s->device, code, call, whole);
}

quern_status stream_check_waited(const quern_stream *s, cudaError_t code, const char *call) {
    char what[128];
    if (code == cudaSuccess) return QUERN_OK;
    const char *last = cuda_stream_doing(s), *copy = s->last_copy != NULL ? s->last_copy : "";
    const bool both = last[0] != 0 && copy[0] != 0, none = last[0] == 0 && copy[0] == 0;
    snprintf(what, sizeof what, "%s%s%s%s", none ? "waiting" : "or before ", last,
             both ? " and " : "", copy);
    return stream_check(s, code, call, what);
}

quern_status cuda_stream_refuse_recording(const quern_stream *s, const char *operation) {
    if (s->recording == NULL) return QUERN_OK;
    return cuda_fail(QUERN_INVALID, "%s on a stream that captures: end the capture first",
                     operation);
}

quern_status cuda_stream_fail(quern_stream *s, quern_status status) {
    if (status == QUERN_OK || atomic_load(&s->status) != QUERN_OK) return status;
    const char *sentence = cuda_services()->error();
    if (sentence[0] == 0) sentence = "a kernel function failed and left no sentence";
    snprintf(s->sentence, sizeof s->sentence, "%s", sentence);
    atomic_store(&s->status, status);
    return status;
}

static const char *op_name(int32_t op) {
    static const char *const names[QUERN_OP_ID_COUNT] = {
#define QUERN_OP(name, desc, in, out, reads, flags, shape, formula) [QUERN_OP_ID_##name] = #name,
#include <quern/ops.def>
#undef QUERN_OP
    };
    return op >= 0 && op < QUERN_OP_ID_COUNT ? names[op] : "a kernel";
}

quern_status cuda_stream_collect(quern_stream *s) {
    const cuda_fault *f = s->fault;
    if (*(volatile const int32_t *)&f->code == 0) return QUERN_OK;
    atomic_thread_fence(memory_order_acquire); /* the rest was written before it */
    return cuda_stream_fail(s, cuda_fail(QUERN_INPUT,
                                         "%s: index %lld at position %lld is outside [0, %lld)",
                                         op_name(f->code - 1), (long long)f->value,
                                         (long long)f->position, (long long)f->limit));
}

quern_status cuda_stream_status(quern_stream *s) {
    QUERN_TRY(device_status(s->device));
    (void)cuda_stream_collect(s);
    const quern_status status = atomic_load(&s->status);
    return status == QUERN_OK ? QUERN_OK : cuda_fail(status, "%s", s->sentence);
}

static quern_status wait_for_device(quern_stream *s) {
    int previous;
    quern_status status = device_enter(s->device, &previous);
    if (status == QUERN_OK)
        status = stream_check_waited(s, cuda_driver.cudaStreamSynchronize(s->handle),
                                     "cudaStreamSynchronize");
    device_leave(s->device, previous);
    return status;
}

quern_status cuda_stream_take_failure(quern_stream *s) {
    const quern_status status = cuda_stream_status(s);
    if (status == QUERN_OK || status == QUERN_DEVICE_LOST) return status;
    if (s->fault->code != 0) /* else a kernel that still runs may be writing it */
        memset(s->fault, 0, sizeof *s->fault);
    atomic_store(&s->status, QUERN_OK);
    return status;
}

quern_status cuda_stream_wait(quern_stream *s) {
    QUERN_TRY(cuda_stream_refuse_recording(s, "waiting"));
    QUERN_TRY(wait_for_device(s));
    const quern_status status = cuda_stream_take_failure(s);
    s->fault->claimed = 0; /* no kernel is left that could fill it: the next one may */
    return status;
}

/* Whether work may be issued: a failed stream drops it, a lost device refuses it. */
static quern_status begin_issue(quern_stream *s, int *previous, bool *dropped) {
    *dropped = atomic_load(&s->status) != QUERN_OK;
    return device_enter(s->device, previous);
}

quern_status cuda_call(quern_stream *s, quern_kernel_function function,
                       const quern_kernel_args *args) {
    int previous;
    bool dropped;
    quern_status status = begin_issue(s, &previous, &dropped);
    if (status == QUERN_OK && !dropped) {
        if (function != NULL) stream_note(s, function);
        status = function != NULL
                     ? function(args)
                     : cuda_fail(QUERN_UNSUPPORTED, "this task or update rule has no CUDA kernel");
        (void)cuda_stream_fail(s, status);
    }
    device_leave(s->device, previous);
    return status;
}

static quern_status check_bytes(quern_stream *s, cudaError_t code, const char *call,
                                const char *what, size_t bytes) {
    char whole[64];
    s->last_copy = what;
    if (code == cudaSuccess) return QUERN_OK;
    snprintf(whole, sizeof whole, "%s of %zu bytes", what, bytes);
    return cuda_stream_fail(s, stream_check(s, code, call, whole));
}

quern_status cuda_copy(quern_stream *s, void *to, const void *from, size_t bytes) {
    int previous;
    bool dropped;
    if (bytes == 0) return QUERN_OK;
    quern_status status = begin_issue(s, &previous, &dropped);
    if (status == QUERN_OK && !dropped)
        status = check_bytes(
            s, cuda_driver.cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, s->handle),
            "cudaMemcpyAsync", "a copy", bytes);
    device_leave(s->device, previous);
    return status;
}

quern_status cuda_fill(quern_stream *s, void *to, int value, size_t bytes) {
    int previous;
    bool dropped;
    if (bytes == 0) return QUERN_OK;
    quern_status status = begin_issue(s, &previous, &dropped);
    if (status == QUERN_OK && !dropped)
        status = check_bytes(s, cuda_driver.cudaMemsetAsync(to, value, bytes, s->handle),
                             "cudaMemsetAsync", "a fill", bytes);
    device_leave(s->device, previous);
    return status;
}

static void stream_free(quern_stream *s) {
    if (s->fault != NULL) TORN_DOWN(s->device, cudaFreeHost, (s->fault));
    if (s->handle != NULL) TORN_DOWN(s->device, cudaStreamDestroy, (s->handle));
    cuda_services()->release(s->device->host, s, 1, sizeof *s);
}

static quern_status stream_fill(quern_stream *s) {
    QUERN_TRY(STREAM_CHECKED(s, "making it", cudaStreamCreateWithFlags,
                             (&s->handle, cudaStreamNonBlocking)));
    nvtx_name_stream(s->handle, s->name);
    void *fault = NULL;
    QUERN_TRY(STREAM_CHECKED(s, "making it", cudaHostAlloc,
                             (&fault, sizeof *s->fault, cudaHostAllocMapped)));
    s->fault = memset(fault, 0, sizeof *s->fault);
    return QUERN_OK;
}

quern_status cuda_stream_create(backend_device *device, quern_stream **out, const char *name) {
    int previous;
    quern_stream *s = NULL;
    *out = NULL;
    QUERN_TRY(cuda_services()->allocate(device->host, &s, 1, sizeof *s, "a stream"));
    s->base.backend = &cuda_backend;
    s->device = device;
    snprintf(s->name, sizeof s->name, "%s", name);
    quern_status status = device_enter(device, &previous);
    if (status == QUERN_OK) status = stream_fill(s);
    device_leave(device, previous);
    if (status == QUERN_OK)
        *out = s;
    else
        stream_free(s);
    return status;
}

/* What was issued still runs, unless the device is lost. */
void cuda_stream_destroy(quern_stream *s) {
    if (s == NULL) return;
    capture_abandon(s);
    if (atomic_load(&s->device->lost) == 0)
        TORN_DOWN(s->device, cudaStreamSynchronize, (s->handle));
    stream_free(s);
}
