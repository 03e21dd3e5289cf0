/* event.c - points in streams that others wait for. A failed stream hands its failure to the
 * events that it records, and they to everybody who waits: nobody goes on with data that was
 * never made. */
#include "device.h"

#include <stdio.h>

quern_status cuda_event_create(backend_device *device, backend_event **out) {
    int previous;
    backend_event *e = NULL;
    *out = NULL;
    QUERN_TRY(cuda_services()->allocate(device->host, &e, 1, sizeof *e, "an event"));
    e->device = device;
    quern_status status = device_enter(device, &previous);
    if (status == QUERN_OK)
        status = CHECKED(device, "making an event", cudaEventCreateWithFlags,
                         (&e->handle, cudaEventDisableTiming));
    device_leave(device, previous);
    if (status == QUERN_OK)
        *out = e;
    else
        cuda_services()->release(device->host, e, 1, sizeof *e);
    return status;
}

/* CUDA itself keeps what streams still need of it. */
void cuda_event_destroy(backend_event *e) {
    if (e == NULL) return;
    TORN_DOWN(e->device, cudaEventDestroy, (e->handle));
    cuda_services()->release(e->device->host, e, 1, sizeof *e);
}

/* What is known of the stream's failure now is what the event says when it is waited for. */
static void take_failure(backend_event *e, quern_stream *s) {
    e->status = atomic_load(&s->status);
    if (e->status != QUERN_OK) snprintf(e->sentence, sizeof e->sentence, "%s", s->sentence);
}

quern_status cuda_event_record(backend_event *e, quern_stream *s) {
    int previous;
    QUERN_TRY(cuda_stream_refuse_recording(s, "recording an event"));
    quern_status status = device_enter(e->device, &previous);
    if (status == QUERN_OK)
        status = STREAM_CHECKED(s, "recording an event", cudaEventRecord, (e->handle, s->handle));
    device_leave(e->device, previous);
    if (status != QUERN_OK) return cuda_stream_fail(s, status);
    e->stream = s;
    take_failure(e, s);
    return QUERN_OK;
}

static quern_status event_status(backend_event *e) {
    if (e->status == QUERN_OK && e->stream != NULL) {
        (void)cuda_stream_collect(e->stream);
        take_failure(e, e->stream);
    }
    return e->status == QUERN_OK ? QUERN_OK : cuda_fail(e->status, "%s", e->sentence);
}

quern_status cuda_event_wait(backend_event *e) {
    int previous;
    if (e->stream == NULL) return QUERN_OK;
    quern_status status = device_enter(e->device, &previous);
    if (status == QUERN_OK)
        status = stream_check_waited(e->stream, cuda_driver.cudaEventSynchronize(e->handle),
                                     "cudaEventSynchronize");
    device_leave(e->device, previous);
    return status == QUERN_OK ? event_status(e) : status;
}

quern_status cuda_event_query(backend_event *e, bool *out_done) {
    *out_done = true;
    if (e->stream == NULL) return QUERN_OK;
    QUERN_TRY(device_status(e->device));
    const cudaError_t code = cuda_driver.cudaEventQuery(e->handle);
    *out_done = code != cudaErrorNotReady;
    if (!*out_done) {
        IGNORED(cudaGetLastError, ());
        return QUERN_OK;
    }
    return stream_check_waited(e->stream, code, "cudaEventQuery");
}

static quern_status wait_for(quern_stream *s, cudaEvent_t event) {
    int previous;
    quern_status status = device_enter(s->device, &previous);
    if (status == QUERN_OK)
        status = cuda_stream_fail(s, STREAM_CHECKED(s, "waiting for an event", cudaStreamWaitEvent,
                                                    (s->handle, event, 0)));
    device_leave(s->device, previous);
    return status;
}

quern_status cuda_stream_wait_event(quern_stream *s, backend_event *e) {
    QUERN_TRY(cuda_stream_refuse_recording(s, "waiting for an event"));
    if (e->stream == NULL) return QUERN_OK;
    if (event_status(e) != QUERN_OK) { /* the stream says it when it is waited for */
        (void)cuda_stream_fail(s, e->status);
        return device_status(s->device);
    }
    return wait_for(s, e->handle);
}

/* What CUDA does not take for an event is the application's mistake: nothing was issued, and the
 * stream is as well as before. */
static quern_status event_refused(quern_status status) {
    if (status != QUERN_INTERNAL) return status;
    return cuda_fail(QUERN_INVALID, "the application's event is not one to wait for: %s",
                     cuda_services()->error());
}

quern_status cuda_stream_wait_native(quern_stream *s, void *event) {
    int previous;
    QUERN_TRY(cuda_stream_refuse_recording(s, "waiting for an event of the application"));
    quern_status status = device_enter(s->device, &previous);
    if (status == QUERN_OK)
        status =
            event_refused(STREAM_CHECKED(s, "waiting for an event of the application",
                                         cudaStreamWaitEvent, (s->handle, (cudaEvent_t)event, 0)));
    device_leave(s->device, previous);
    return status == QUERN_INVALID ? status : cuda_stream_fail(s, status);
}
