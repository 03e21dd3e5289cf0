/* stream.c - a stream's queue and thread.
 *
 * One submitter moves `submitted`, the stream's thread moves `completed`; the slots between them
 * are under way. Either side looks a few microseconds before it sleeps. Nobody is left asleep:
 * each side first announces its sleep (`asleep`, `wake_at`) and then looks at the other's counter
 * once more, the other first moves its counter and then looks at the announcement, all in the one
 * order of sequentially consistent atomics.
 *
 * A failure is kept with its sentence; what follows is dropped, while events and the end of
 * launches are still reported, so that nobody waits for ever. */
#include "stream.h"

#include "../../host/base/memory.h"

#include <string.h>

quern_status command_run(const command *c) {
    switch (c->kind) {
    case COMMAND_CALL: return c->function(c->with.args);
    case COMMAND_COPY:
        if (c->bytes > 0) memmove(c->to, c->with.from, c->bytes);
        return QUERN_OK;
    case COMMAND_FILL:
        if (c->bytes > 0) memset(c->to, c->value, c->bytes);
        return QUERN_OK;
    default: return quern_fail(QUERN_INTERNAL, "command %d cannot be captured", (int)c->kind);
    }
}

void stream_fail(quern_stream *s, quern_status status) {
    if (atomic_load(&s->status) != QUERN_OK) return;
    if (quern_error()[0] == 0)
        status = quern_fail(status, "a kernel failed (%s) and left no sentence",
                            quern_status_name(status));
    error_save(&s->error);
    atomic_store(&s->status, status);
}

static void stream_run(quern_stream *s, const command *c) {
    if (c->kind == COMMAND_RECORD) {
        event_run_record(s, c);
    } else if (c->kind == COMMAND_WAIT) {
        event_run_wait(s, c);
    } else if (c->kind == COMMAND_LAUNCH) {
        capture_run(s, c->with.capture);
    } else if (atomic_load(&s->status) == QUERN_OK) {
        const quern_status status = command_run(c);
        if (status != QUERN_OK) stream_fail(s, status);
    }
}

static void complete_one(quern_stream *s) {
    const uint_fast64_t completed = atomic_fetch_add(&s->completed, 1) + 1;
    if (completed < atomic_load(&s->wake_at)) return;
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->wake_at, UINT_FAST64_MAX); /* who still waits announces itself again */
    pthread_cond_broadcast(&s->progress);
    pthread_mutex_unlock(&s->lock);
}

/* Returns false when the queue is empty and the stream is to end. */
static bool wait_for_command(quern_stream *s, uint_fast64_t completed) {
    for (int i = 0; i < THREAD_SPINS; i++) {
        if (atomic_load(&s->submitted) != completed) return true;
        thread_pause();
    }
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->asleep, true);
    while (atomic_load(&s->submitted) == completed && !atomic_load(&s->quit))
        pthread_cond_wait(&s->work, &s->lock);
    atomic_store(&s->asleep, false);
    pthread_mutex_unlock(&s->lock);
    return atomic_load(&s->submitted) != completed;
}

static void *stream_main(void *context) {
    quern_stream *s = context;
    for (uint_fast64_t n = 0; wait_for_command(s, n); n++) {
        stream_run(s, &s->slots[n % STREAM_SLOTS]);
        complete_one(s);
    }
    return NULL;
}

/* The calling thread waits until `target` commands are completed. */
static void stream_reach(quern_stream *s, uint_fast64_t target) {
    for (int i = 0; i < THREAD_SPINS; i++) {
        if (atomic_load(&s->completed) >= target) return;
        thread_pause();
    }
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (atomic_load(&s->wake_at) > target) atomic_store(&s->wake_at, target);
        if (atomic_load(&s->completed) >= target) break;
        pthread_cond_wait(&s->progress, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static void stream_wake(quern_stream *s) {
    if (!atomic_load(&s->asleep)) return;
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* A full queue is waited for until a quarter of it is free: one wake-up serves many commands. */
void stream_submit(quern_stream *s, const command *c) {
    const uint_fast64_t n = atomic_load_explicit(&s->submitted, memory_order_relaxed);
    if (n - atomic_load(&s->completed) == STREAM_SLOTS)
        stream_reach(s, n - STREAM_SLOTS + STREAM_SLOTS / 4);
    s->slots[n % STREAM_SLOTS] = *c;
    atomic_store(&s->submitted, n + 1);
    stream_wake(s);
}

quern_status stream_refuse_recording(const quern_stream *s, const char *operation) {
    if (s->recording == NULL) return QUERN_OK;
    return quern_fail(QUERN_INVALID, "%s on a stream that captures: end the capture first",
                      operation);
}

static quern_status submit_or_record(quern_stream *s, const command *c) {
    if (s->recording != NULL) return capture_add(s->recording, c);
    stream_submit(s, c);
    return QUERN_OK;
}

quern_status cpu_call(quern_stream *s, quern_kernel_function function,
                      const quern_kernel_args *args) {
    return submit_or_record(
        s, &(command){.kind = COMMAND_CALL, .function = function, .with.args = args});
}

quern_status cpu_copy(quern_stream *s, void *to, const void *from, size_t bytes) {
    return submit_or_record(
        s, &(command){.kind = COMMAND_COPY, .to = to, .with.from = from, .bytes = bytes});
}

quern_status cpu_fill(quern_stream *s, void *to, int value, size_t bytes) {
    return submit_or_record(
        s, &(command){.kind = COMMAND_FILL, .to = to, .value = value, .bytes = bytes});
}

quern_status cpu_stream_status(quern_stream *s) {
    const quern_status status = atomic_load(&s->status);
    if (status != QUERN_OK) error_restore(&s->error);
    return status;
}

quern_status cpu_stream_wait(quern_stream *s) {
    QUERN_TRY(stream_refuse_recording(s, "waiting"));
    stream_reach(s, atomic_load(&s->submitted));
    const quern_status status = cpu_stream_status(s);
    if (status != QUERN_OK && status != QUERN_DEVICE_LOST) atomic_store(&s->status, QUERN_OK);
    return status;
}

void *cpu_stream_native(const quern_stream *s) { return (void)s, NULL; }

quern_status cpu_stream_wait_native(quern_stream *s, void *event) {
    (void)s, (void)event;
    return quern_fail(QUERN_INVALID, "an event of CUDA on a device that is the CPU");
}

static void stream_free(quern_stream *s) {
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->progress);
    pthread_mutex_destroy(&s->lock);
    memory_release(s->device->host, s, 1, sizeof *s);
}

quern_status cpu_stream_create(backend_device *device, quern_stream **out, const char *name) {
    *out = NULL;
    quern_stream *s;
    QUERN_TRY(memory_allocate(device->host, &s, 1, sizeof *s, "a stream"));
    s->base.backend = &quern_backend_cpu;
    s->device = device;
    atomic_store(&s->wake_at, UINT_FAST64_MAX);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->progress, NULL);
    const quern_status status = thread_start(&s->thread, stream_main, s, name);
    if (status != QUERN_OK) {
        stream_free(s);
        return status;
    }
    *out = s;
    return QUERN_OK;
}

/* What was submitted still runs. */
void cpu_stream_destroy(quern_stream *s) {
    if (s == NULL) return;
    cpu_capture_destroy(s->recording);
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->quit, true);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    stream_free(s);
}

void quern_cpu_parallel(quern_stream *stream, int64_t chunk_count,
                        void (*body)(void *context, int64_t chunk), void *context) {
    pool_run(stream->device->pool, chunk_count, body, context);
}
