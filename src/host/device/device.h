/* device.h - the device object: a backend opened, its host tables, its seed. */
#ifndef QUERN_DEVICE_DEVICE_H
#define QUERN_DEVICE_DEVICE_H

#include "../../kernels/backend.h"
#include <quern/device.h>

#include <stdatomic.h>

struct quern_device {
    quern_host host; /* resolved: every table filled */
    const quern_backend *backend;
    backend_device *memory;
    quern_stream *stream; /* for programs and parameters without a trainer */
    uint64_t seed;
    bool allow_nondeterministic, trace_ops;
    quern_device_info info;
    atomic_int_fast64_t host_waits; /* times that the host has waited for it */
    atomic_int_fast64_t mended;     /* and that this returned a stream's failure */
};

/* wait.c */
QUERN_MUST_CHECK quern_status device_wait_stream(quern_device *device, quern_stream *stream);
QUERN_MUST_CHECK quern_status device_wait_event(quern_device *device, backend_event *event);
/* As long as it stays the same, nothing has run behind a failure on any stream of the device. */
int64_t device_mended(const quern_device *device);
int64_t device_host_waits(const quern_device *device);

#endif
