/* stream.h - the CPU backend's objects: a device with its pool, streams (a thread with an ordered
 * queue of fixed size), events and captures. A stream is fed by one thread at a time; any thread
 * may wait for it. Nothing is allocated after an object's creation, but while a capture records. */
#ifndef QUERN_KERNELS_CPU_STREAM_H
#define QUERN_KERNELS_CPU_STREAM_H

#include "../../host/base/pool.h"
#include "../../host/base/report.h"
#include "../../host/base/thread.h"
#include "../backend.h"

#include <stdatomic.h>

struct backend_device {
    const quern_host *host;
    pool *pool;
};

typedef enum command_kind {
    COMMAND_CALL,
    COMMAND_COPY,
    COMMAND_FILL,
    COMMAND_RECORD,
    COMMAND_WAIT,
    COMMAND_LAUNCH,
} command_kind;

typedef struct command {
    command_kind kind;
    int value;       /* fill */
    uint64_t ticket; /* record, wait */
    size_t bytes;    /* copy, fill */
    union {
        const quern_kernel_args *args; /* call */
        const void *from;              /* copy */
        backend_event *event;          /* record, wait */
        backend_capture *capture;      /* launch */
    } with;
    quern_kernel_function function; /* call */
    void *to;                       /* copy, fill */
} command;

/* Submitting waits when this many commands are under way. */
#define STREAM_SLOTS 1024

struct quern_stream {
    backend_stream base;
    backend_device *device;
    pthread_t thread;
    backend_capture *recording; /* not NULL: between capture_begin and capture_end */

    command slots[STREAM_SLOTS]; /* command n is in slot n % STREAM_SLOTS */
    atomic_uint_fast64_t submitted, completed;
    atomic_bool quit;
    atomic_bool asleep;           /* the stream's thread is, or is about to be */
    atomic_uint_fast64_t wake_at; /* wake the waiters once this many are completed */
    pthread_mutex_t lock;
    pthread_cond_t work, progress;

    _Atomic(quern_status) status; /* the first failure; its sentence is written before it */
    error_text error;
};

quern_status cpu_stream_create(backend_device *device, quern_stream **out, const char *name);
void cpu_stream_destroy(quern_stream *stream);
quern_status cpu_stream_wait(quern_stream *stream);
quern_status cpu_stream_status(quern_stream *stream);
void *cpu_stream_native(const quern_stream *stream);
quern_status cpu_stream_wait_native(quern_stream *stream, void *event);

/* Puts a command at the queue's end; waits while it is full. */
void stream_submit(quern_stream *stream, const command *c);
/* INVALID, naming the operation, between capture_begin and capture_end. */
quern_status stream_refuse_recording(const quern_stream *stream, const char *operation);
/* On the stream's own thread: what follows on this stream is dropped. The sentence is
 * quern_error(). */
void stream_fail(quern_stream *stream, quern_status status);

/* Runs a call, copy or fill on the calling thread. */
quern_status command_run(const command *c);

quern_status cpu_call(quern_stream *stream, quern_kernel_function function,
                      const quern_kernel_args *args);
quern_status cpu_copy(quern_stream *stream, void *to, const void *from, size_t bytes);
quern_status cpu_fill(quern_stream *stream, void *to, int value, size_t bytes);

/* event.c; destroying one waits until no queue refers to it any more */
quern_status cpu_event_create(backend_device *device, backend_event **out);
void cpu_event_destroy(backend_event *event);
quern_status cpu_event_record(backend_event *event, quern_stream *stream);
quern_status cpu_event_wait(backend_event *event);
quern_status cpu_event_query(backend_event *event, bool *out_done);
quern_status cpu_stream_wait_event(quern_stream *stream, backend_event *event);
void event_run_record(quern_stream *stream, const command *c);
void event_run_wait(quern_stream *stream, const command *c);

/* capture.c; destroying one waits until its launches have run */
quern_status cpu_capture_begin(quern_stream *stream);
quern_status cpu_capture_end(quern_stream *stream, backend_capture **out);
quern_status cpu_capture_launch(backend_capture *capture, quern_stream *stream);
void cpu_capture_destroy(backend_capture *capture);
quern_status capture_add(backend_capture *capture, const command *c);
void capture_run(quern_stream *stream, backend_capture *capture);

/* machine.c: what this machine is, as far as this process may use it */
int32_t machine_core_count(void);
void machine_name(char *name, size_t bytes);
void machine_memory(int64_t *total_bytes, int64_t *free_bytes);

/* record.c */
quern_status cpu_record_create(backend_device *device, backend_record **out, const char *text);
void cpu_record_destroy(backend_record *record);
void cpu_record_use(backend_device *device, backend_record *record);
size_t cpu_record_write(const backend_record *record, char *to, size_t bytes);

#endif
