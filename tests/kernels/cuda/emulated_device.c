#include "emulated_device.h"

#include "emulation_control.h"
#include "host/device/device.h"

#include <stdlib.h>

static quern_status call(quern_stream *stream, quern_kernel_function function,
                         const quern_kernel_args *args) {
    (void)stream;
    return function(args);
}

static const quern_backend emulated_backend = {.name = "emulated",
                                               .kind = QUERN_BACKEND_CUDA,
                                               .stream_wait = emulation_stream_wait,
                                               .call = call,
                                               .kernels = cuda_kernels,
                                               .tasks = cuda_tasks,
                                               .update_rules = cuda_update_rules};

quern_status quern_device_create(quern_device **out, const quern_device_desc *desc) {
    quern_device *device = calloc(1, sizeof *device);
    if (device == NULL) abort();
    emulation_set_order((emulation_order)(desc->thread_count % EMULATION_ORDERS));
    device->backend = &emulated_backend;
    device->stream = emulation_stream_create();
    *out = device;
    return QUERN_OK;
}

void quern_device_destroy(quern_device *device) {
    if (device == NULL) return;
    emulation_stream_destroy(device->stream);
    free(device);
}
