/* The module's own kernels, compiled for the host, on the fake device: issued to streams and
 * replayed from graphs through the same calls as on a GPU, while device memory has no access
 * rights for the host. */
#include "quern_test.h"

#include "emulation_control.h"
#include "fake_core.h"
#include "kernels/cuda/cuda.h"

#include <string.h>

enum { COUNT = 1000 };

typedef struct world {
    const quern_backend *cuda;
    quern_host host;
    backend_device *device;
    quern_stream *stream;
    float *x, *y, *pinned; /* COUNT each */
    quern_view in, out;
    quern_kernel_args args;
} world;

static quern_view view_of(float *data) {
    return (quern_view){
        .data = data, .dim = {COUNT}, .stride = {1}, .count = COUNT, .rank = 1, .dtype = QUERN_F32};
}

static bool world_begin(world *w, fake_schedule schedule) {
    *w = (world){.cuda = fake_core_open(), .host = quern_host_default()};
    fake_begin();
    fake.schedule = schedule;
    const size_t bytes = COUNT * sizeof(float);
    const backend_open_desc desc = {.host = &w->host};
    if (w->cuda->open(&w->device, &desc) != QUERN_OK ||
        w->cuda->stream_create(w->device, &w->stream, "compute") != QUERN_OK ||
        w->cuda->allocate(w->device, (void **)&w->x, bytes) != QUERN_OK ||
        w->cuda->allocate(w->device, (void **)&w->y, bytes) != QUERN_OK ||
        w->cuda->allocate_pinned(w->device, (void **)&w->pinned, bytes) != QUERN_OK)
        return false;
    w->in = view_of(w->x);
    w->out = view_of(w->y);
    w->args = (quern_kernel_args){
        .input_count = 1, .output_count = 1, .in = &w->in, .out = &w->out, .stream = w->stream};
    for (int i = 0; i < COUNT; i++) w->pinned[i] = (float)(i - COUNT / 2);
    return w->cuda->copy(w->stream, w->x, w->pinned, bytes) == QUERN_OK &&
           w->cuda->stream_wait(w->stream) == QUERN_OK;
}

static void world_end(world *w) {
    const size_t bytes = COUNT * sizeof(float);
    w->cuda->stream_destroy(w->stream);
    w->cuda->release(w->device, w->x, bytes);
    w->cuda->release(w->device, w->y, bytes);
    w->cuda->release_pinned(w->device, w->pinned, bytes);
    w->cuda->close(w->device);
    CHECK(fake_live() == 0);
    CHECK_TEXT(fake.misuse, "");
}

/* x, relu(x) into y, and back; the copy in front makes a kernel that runs too early visible. */
static quern_status issue(world *w, quern_kernel_function function) {
    const size_t bytes = COUNT * sizeof(float);
    quern_status status = w->cuda->fill(w->stream, w->y, 0xFF, bytes);
    if (status == QUERN_OK) status = w->cuda->call(w->stream, function, &w->args);
    if (status == QUERN_OK) status = w->cuda->copy(w->stream, w->pinned, w->y, bytes);
    return status;
}

static void check_result(const world *w) {
    for (int i = 0; i < COUNT; i++) {
        const float x = (float)(i - COUNT / 2);
        CHECK(w->pinned[i] == (x > 0 ? x : 0));
    }
}

TEST_CASE(FakeKernels, run_in_their_streams_order_issued_or_replayed) {
    for (int schedule = 0; schedule <= FAKE_MIXED; schedule++)
        for (int order = 0; order < EMULATION_ORDERS; order++) {
            world w;
            REQUIRE(world_begin(&w, (fake_schedule)schedule));
            emulation_set_order((emulation_order)order);
            REQUIRE(w.cuda->kernels[QUERN_OP_ID_relu] != NULL);
            const quern_kernel_function relu = w.cuda->kernels[QUERN_OP_ID_relu]->forward;
            const int64_t launches = emulation_launches();
            REQUIRE_OK(issue(&w, relu));
            REQUIRE_OK(w.cuda->stream_wait(w.stream));
            CHECK(emulation_launches() == launches + 1);
            check_result(&w);

            backend_capture *capture;
            REQUIRE_OK(w.cuda->capture_begin(w.stream));
            CHECK_OK(issue(&w, relu));
            REQUIRE_OK(w.cuda->capture_end(w.stream, &capture));
            CHECK(emulation_launches() == launches + 1); /* recorded, not run */
            for (int i = 0; i < 3; i++) {
                memset(w.pinned, 0, COUNT * sizeof(float));
                REQUIRE_OK(w.cuda->capture_launch(capture, w.stream));
                REQUIRE_OK(w.cuda->stream_wait(w.stream));
                check_result(&w);
            }
            CHECK(emulation_launches() == launches + 4);
            w.cuda->capture_destroy(capture);
            world_end(&w);
        }
    emulation_set_order(EMULATION_FORWARD);
}
