/* bench_loop - what the training loop itself costs, per update, for a network of one weight on one
 * thread: events, records, statistics, the loader, a log every 50 updates. Prints one JSON object.
 *
 *   fit_us    an update inside quern_trainer_fit, by the clock on the wall
 *   bare_us   the same recorded step launched and waited for, as far behind, by nothing else
 *   host_us   an update inside fit on a device that takes no time: all that the host does
 *   rows_us   the same where the device holds the data, and up to 32 updates are one launch
 *
 * The loop's own cost is host_us where the device is faster than the host, and fit_us - bare_us is
 * what is left of it where both run side by side. Each is the least of some rounds that take
 * turns, because the machine may be shared. Exit code 1 when the loop's own cost, by any of the
 * three, is more than LIMIT_US. */
#include "../../src/host/train/trainer.h"
#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES = 4096, STEPS = 20000, ROUNDS = 15 };
static const double LIMIT_US = 2;

typedef struct bench {
    quern_device *device;
    quern_graph *graph;
    quern_dataset *data;
    quern_trainer *trainer; /* of the two: the one that is measured */
    quern_trainer *host_fed, *resident;
    float x[SAMPLES], y[SAMPLES];
    int64_t logs, steps;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void need(quern_status status) {
    if (status == QUERN_OK) return;
    fprintf(stderr, "bench_loop: %s\n", quern_error());
    exit(1);
}

static quern_action on_log(void *self, const quern_event *event) {
    bench *b = self;
    b->logs += event->scalar_count > 0;
    return QUERN_CONTINUE;
}

static quern_action on_step_end(void *self, const quern_event *event) {
    bench *b = self;
    b->steps = event->step;
    return QUERN_CONTINUE;
}

static void trainer_open(bench *b, quern_trainer **out, quern_tensor *loss, int32_t run_ahead,
                         quern_resident resident) {
    const quern_callback callback = {
        .name = "bench", .self = b, .log = on_log, .step_end = on_step_end};
    need(quern_trainer_create(out, &(quern_trainer_desc){.graph = b->graph,
                                                         .loss = loss,
                                                         .train = b->data,
                                                         .resident = resident,
                                                         .batch_size = 1,
                                                         .step_limit = STEPS,
                                                         .run_ahead = run_ahead,
                                                         .optimizer = {.kind = QUERN_OPTIMIZER_SGD,
                                                                       .learning_rate = 1e-3},
                                                         .callbacks = &callback,
                                                         .callback_count = 1}));
}

static void bench_open(bench *b) {
    for (int i = 0; i < SAMPLES; i++) b->y[i] = 2 * (b->x[i] = (float)i / SAMPLES);
    need(quern_device_create(
        &b->device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU, .thread_count = 1, .seed = 1}));
    need(quern_dataset_arrays(&b->data, b->device,
                              &(quern_arrays_desc){.length = SAMPLES,
                                                   .field_count = 2,
                                                   .fields = {{.name = "x", .rank = 1, .dim = {1}},
                                                              {.name = "y", .rank = 1, .dim = {1}}},
                                                   .data = {b->x, b->y}}));
    need(quern_graph_create(&b->graph, b->device, NULL));
    const quern_input_desc input = {.name = "x", .rank = 2, .dim = {QUERN_B, 1}};
    quern_input_desc target = input;
    target.name = "y";
    quern_tensor *y = quern_dense(b->graph, quern_input(b->graph, &input),
                                  &(quern_dense_desc){.units = 1, .no_bias = true});
    quern_tensor *loss = quern_mse(b->graph, y, quern_input(b->graph, &target));
    trainer_open(b, &b->host_fed, loss, 4, QUERN_RESIDENT_OFF);
    trainer_open(b, &b->resident, loss, 64, QUERN_RESIDENT_ON);
    b->trainer = b->host_fed;
}

static double fit_round(bench *b) {
    const double begin = now();
    need(quern_trainer_fit(b->trainer, NULL));
    return (now() - begin) / STEPS;
}

