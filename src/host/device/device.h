/* device.h - the device object: a backend opened, its host tables, its seed. */
#ifndef QUERN_DEVICE_DEVICE_H
#define QUERN_DEVICE_DEVICE_H

#include "../../kernels/backend.h"
#include <quern/device.h>

struct quern_device {
    quern_host host; /* resolved: every table filled */
    const quern_backend *backend;
    backend_device *memory;
    quern_stream *stream; /* for programs and parameters without a trainer */
    uint64_t seed;
    bool allow_nondeterministic, trace_ops;
    quern_device_info info;
};

#endif
