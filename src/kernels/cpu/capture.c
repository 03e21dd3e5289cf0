/* capture.c - a list of calls, copies and fills, recorded once and launched as one command. */
#include "stream.h"

#include "../../host/base/memory.h"

struct backend_capture {
    backend_device *device;
    command *commands;
    int64_t count, capacity;
    quern_status status; /* of recording: the first failure sticks, capture_end returns it */
    error_text error;
    pthread_mutex_t lock;
    pthread_cond_t done;
    int64_t pending; /* launches that have not run yet */
};

quern_status cpu_capture_begin(quern_stream *s) {
    QUERN_TRY(stream_refuse_recording(s, "beginning a capture"));
    backend_capture *c;
    QUERN_TRY(memory_allocate(s->device->host, &c, 1, sizeof *c, "a capture"));
    c->device = s->device;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done, NULL);
    s->recording = c;
    return QUERN_OK;
}

quern_status capture_add(backend_capture *c, const command *next) {
    const quern_status status = memory_grow(c->device->host, &c->commands, &c->capacity, c->count,
                                            c->count + 1, sizeof *c->commands, "a capture");
    if (status == QUERN_OK) {
        c->commands[c->count++] = *next;
    } else if (c->status == QUERN_OK) {
        c->status = status;
        error_save(&c->error);
    }
    return status;
}

quern_status cpu_capture_end(quern_stream *s, backend_capture **out) {
    *out = NULL;
    backend_capture *c = s->recording;
    if (c == NULL)
        return quern_fail(QUERN_INVALID, "ending a capture on a stream that captures nothing");
    s->recording = NULL;
    const quern_status status = c->status;
    if (status != QUERN_OK) {
        error_restore(&c->error);
        cpu_capture_destroy(c);
        return status;
    }
    *out = c;
    return QUERN_OK;
}

quern_status cpu_capture_launch(backend_capture *c, quern_stream *s) {
    QUERN_TRY(stream_refuse_recording(s, "launching a capture"));
    pthread_mutex_lock(&c->lock);
    c->pending++;
    pthread_mutex_unlock(&c->lock);
    stream_submit(s, &(command){.kind = COMMAND_LAUNCH, .with.capture = c});
    return QUERN_OK;
}

void capture_run(quern_stream *s, backend_capture *c) {
    for (int64_t i = 0; i < c->count && atomic_load(&s->status) == QUERN_OK; i++) {
        const quern_status status = command_run(&c->commands[i]);
        if (status != QUERN_OK) stream_fail(s, status);
    }
    pthread_mutex_lock(&c->lock);
    c->pending--;
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
}

void cpu_capture_destroy(backend_capture *c) {
    if (c == NULL) return;
    pthread_mutex_lock(&c->lock);
    while (c->pending > 0) pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    const quern_host *host = c->device->host;
    memory_release(host, c->commands, c->capacity, sizeof *c->commands);
    memory_release(host, c, 1, sizeof *c);
}
