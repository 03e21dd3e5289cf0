/* event.c - points in streams' queues that others wait for.
 *
 * Each record takes the next ticket; tickets complete in order, even when they were recorded on
 * different streams. A ticket was always submitted before whoever waits for it, so waits cannot
 * form a ring. A failed stream hands its failure to the events that it records, and they to
 * everybody who waits: nobody goes on with data that was never made. */
#include "stream.h"

#include "../../host/base/memory.h"

struct backend_event {
    backend_device *device;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t recorded, completed; /* tickets */
    int64_t pending;              /* commands in queues that refer to this event */
    quern_status status;          /* of the stream, when the last completed record was reached */
    error_text error;
};

quern_status cpu_event_create(backend_device *device, backend_event **out) {
    *out = NULL;
    backend_event *e;
    QUERN_TRY(memory_allocate(device->host, &e, 1, sizeof *e, "an event"));
    e->device = device;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    *out = e;
    return QUERN_OK;
}

void cpu_event_destroy(backend_event *e) {
    if (e == NULL) return;
    pthread_mutex_lock(&e->lock);
    while (e->pending > 0) pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    memory_release(e->device->host, e, 1, sizeof *e);
}

quern_status cpu_event_record(backend_event *e, quern_stream *s) {
    QUERN_TRY(stream_refuse_recording(s, "recording an event"));
    pthread_mutex_lock(&e->lock);
    const uint64_t ticket = ++e->recorded;
    e->pending++;
    pthread_mutex_unlock(&e->lock);
    stream_submit(s, &(command){.kind = COMMAND_RECORD, .with.event = e, .ticket = ticket});
    return QUERN_OK;
}

/* With the lock held. */
static void wait_for_ticket(backend_event *e, uint64_t ticket) {
    while (e->completed < ticket) pthread_cond_wait(&e->changed, &e->lock);
}

quern_status cpu_event_wait(backend_event *e) {
    pthread_mutex_lock(&e->lock);
    wait_for_ticket(e, e->recorded);
    const quern_status status = e->status;
    if (status != QUERN_OK) error_restore(&e->error);
    pthread_mutex_unlock(&e->lock);
    return status;
}

quern_status cpu_event_query(backend_event *e, bool *out_done) {
    pthread_mutex_lock(&e->lock);
    *out_done = e->completed == e->recorded;
    pthread_mutex_unlock(&e->lock);
    return QUERN_OK;
}

quern_status cpu_stream_wait_event(quern_stream *s, backend_event *e) {
    QUERN_TRY(stream_refuse_recording(s, "waiting for an event"));
    pthread_mutex_lock(&e->lock);
    const uint64_t ticket = e->recorded;
    e->pending++;
    pthread_mutex_unlock(&e->lock);
    stream_submit(s, &(command){.kind = COMMAND_WAIT, .with.event = e, .ticket = ticket});
    return QUERN_OK;
}

void event_run_record(quern_stream *s, const command *c) {
    backend_event *e = c->with.event;
    pthread_mutex_lock(&e->lock);
    wait_for_ticket(e, c->ticket - 1);
    const quern_status status = atomic_load(&s->status);
    e->status = status;
    if (status != QUERN_OK) e->error = s->error;
    e->completed = c->ticket;
    e->pending--;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

void event_run_wait(quern_stream *s, const command *c) {
    backend_event *e = c->with.event;
    pthread_mutex_lock(&e->lock);
    wait_for_ticket(e, c->ticket);
    if (e->status != QUERN_OK) {
        error_restore(&e->error);
        stream_fail(s, e->status);
    }
    e->pending--;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}