/* The trainer's own state is put right again by the next fit. */
static double bare_round(bench *b) {
    quern_trainer *t = b->trainer;
    const trainer_unit *unit = unit_find(t, UNIT_TRAIN, 1);
    const int64_t lag = t->desc.run_ahead;
    const double begin = now();
    for (int64_t n = 0; n < STEPS; n++) {
        need(feed_upload(t, &t->train_feed, (int32_t)(n % t->train_feed.slot_count), unit));
        need(unit_issue(t, unit, TURN_ONLY, SEGMENT_FORWARD, SEGMENT_UPDATE));
        need(t->backend->event_record(t->events[n % (lag + 1)], t->stream));
        if (n >= lag) need(t->backend->event_wait(t->events[(n - lag) % (lag + 1)]));
    }
    need(t->backend->stream_wait(t->stream));
    t->frozen = true;
    return (now() - begin) / STEPS;
}

static bench *instant; /* whose launches the functions below stand in for */

static int64_t launched; /* attempts so far */

static quern_status instant_launch(backend_capture *capture, quern_stream *stream) {
    (void)stream;
    quern_trainer *t = instant->trainer;
    int64_t count = 1;
    for (int i = 1; i < ROW_COUNT; i++)
        if (capture == t->rows[i]) count = INT64_C(1) << i;
    for (const int64_t end = launched + count; launched < end; launched++)
        t->pinned->ring[launched % t->record.ring_count] = (task_record){.attempt = launched,
                                                                         .step = launched + 1,
                                                                         .loss = 1,
                                                                         .weight = 1,
                                                                         .samples = 1,
                                                                         .scale = 1};
    return QUERN_OK;
}

static quern_status instant_copy(quern_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream, (void)to, (void)from, (void)bytes;
    return QUERN_OK;
}

static quern_status instant_fill(quern_stream *stream, void *to, int value, size_t bytes) {
    (void)stream, (void)to, (void)value, (void)bytes;
    return QUERN_OK;
}

static quern_status instant_record(backend_event *event, quern_stream *stream) {
    (void)event, (void)stream;
    return QUERN_OK;
}

static quern_status instant_wait(backend_event *event) {
    (void)event;
    return QUERN_OK;
}

static quern_status instant_query(backend_event *event, bool *out_done) {
    (void)event;
    *out_done = true;
    return QUERN_OK;
}

static double host_round(bench *b, quern_trainer *t) {
    const quern_backend *real = t->backend;
    quern_backend device = *real;
    device.capture_launch = instant_launch;
    device.copy = instant_copy;
    device.fill = instant_fill;
    device.event_record = instant_record;
    device.event_wait = instant_wait;
    device.event_query = instant_query;
    t->backend = b->device->backend = &device;
    instant = b;
    b->trainer = t;
    launched = t->step = t->attempts; /* as the instant device counts them */
    const double seconds = fit_round(b);
    b->trainer = b->host_fed;
    t->backend = b->device->backend = real;
    t->frozen = true;
    return seconds;
}

static double least(double a, double b) { return a < b ? a : b; }

/* 1 when it is too much, or no number. */
static int judge(const char *what, double us) {
    if (us <= LIMIT_US) return 0;
    fprintf(stderr, "bench_loop: %s is %.3f us an update, at most %g is accepted\n", what, us,
            LIMIT_US);
    return 1;
}

int main(void) {
    static bench b;
    double fit = 1, bare = 1, host = 1, rows = 1;
    bench_open(&b);
    for (int i = 0; i < ROUNDS; i++) {
        fit = least(fit, fit_round(&b));
        bare = least(bare, bare_round(&b));
        host = least(host, host_round(&b, b.host_fed));
        rows = least(rows, host_round(&b, b.resident));
    }
    if (b.steps == 0 || b.logs < STEPS / 50) need(quern_fail(QUERN_INTERNAL, "nothing was told"));
    printf("{\"fit_us\": %.3f, \"bare_us\": %.3f, \"host_us\": %.3f, \"rows_us\": %.3f}\n",
           1e6 * fit, 1e6 * bare, 1e6 * host, 1e6 * rows);
    quern_trainer_destroy(b.host_fed);
    quern_trainer_destroy(b.resident);
    quern_graph_destroy(b.graph);
    quern_dataset_destroy(b.data);
    quern_device_destroy(b.device);
    return judge("fit_us - bare_us", 1e6 * (fit - bare)) | judge("host_us", 1e6 * host) |
           judge("rows_us", 1e6 * rows);
}
