/* How often the host waits for a device that runs late, and what it allocates there, while it
 * trains: by the library's own count and, call by call, by the fake device's. */
#include "fake_device.h"
#include "host/base/report.h"
#include "host/device/device.h"
#include "quern_test.h"

#include "train/world.h"

#include <string.h>

enum { SAMPLES = 1600, LOGS = 8 };

typedef struct long_set {
    float x[SAMPLES][WORLD_FEATURES];
    int32_t label[SAMPLES];
    quern_dataset *set;
} long_set;

static quern_status long_set_open(long_set *s, quern_device *device) {
    for (int i = 0; i < SAMPLES; i++) {
        for (int j = 0; j < WORLD_FEATURES; j++)
            s->x[i][j] = (float)((i * 7 + j * 13) % 31) / 31 - 0.5f;
        s->label[i] = i % WORLD_CLASSES;
    }
    return quern_dataset_arrays(
        &s->set, device,
        &(quern_arrays_desc){.length = SAMPLES,
                             .field_count = 2,
                             .fields = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                        {.name = "label", .dtype = QUERN_I32}},
                             .data = {s->x, s->label}});
}

/* Both counts at every log. */
typedef struct waits {
    const quern_device *device;
    int64_t step[LOGS], counted[LOGS], seen[LOGS];
    int count;
} waits;

static void waits_note(waits *n, int64_t step) {
    if (n->count == LOGS) return;
    n->step[n->count] = step;
    n->counted[n->count] = device_host_waits(n->device);
    n->seen[n->count++] = fake.host_waits;
}

static quern_action note_log(void *self, const quern_event *event) {
    waits_note(self, event->step);
    return QUERN_CONTINUE;
}

/* From one log to the next, 100 updates further: at most `most`, by both counts. */
static void waits_check(const waits *n, int logs, int64_t most) {
    CHECK_SAY(n->count >= logs, "%d logs", n->count);
    for (int i = 1; i < n->count && n->step[i] % 100 == 0; i++) {
        const int64_t counted = n->counted[i] - n->counted[i - 1],
                      seen = n->seen[i] - n->seen[i - 1];
        CHECK_SAY(n->step[i] - n->step[i - 1] == 100 && counted == seen && seen <= most && seen > 0,
                  "%d updates up to %d: %d waits counted, %d seen",
                  (int)(n->step[i] - n->step[i - 1]), (int)n->step[i], (int)counted, (int)seen);
    }
}

/* Calls that make something on the device, or pinned. */
static int64_t made(void) {
    static const fake_call calls[] = {FAKE_cudaMalloc, FAKE_cudaHostAlloc,
                                      FAKE_cudaGraphInstantiate, FAKE_cudaEventCreateWithFlags,
                                      FAKE_cudaStreamCreateWithFlags};
    int64_t count = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) count += fake.count[calls[i]];
    return count;
}

typedef struct fit_counts {
    waits noted;
    quern_result result;
    int64_t counted, seen, made, pageable;
    int32_t run_ahead, steps_per_launch;
    int64_t launches;
    float weights[256];
} fit_counts;

static fake_call failing_call; /* its failing_at-th call inside fit; 0: none */
static int64_t failing_at;

static quern_status fit(const quern_trainer_desc *change, fit_counts *out) {
    world w;
    error_text sentence = {0};
    static long_set data;
    fake.schedule = FAKE_LATE; /* else there is nothing to wait for */
    memset(out, 0, sizeof *out);
    quern_status s = world_open(&w, &(world_desc){.cuda = true, .dropout = true});
    if (s != QUERN_OK) return s;
    out->noted.device = w.device;
    s = long_set_open(&data, w.device);
    const quern_callback callback = {.name = "waits", .self = &out->noted, .log = note_log};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.train = data.set;
    desc.step_limit = change->step_limit;
    desc.log_every = change->log_every;
    desc.run_ahead = change->run_ahead;
    desc.no_capture = change->no_capture;
    desc.worker_count = change->worker_count;
    desc.evaluate_every = change->evaluate_every;
    desc.resident = change->resident;
    desc.steps_per_launch = change->steps_per_launch;
    if (s == QUERN_OK) s = quern_trainer_create(&w.trainer, &desc);
    if (s == QUERN_OK) {
        out->run_ahead = quern_trainer_resolved(w.trainer)->run_ahead;
        out->steps_per_launch = quern_trainer_resolved(w.trainer)->steps_per_launch;
        const int64_t launches = fake.count[FAKE_cudaGraphLaunch];
        const int64_t before = fake.host_waits, things = made(), pageable = fake.pageable_waits;
        if (failing_at > 0)
            fake.fault[failing_call] = (fake_fault){.at = fake.count[failing_call] + failing_at,
                                                    .code = cudaErrorInvalidValue};
        s = quern_trainer_fit(w.trainer, &out->result);
        error_save(&sentence);
        out->seen = fake.host_waits - before;
        out->made = made() - things;
        out->pageable = fake.pageable_waits - pageable;
        out->launches = fake.count[FAKE_cudaGraphLaunch] - launches;
    }
    if (s == QUERN_OK) {
        CHECK(world_weights(&w, out->weights, 256) > 50);
    }
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(data.set);
    world_close(&w);
    error_restore(&sentence);
    return s;
}

