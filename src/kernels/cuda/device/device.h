/* device.h - the CUDA backend's objects: a device, streams, events, captures. C only: the kernels
 * see them through cuda.h. */
#ifndef QUERN_KERNELS_CUDA_DEVICE_H
#define QUERN_KERNELS_CUDA_DEVICE_H

#include "../cuda.h"

#include <stdatomic.h>

struct backend_device {
    const quern_host *host;
    int32_t index;
    int32_t multiprocessors, capability, cache_bytes;
    int64_t memory_bytes;
    bool allow_tf32, tune;
    backend_record *record; /* in use; NULL: none */
    char name[128], uuid[48], pci[32];
    struct {
        void *value;
        void (*drop)(backend_device *device, void *value);
    } slots[CUDA_SLOT_COUNT];
    /* 0 until CUDA has refused work for good, 1 while the sentence is written, then 2 */
    atomic_int lost;
    char lost_sentence[CUDA_SENTENCE_BYTES];
};

struct quern_stream {
    backend_stream base;
    backend_device *device;
    cudaStream_t handle;
    char name[32];
    /* what was issued last, for sentences: a kernel function or, that being NULL, a recorded step;
     * and behind that */
    quern_kernel_function last;
    bool last_recorded;
    const char *last_copy;      /* NULL: nothing */
    backend_capture *recording; /* not NULL: between capture_begin and capture_end */
    cuda_fault *fault;          /* pinned */
    /* the first failure since the last wait; its sentence is written before it */
    _Atomic(quern_status) status;
    char sentence[CUDA_SENTENCE_BYTES];
};

struct backend_event {
    backend_device *device;
    cudaEvent_t handle;
    quern_stream *stream; /* that recorded it last; NULL: never recorded */
    quern_status status;  /* of that stream, as far as it was known by then */
    char sentence[CUDA_SENTENCE_BYTES];
};

struct backend_capture {
    backend_device *device;
    cudaGraphExec_t executable; /* NULL: nothing was recorded */
};

/* The calling thread's current device while a function of this backend runs is the backend's; the
 * application's own choice is put back. Fails with the device's own sentence once it is lost. */
QUERN_MUST_CHECK quern_status device_enter(backend_device *device, int *previous);
void device_leave(const backend_device *device, int previous);
/* OK, or DEVICE_LOST with the sentence of the call that lost it. */
QUERN_MUST_CHECK quern_status device_status(backend_device *device);

/* CHECKED(device, "what is being done", cudaMalloc, (&p, bytes)): a call of the table, checked. */
#define CHECKED(device, what, name, arguments)                                                     \
    cuda_check(device, cuda_driver.name arguments, #name, what)
#define TORN_DOWN(device, name, arguments)                                                         \
    TORN_DOWN_AS(device, CHECKED(device, "teardown", name, arguments))
/* For calls whose answer changes nothing. */
#define IGNORED(name, arguments) ((void)cuda_driver.name arguments)

/* stream.c */
quern_status cuda_stream_create(backend_device *device, quern_stream **out, const char *name);
void cuda_stream_destroy(quern_stream *stream);
quern_status cuda_stream_wait(quern_stream *stream);
quern_status cuda_stream_status(quern_stream *stream);
void *cuda_stream_native(const quern_stream *stream);
quern_status cuda_call(quern_stream *stream, quern_kernel_function function,
                       const quern_kernel_args *args);
quern_status cuda_copy(quern_stream *stream, void *to, const void *from, size_t bytes);
quern_status cuda_fill(quern_stream *stream, void *to, int value, size_t bytes);
/* INVALID, naming the operation, between capture_begin and capture_end. */
quern_status cuda_stream_refuse_recording(const quern_stream *stream, const char *operation);
/* CHECKED for a stream's own calls: says "…, stream compute". */
#define STREAM_CHECKED(stream, what, name, arguments)                                              \
    stream_check(stream, cuda_driver.name arguments, #name, what)
QUERN_MUST_CHECK quern_status stream_check(const quern_stream *stream, cudaError_t code,
                                           const char *call, const char *what);
/* Of a call that has waited for the stream: its failure is of what was issued last, or of something
 * before that. */
QUERN_MUST_CHECK quern_status stream_check_waited(const quern_stream *stream, cudaError_t code,
                                                  const char *call);
void stream_note(quern_stream *stream, quern_kernel_function function); /* NULL: a recorded step */
void stream_note_nothing(quern_stream *stream); /* what was issued was only recorded */
/* Keeps the sentence that is this thread's last failure; what follows on the stream is dropped. */
quern_status cuda_stream_fail(quern_stream *stream, quern_status status);
/* Returns the stream's failure once; then the stream is well again, unless the device is lost. */
quern_status cuda_stream_take_failure(quern_stream *stream);
/* What the device has found in its data so far, as a failure of the stream. */
quern_status cuda_stream_collect(quern_stream *stream);

/* event.c */
quern_status cuda_event_create(backend_device *device, backend_event **out);
void cuda_event_destroy(backend_event *event);
quern_status cuda_event_record(backend_event *event, quern_stream *stream);
quern_status cuda_event_wait(backend_event *event);
quern_status cuda_event_query(backend_event *event, bool *out_done);
quern_status cuda_stream_wait_event(quern_stream *stream, backend_event *event);
quern_status cuda_stream_wait_native(quern_stream *stream, void *event);

/* capture.c */
quern_status cuda_capture_begin(quern_stream *stream);
quern_status cuda_capture_end(quern_stream *stream, backend_capture **out);
quern_status cuda_capture_launch(backend_capture *capture, quern_stream *stream);
void cuda_capture_destroy(backend_capture *capture);
void capture_abandon(quern_stream *stream); /* the stream is being destroyed */

/* info.c */
quern_status cuda_info(quern_cuda_info *out);

/* nccl_group.c */
extern const collectives cuda_collectives;

/* module.c */
extern const quern_backend cuda_backend;

#endif
