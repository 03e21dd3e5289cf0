/* backend.h - what a device can do: one const table a backend.
 *
 * Work is issued to streams, which run it in order, asynchronously. A failure on a stream sticks:
 * later work on it is dropped until a wait has returned it; then the stream is well again, except
 * after DEVICE_LOST. So what a bad batch fails ends its own run, not the device; and no kernel may
 * rely on an earlier one's checks of indices for its own writes. `call` issues one kernel function;
 * args (and all it points to) must stay unchanged until the work has run. While a stream captures,
 * call, copy and fill are recorded instead of run; launching the capture issues all of it again;
 * waiting, events and launches are INVALID on it. An event recorded by a failed stream hands the
 * failure to whoever waits for it. A stream is fed by one thread at a time, any thread may wait;
 * destroying a stream, an event or a capture first lets the work that refers to it run.
 *
 * The algorithm record says which algorithm each product and convolution of a run uses, as text:
 *     <key> TAB <algorithm> LF        a line of printable characters for each, in any order
 * A key begins "<library> <version>; <device>; " and goes on with all that decides which algorithms
 * there are: shapes, layouts, types, epilogue. The same key and algorithm give the same bits. While
 * a record is in use, what is planned on the device takes the algorithms that stand in it, where
 * the library still accepts them, and writes down what it takes: the text is then all of that, and
 * nothing that was not used. A backend with one algorithm for each op has the empty text.
 *
 * The CPU implements each slot truly: a stream is a thread with an ordered queue, host memory is
 * device memory, pinned memory is memory. */
#ifndef QUERN_KERNELS_BACKEND_H
#define QUERN_KERNELS_BACKEND_H

#include "kernel.h"
#include "task.h"
#include <quern/device.h>

typedef struct quern_backend quern_backend;
typedef struct backend_device backend_device;
typedef struct backend_event backend_event;
typedef struct backend_capture backend_capture;
typedef struct backend_record backend_record;

typedef struct collectives collectives; /* collectives.h */

typedef struct backend_open_desc {
    int32_t index, thread_count;
    bool allow_tf32, tune;
    const quern_host *host; /* outlives the backend device */
} backend_open_desc;

/* What a stream of any backend begins with. */
typedef struct backend_stream {
    const quern_backend *backend;
} backend_stream;

struct quern_backend {
    const char *name;
    quern_backend_kind kind;
    int32_t (*count)(char *reason, size_t reason_bytes);
    quern_status (*open)(backend_device **out, const backend_open_desc *desc);
    void (*close)(backend_device *device);
    quern_status (*info)(backend_device *device, quern_device_info *out); /* memory too */

    /* device memory and pinned host memory; 64-byte aligned, not cleared */
    quern_status (*allocate)(backend_device *device, void **out, size_t bytes);
    void (*release)(backend_device *device, void *pointer, size_t bytes);
    quern_status (*allocate_pinned)(backend_device *device, void **out, size_t bytes);
    void (*release_pinned)(backend_device *device, void *pointer, size_t bytes);

    quern_status (*stream_create)(backend_device *device, quern_stream **out, const char *name);
    void (*stream_destroy)(quern_stream *stream);
    quern_status (*stream_wait)(quern_stream *stream);   /* the host waits until it is empty */
    quern_status (*stream_status)(quern_stream *stream); /* its failure so far, without waiting */
    void *(*stream_native)(const quern_stream *stream);  /* a cudaStream_t; the CPU: NULL */
    /* What is issued from now on waits for an event of the application's own: a cudaEvent_t. The
     * CPU has no such events: INVALID. */
    quern_status (*stream_wait_native)(quern_stream *stream, void *event);

    quern_status (*event_create)(backend_device *device, backend_event **out);
    void (*event_destroy)(backend_event *event);
    quern_status (*event_record)(backend_event *event, quern_stream *stream);
    quern_status (*event_wait)(backend_event *event); /* the host waits for its last record */
    /* without waiting: whether event_wait would return at once (a failure is left to it) */
    quern_status (*event_query)(backend_event *event, bool *out_done);
    quern_status (*stream_wait_event)(quern_stream *stream, backend_event *event);

    quern_status (*call)(quern_stream *stream, quern_kernel_function function,
                         const quern_kernel_args *args);
    /* any direction; host memory must be pinned to be asynchronous */
    quern_status (*copy)(quern_stream *stream, void *to, const void *from, size_t bytes);
    quern_status (*fill)(quern_stream *stream, void *to, int value, size_t bytes);

    quern_status (*capture_begin)(quern_stream *stream);
    quern_status (*capture_end)(quern_stream *stream, backend_capture **out);
    quern_status (*capture_launch)(backend_capture *capture, quern_stream *stream);
    void (*capture_destroy)(backend_capture *capture);

    /* text: another run's record; "": none */
    quern_status (*record_create)(backend_device *device, backend_record **out, const char *text);
    void (*record_destroy)(backend_record *record);                     /* not while it is in use */
    void (*record_use)(backend_device *device, backend_record *record); /* NULL: none is */
    /* The length of the text, which is written, with a 0 behind it, where `bytes` has room for
     * all of it. */
    size_t (*record_write)(const backend_record *record, char *to, size_t bytes);

    /* Whether convolutions of this type are best given images whose channels are innermost
     * (layout.h); tf32: as in quern_kernel_args. */
    bool (*channels_last)(const backend_device *device, quern_dtype dtype, bool tf32);

    const quern_kernel *const *kernels;        /* [QUERN_OP_ID_COUNT] */
    const quern_kernel_function *tasks;        /* [TASK_COUNT] */
    const quern_kernel_function *update_rules; /* [QUERN_OPTIMIZER_COUNT] */
    const collectives *collectives;            /* what several ranks do together */
};

extern const quern_backend quern_backend_cpu;

#endif