/* The contract is at most two. The sums that a log shows come with the wait for the records. */
TEST_CASE(FakeWaits, one_in_a_hundred_updates_with_a_log_in_each) {
    for (int resident = 0; resident < 2; resident++) {
        fit_counts c;
        const quern_trainer_desc change = {.log_every = 100,
                                           .step_limit = 300,
                                           .resident =
                                               resident ? QUERN_RESIDENT_ON : QUERN_RESIDENT_OFF};
        REQUIRE_OK(fit(&change, &c));
        CHECK(c.run_ahead == 128 && c.result.step == 300);
        CHECK(c.steps_per_launch == (resident ? 32 : 1));
        waits_check(&c.noted, 3, 1);
        CHECK_SAY(c.result.host_waits == c.seen, "%d waits counted in the fit, %d seen",
                  (int)c.result.host_waits, (int)c.seen);
        CHECK(c.made == 0 && c.pageable == 0);
        /* of a hundred: 1 + 2 + 4 + 8 + 16 + 32, 1 to half of the ring, 32 + 4; an evaluation */
        CHECK_SAY(resident ? c.launches <= 3 * 9 + 3 : c.launches >= 300, "%d launches",
                  (int)c.launches);
    }
}

TEST_CASE(FakeWaits, what_is_counted_is_what_the_device_has_seen) {
    static const quern_trainer_desc ways[] = {
        {.log_every = 50},    {.log_every = 7},
        {.log_every = 1},     {.run_ahead = 1},
        {.run_ahead = 3},     {.run_ahead = 17, .log_every = 1000},
        {.no_capture = true}, {.resident = QUERN_RESIDENT_OFF},
        {.worker_count = 2},  {.evaluate_every = 30},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        fit_counts c;
        quern_trainer_desc change = ways[i];
        change.step_limit = 40;
        REQUIRE_OK(fit(&change, &c));
        CHECK_SAY(c.result.host_waits == c.seen && c.seen > 0, "way %d: %d waits counted, %d seen",
                  (int)i, (int)c.result.host_waits, (int)c.seen);
        CHECK_SAY(c.made == 0 && c.pageable == 0, "way %d: %d things made, %d unasked waits",
                  (int)i, (int)c.made, (int)c.pageable);
    }
}

/* On the module's own kernels, late: what is put off must not read what came behind it. */
TEST_CASE(FakeWaits, rows_of_steps_are_single_and_eager_steps_bit_for_bit) {
    static const quern_trainer_desc ways[] = {
        {.resident = QUERN_RESIDENT_OFF},
        {.resident = QUERN_RESIDENT_ON, .no_capture = true},
        {.resident = QUERN_RESIDENT_ON, .steps_per_launch = 1},
        {.resident = QUERN_RESIDENT_ON, .steps_per_launch = 4, .run_ahead = 7},
        {.resident = QUERN_RESIDENT_ON},
    };
    fit_counts first;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        fit_counts c;
        quern_trainer_desc change = ways[i];
        change.step_limit = 90;
        change.log_every = 60;
        REQUIRE_OK(fit(&change, &c));
        if (i == 0) first = c;
        CHECK_SAY(memcmp(first.weights, c.weights, sizeof c.weights) == 0, "way %d", (int)i);
        CHECK(first.result.train_loss == c.result.train_loss && c.result.step == 90);
    }
}

/* The older half of the ring with one wait: 3 of them for 128 updates that 64 may run ahead. */
TEST_CASE(FakeWaits, one_wait_reads_half_of_what_is_in_flight) {
    fit_counts c;
    REQUIRE_OK(
        fit(&(quern_trainer_desc){.log_every = 1000, .step_limit = 128, .run_ahead = 63}, &c));
    CHECK_SAY(c.result.host_waits >= 3 && c.result.host_waits <= 7, "%d waits",
              (int)c.result.host_waits);
}

/* Whatever call fails, once: the fit ends with it, and everything can be destroyed. */
TEST_CASE(FakeWaits, a_call_that_fails_in_a_row_ends_the_fit) {
    static const fake_call calls[] = {FAKE_cudaGraphLaunch, FAKE_cudaEventRecord,
                                      FAKE_cudaEventQuery, FAKE_cudaEventSynchronize,
                                      FAKE_cudaMemcpyAsync};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (int64_t n = 1; n <= 3; n++) {
            fit_counts c;
            failing_call = calls[i];
            failing_at = n;
            const quern_status s = fit(&(quern_trainer_desc){.resident = QUERN_RESIDENT_ON,
                                                             .run_ahead = 15,
                                                             .log_every = 20,
                                                             .step_limit = 60},
                                       &c);
            failing_at = 0;
            CHECK_SAY(fake.fired[calls[i]] == 1 && s != QUERN_OK, "%s %d: %s, fired %d",
                      fake_call_name(calls[i]), (int)n, quern_status_name(s),
                      (int)fake.fired[calls[i]]);
            CHECK_SAY(strstr(quern_error(), fake_call_name(calls[i])) != NULL, "%s", quern_error());
            fake.fault[calls[i]] = (fake_fault){0};
            fake.fired[calls[i]] = 0;
        }
}

