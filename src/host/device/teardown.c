#include "teardown.h"

#include <string.h>

void last_waits_begin(last_waits *w, quern_device *device, quern_stream *stream) {
    w->device = device;
    error_save(&w->kept);
    w->known = device->backend->stream_status(stream) == QUERN_DEVICE_LOST;
}

void last_waits_tell(last_waits *w, quern_status status) {
    if (status == QUERN_OK) return;
    if (!w->known && strcmp(quern_error(), w->kept.text) != 0)
        log_write(&w->device->host, QUERN_LOG_WARNING, "%s", quern_error());
    w->known = true;
}

void last_waits_end(const last_waits *w) { error_restore(&w->kept); }

void device_wait_last(quern_device *device, quern_stream *stream) {
    last_waits w;
    last_waits_begin(&w, device, stream);
    last_waits_tell(&w, device_wait_stream(device, stream));
    last_waits_end(&w);
}
