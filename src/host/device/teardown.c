#include "teardown.h"

#include "../base/report.h"

#include <string.h>

void device_wait_last(quern_device *device, quern_stream *stream) {
    error_text kept;
    error_save(&kept);
    const bool known = device->backend->stream_status(stream) == QUERN_DEVICE_LOST;
    const quern_status status = device_wait_stream(device, stream);
    if (status != QUERN_OK && !known && strcmp(quern_error(), kept.text) != 0)
        log_write(&device->host, QUERN_LOG_WARNING, "%s", quern_error());
    error_restore(&kept);
}