TEST_CASE(FakeWaits, an_own_loop_waits_as_seldom) {
    world w;
    waits n = {0};
    fake.schedule = FAKE_LATE;
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true}));
    n.device = w.device;
    const quern_callback callback = {.name = "waits", .self = &n, .log = note_log};
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.train = desc.valid = NULL;
    desc.log_every = 100;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const int64_t things = made();
    for (int i = 0; i < 201; i++) {
        const int at = 4 * (i % 2);
        CHECK_OK(quern_trainer_step(w.trainer,
                                    &(quern_batch){.sample_count = 4,
                                                   .field_count = 2,
                                                   .names = {"x", "label"},
                                                   .data = {w.train_x[at], &w.train_label[at]}}));
    }
    waits_check(&n, 2, 1);
    CHECK(made() == things);
    CHECK_OK(quern_trainer_wait(w.trainer, NULL));
    world_close(&w);
}

typedef struct overlap {
    int64_t graphs_before; /* create's own */
    int64_t uploads, behind;
} overlap;

/* Upload n has come; were the two steps before it still to be run? */
static void overlap_note(void *self) {
    overlap *o = self;
    const int64_t steps = fake.graphs - o->graphs_before, n = o->uploads++;
    o->behind += n > 1 && steps > n - 2;
}

/* Nothing but its own room holds an upload up, and there is room for two: batch i + 2 comes before
 * step i has run. */
TEST_CASE(FakeWaits, an_upload_waits_for_no_step_before_it) {
    world w;
    overlap o = {0};
    fake.schedule = FAKE_LATE;
    REQUIRE_OK(world_open(&w, &(world_desc){.cuda = true, .train_length = 58, .valid_length = -1}));
    w.desc.resident = QUERN_RESIDENT_OFF;
    w.desc.step_limit = 14; /* of the first epoch: at an end the host reads all records */
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    o.graphs_before = fake.graphs;
    fake.uploaded = overlap_note;
    fake.uploaded_self = &o;
    fake.schedule = FAKE_COPIES_FIRST;
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    fake.uploaded = NULL;
    fake.schedule = FAKE_LATE;
    CHECK_SAY(o.uploads == 14 && o.behind == 0, "%d of %d uploads came behind a step before",
              (int)o.behind, (int)o.uploads);
    CHECK(fake.graphs - o.graphs_before == 14);
    world_close(&w);
}

typedef struct row_count {
    double rows;
} row_count;
static void rows_reset(void *self) { ((row_count *)self)->rows = 0; }
static quern_status rows_add(void *self, const quern_view *values, int64_t sample_count) {
    const float *z = values[0].data;
    for (int64_t i = 0; i < sample_count * WORLD_CLASSES; i++)
        if (!(z[i] > -1e6f && z[i] < 1e6f)) return quern_fail(QUERN_INTERNAL, "row %d", (int)i);
    ((row_count *)self)->rows += (double)sample_count;
    return QUERN_OK;
}
static double rows_result(void *self) { return ((row_count *)self)->rows; }

/* Copies to the host go to pinned memory: every wait is the library's own, and counted. */
TEST_CASE(FakeWaits, predictions_and_host_metrics_wait_for_nothing_uncounted) {
    world w;
    row_count rows = {0};
    float cpu[58][WORLD_CLASSES], found[58][WORLD_CLASSES];
    for (int cuda = 0; cuda < 2; cuda++) {
        fake.schedule = FAKE_LATE;
        REQUIRE_OK(world_open(&w, &(world_desc){.cuda = cuda != 0, .train_length = 58}));
        quern_metric metrics[] = {{.name = "rows",
                                   .kind = QUERN_METRIC_HOST,
                                   .host = {.self = &rows,
                                            .tensors = {w.logits},
                                            .tensor_count = 1,
                                            .reset = rows_reset,
                                            .add = rows_add,
                                            .result = rows_result}}};
        w.desc.metrics = metrics;
        w.desc.metric_count = 1;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        const int64_t pageable = fake.pageable_waits, seen = fake.host_waits,
                      counted = device_host_waits(w.device);
        quern_scalar scalars[2];
        int32_t count = 0;
        CHECK_OK(quern_trainer_evaluate(w.trainer, w.train, scalars, 2, &count));
        CHECK(count == 2 && rows.rows == 58 && scalars[1].value == 58);
        CHECK_OK(
            quern_trainer_predict(w.trainer, w.train, w.logits, cuda ? found : cpu, sizeof found));
        CHECK(fake.pageable_waits == pageable);
        CHECK(!cuda || fake.host_waits - seen == device_host_waits(w.device) - counted);
        world_close(&w);
    }
    for (int i = 0; i < 58; i++)
        for (int c = 0; c < WORLD_CLASSES; c++)
            CHECK_NEAR((double)found[i][c], (double)cpu[i][c], 1e-5);
}
