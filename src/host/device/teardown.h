/* teardown.h - the last wait for a stream, in a destroy or behind a failure: what fails then has no
 * caller left that a status could go to. */
#ifndef QUERN_DEVICE_TEARDOWN_H
#define QUERN_DEVICE_TEARDOWN_H

#include "device.h"

/* A failure that comes to light here goes to the log; not one that this thread was told last, nor
 * what a device says that was lost before. The thread's sentence stays what it was. */
void device_wait_last(quern_device *device, quern_stream *stream);

#endif
