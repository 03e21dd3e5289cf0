/* teardown.h - the last waits for a device, in a destroy or behind a failure: what fails then has
 * no caller left that a status could go to. */
#ifndef QUERN_DEVICE_TEARDOWN_H
#define QUERN_DEVICE_TEARDOWN_H

#include "../base/report.h"
#include "device.h"

typedef struct last_waits {
    quern_device *device;
    error_text kept;
    bool known; /* what fails from here on has been told */
} last_waits;

/* Before the first of them. */
void last_waits_begin(last_waits *w, quern_device *device, quern_stream *stream);
/* The first failure that comes to light goes to the log; not one that this thread was told last,
 * nor what a device says that was lost before. */
void last_waits_tell(last_waits *w, quern_status status);
/* The thread's sentence is what it was. */
void last_waits_end(const last_waits *w);

/* The only one. */
void device_wait_last(quern_device *device, quern_stream *stream);

#endif
