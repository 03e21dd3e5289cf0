/* A world of one on a CUDA device, through NCCL: what several ranks do together, done alone, is
 * done on the device's stream, issued and replayed. More ranks need as many GPUs. */
#include "gpu_device.h"
#include "host/base/report.h"
#include "host/device/device.h"
#include "host/dist/world.h"
#include "quern_test.h"

#include <string.h>

enum { COUNT = 4099, BYTES = COUNT * (int)sizeof(float) }; /* one past a multiple of 16 bytes */

typedef struct place {
    quern_device *device;
    const quern_backend *backend;
    quern_stream *stream;
    world *world;
    void *in, *out; /* device memory */
} place;

static quern_status place_open(place *p) {
    memset(p, 0, sizeof *p);
    QUERN_TRY(quern_device_create(&p->device, &(quern_device_desc){.kind = QUERN_DEVICE_CUDA}));
    p->backend = p->device->backend;
    QUERN_TRY(p->backend->stream_create(p->device->memory, &p->stream, "test"));
    QUERN_TRY(p->backend->allocate(p->device->memory, &p->in, BYTES));
    QUERN_TRY(p->backend->allocate(p->device->memory, &p->out, BYTES));
    return world_create(&p->world, &(world_desc){.host = &p->device->host,
                                                 .backend = p->backend,
                                                 .device = p->device->memory,
                                                 .timeout_s = 30});
}

static void place_close(place *p) {
    if (p->device == NULL) return;
    world_destroy(p->world);
    if (p->stream != NULL) p->backend->stream_destroy(p->stream);
    if (p->in != NULL) p->backend->release(p->device->memory, p->in, BYTES);
    if (p->out != NULL) p->backend->release(p->device->memory, p->out, BYTES);
    quern_device_destroy(p->device);
}

static quern_status begin_with(place *p, const float *numbers) {
    QUERN_TRY(p->backend->copy(p->stream, p->in, numbers, BYTES));
    return p->backend->fill(p->stream, p->out, 0xFF, BYTES);
}

static quern_status take(place *p, float *numbers) {
    QUERN_TRY(p->backend->copy(p->stream, numbers, p->out, BYTES));
    return p->backend->stream_wait(p->stream);
}

static quern_status replayed(place *p, collective what, const quern_kernel_args *args) {
    backend_capture *capture = NULL;
    QUERN_TRY(p->backend->capture_begin(p->stream));
    quern_status status = world_issue(p->world, p->stream, what, args);
    const quern_status ended = p->backend->capture_end(p->stream, &capture);
    if (status == QUERN_OK) status = ended;
    if (status == QUERN_OK) status = p->backend->capture_launch(capture, p->stream);
    if (status == QUERN_OK) status = p->backend->stream_wait(p->stream);
    if (capture != NULL) p->backend->capture_destroy(capture);
    return status;
}

/* Alone, every collective gives back what it got. */
static void check_collective(place *p, collective what, collective_call how, quern_dtype dtype) {
    static float numbers[COUNT], found[COUNT];
    const int64_t count = BYTES / (int64_t)quern_dtype_bytes(dtype);
    const quern_view in = {
        .data = p->in, .dim = {count}, .stride = {1}, .count = count, .rank = 1, .dtype = dtype};
    quern_view out = in;
    out.data = p->out;
    how.group = world_group(p->world);
    const quern_kernel_args args = {.attributes = &how,
                                    .input_count = 1,
                                    .output_count = 1,
                                    .in = &in,
                                    .out = &out,
                                    .stream = p->stream};
    /* The halves of such a number are finite in 16 bits too. */
    for (int i = 0; i < COUNT; i++) numbers[i] = 1 + (float)(i % 97) / 128;
    for (int replay = 0; replay < 2; replay++) {
        REQUIRE_OK(begin_with(p, numbers));
        CHECK_OK(replay ? replayed(p, what, &args) : world_issue(p->world, p->stream, what, &args));
        REQUIRE_OK(take(p, found));
        CHECK_SAY(memcmp(numbers, found, BYTES) == 0, "collective %d of %s, %s: other bits",
                  (int)what, quern_dtype_name(dtype), replay ? "replayed" : "issued");
    }
}

TEST_CASE(GpuNccl, a_world_of_one_collects_on_the_devices_stream) {
    static const collective_reduction reductions[] = {COLLECTIVE_SUM, COLLECTIVE_MEAN,
                                                      COLLECTIVE_MAX};
    static const quern_dtype types[] = {QUERN_F32, QUERN_BF16, QUERN_F16};
    place p;
    if (!gpu_has_device()) return;
    const quern_status opened = place_open(&p);
    CHECK_STATUS(opened, QUERN_OK);
    for (int t = 0; opened == QUERN_OK && t < 3; t++) {
        for (int r = 0; r < 3; r++)
            check_collective(&p, COLLECTIVE_all_reduce,
                             (collective_call){.reduction = reductions[r]}, types[t]);
        check_collective(&p, COLLECTIVE_reduce_scatter, (collective_call){0}, types[t]);
        check_collective(&p, COLLECTIVE_all_gather, (collective_call){0}, types[t]);
        check_collective(&p, COLLECTIVE_broadcast, (collective_call){0}, types[t]);
    }
    if (opened == QUERN_OK) CHECK_TEXT(world_library(p.world), "NCCL");
    place_close(&p);
}
