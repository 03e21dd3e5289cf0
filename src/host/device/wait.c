/* wait.c - the host waits for the device here and nowhere else, so that what is counted here is all
 * there is. Waiting for an event that has come is none. A copy to memory of the caller's that is
 * not pinned makes CUDA wait by itself; the library makes one only for a reader that waits next. */
#include "device.h"

#include "../base/report.h"

static void count_one(quern_device *device) {
    atomic_fetch_add_explicit(&device->host_waits, 1, memory_order_relaxed);
}

quern_status device_wait_stream(quern_device *device, quern_stream *stream) {
    count_one(device);
    const quern_status status = device->backend->stream_wait(stream);
    if (status != QUERN_OK) atomic_fetch_add_explicit(&device->mended, 1, memory_order_relaxed);
    return status;
}

quern_status device_wait_event(quern_device *device, backend_event *event) {
    bool done = false;
    QUERN_TRY(device->backend->event_query(event, &done));
    if (!done) count_one(device);
    return device->backend->event_wait(event);
}

int64_t device_mended(const quern_device *device) {
    return (int64_t)atomic_load_explicit(&device->mended, memory_order_relaxed);
}

int64_t device_host_waits(const quern_device *device) {
    return (int64_t)atomic_load_explicit(&device->host_waits, memory_order_relaxed);
}
