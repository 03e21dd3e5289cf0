/* capture.c - work recorded once as a CUDA graph and launched as a whole.
 *
 * The capture is of the thread's own mode: other threads (loaders, writers) may call CUDA while
 * it lasts. The graph is uploaded when it is made, so that the first launch costs what every
 * other does. */
#include "device.h"

static quern_status begin_capture(quern_stream *s) {
    int previous;
    quern_status status = device_enter(s->device, &previous);
    if (status == QUERN_OK)
        status = STREAM_CHECKED(s, "beginning to record a step", cudaStreamBeginCapture,
                                (s->handle, cudaStreamCaptureModeThreadLocal));
    device_leave(s->device, previous);
    return status;
}

quern_status cuda_capture_begin(quern_stream *s) {
    QUERN_TRY(cuda_stream_refuse_recording(s, "beginning a capture"));
    QUERN_TRY(cuda_stream_status(s));
    backend_capture *c = NULL;
    QUERN_TRY(cuda_services()->allocate(s->device->host, &c, 1, sizeof *c, "a capture"));
    c->device = s->device;
    const quern_status status = begin_capture(s);
    if (status == QUERN_OK)
        s->recording = c;
    else
        cuda_capture_destroy(c);
    return status;
}

static quern_status make_executable(backend_capture *c, quern_stream *s, cudaGraph_t graph) {
    int previous;
    quern_status status = device_enter(c->device, &previous);
    if (status == QUERN_OK)
        status = STREAM_CHECKED(s, "making a recorded step", cudaGraphInstantiate,
                                (&c->executable, graph, 0));
    if (status == QUERN_OK)
        status = STREAM_CHECKED(s, "making a recorded step", cudaGraphUpload,
                                (c->executable, s->handle));
    device_leave(c->device, previous);
    return status;
}

/* The stream leaves its capture whatever else fails, or it could not be used again. A call that
 * failed while it was recorded has already said why: that is the capture's failure, whatever CUDA
 * thinks of what was recorded. */
static quern_status end_capture(quern_stream *s, backend_capture *c) {
    cudaGraph_t graph = NULL;
    QUERN_TRY(device_status(s->device));
    const cudaError_t code = cuda_driver.cudaStreamEndCapture(s->handle, &graph);
    quern_status status = stream_check(s, code, "cudaStreamEndCapture", "recording a step");
    const quern_status recorded = cuda_stream_take_failure(s);
    if (recorded != QUERN_OK) status = recorded;
    if (status == QUERN_OK) status = make_executable(c, s, graph);
    if (graph != NULL) TORN_DOWN(c->device, cudaGraphDestroy, (graph));
    return status;
}

quern_status cuda_capture_end(quern_stream *s, backend_capture **out) {
    *out = NULL;
    backend_capture *c = s->recording;
    if (c == NULL)
        return cuda_fail(QUERN_INVALID, "ending a capture on a stream that captures nothing");
    s->recording = NULL;
    const quern_status status = end_capture(s, c);
    stream_note_nothing(s);
    if (status == QUERN_OK)
        *out = c;
    else
        cuda_capture_destroy(c);
    return status;
}

void capture_abandon(quern_stream *s) {
    cudaGraph_t graph = NULL;
    if (s->recording == NULL) return;
    if (atomic_load(&s->device->lost) == 0)
        TORN_DOWN(s->device, cudaStreamEndCapture, (s->handle, &graph));
    if (graph != NULL) TORN_DOWN(s->device, cudaGraphDestroy, (graph));
    cuda_capture_destroy(s->recording);
    s->recording = NULL;
}

quern_status cuda_capture_launch(backend_capture *c, quern_stream *s) {
    int previous;
    QUERN_TRY(cuda_stream_refuse_recording(s, "launching a capture"));
    if (atomic_load(&s->status) != QUERN_OK) return device_status(s->device);
    quern_status status = device_enter(s->device, &previous);
    if (status == QUERN_OK)
        status = cuda_stream_fail(
            s, STREAM_CHECKED(s, "a recorded step", cudaGraphLaunch, (c->executable, s->handle)));
    stream_note(s, NULL);
    device_leave(s->device, previous);
    return status;
}

/* A graph that still runs is kept by CUDA until it has run. */
void cuda_capture_destroy(backend_capture *c) {
    if (c == NULL) return;
    if (c->executable != NULL) TORN_DOWN(c->device, cudaGraphExecDestroy, (c->executable));
    cuda_services()->release(c->device->host, c, 1, sizeof *c);
}
