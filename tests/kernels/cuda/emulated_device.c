#include "emulated_device.h"

#include "emulation_control.h"
#include "host/device/device.h"

#include <stdlib.h>

/* Each device has an order of its own, by its number of threads: 1, 2 and 3 are all of them. */
enum { DEVICES = 4 };
static struct {
    const quern_stream *stream;
    emulation_order order;
} orders[DEVICES];

static void order_set(const quern_stream *from, const quern_stream *to, emulation_order order) {
    for (int i = 0; i < DEVICES; i++)
        if (orders[i].stream == from) {
            orders[i].stream = to;
            orders[i].order = order;
            return;
        }
    abort();
}

static quern_status call(quern_stream *stream, quern_kernel_function function,
                         const quern_kernel_args *args) {
    for (int i = 0; i < DEVICES; i++)
        if (orders[i].stream == stream) emulation_set_order(orders[i].order);
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
    device->backend = &emulated_backend;
    device->stream = emulation_stream_create();
    order_set(NULL, device->stream, (emulation_order)(desc->thread_count % EMULATION_ORDERS));
    *out = device;
    return QUERN_OK;
}

void quern_device_destroy(quern_device *device) {
    if (device == NULL) return;
    order_set(device->stream, NULL, EMULATION_FORWARD);
    emulation_stream_destroy(device->stream);
    free(device);
}
