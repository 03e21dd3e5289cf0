/* TensorBoard event files: their bytes, what they hold, and what becomes of them when a disk or an
 * allocator fails. Read by event_reader.c always, by TensorBoard itself where it is installed. */
#include "event_reader.h"
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 16, EVENTS_MAX = 64 };

static int64_t stopped_clock(void *self) {
    (void)self;
    return INT64_C(1700000000500000000);
}

static int64_t running_clock(void *self) {
    int64_t *now = self;
    return *now += 1000000;
}

static quern_host host_with_stopped_clock(int64_t *now) {
    quern_host host = quern_host_default();
    *now = 1;
    host.clock =
        (quern_clock){.monotonic_ns = running_clock, .wall_ns = stopped_clock, .self = now};
    return host;
}

typedef struct event_file {
    char path[512];
    uint8_t data[FILE_BYTES_MAX];
    size_t bytes;
    read_event events[EVENTS_MAX];
    int count;
} event_file;

static bool file_read(event_file *f, const char *path) {
    snprintf(f->path, sizeof f->path, "%s", path);
    FILE *from = fopen(path, "rb");
    if (!from) return false;
    f->bytes = fread(f->data, 1, sizeof f->data, from);
    fclose(from);
    f->count = reader_events(f->data, f->bytes, f->events, EVENTS_MAX);
    return f->count >= 0;
}

static const read_scalar *scalar_of(const read_event *event, const char *tag) {
    for (int i = 0; i < event->scalar_count; i++)
        if (strcmp(event->scalars[i].tag, tag) == 0) return &event->scalars[i];
    return NULL;
}

typedef struct seen {
    double loss[EVENTS_MAX];
    int count;
} seen;

static quern_action see(void *self, const quern_event *event) {
    seen *s = self;
    const char *name = event->kind == QUERN_EVENT_eval_end ? "val/loss" : "train/loss";
    s->loss[s->count++] = quern_event_scalar(event, name);
    return QUERN_CONTINUE;
}

/* Two epochs of three updates, a log every two. */
static quern_status fit(world *w, quern_tensorboard *t, seen *s) {
    const quern_callback callbacks[] = {
        quern_tensorboard_callback(t),
        {.name = "see", .self = s, .log = see, .eval_end = see, .epoch_end = see}};
    quern_trainer_desc desc = world_with(w, callbacks, s ? 2 : 1);
    desc.epoch_count = 2;
    desc.log_every = 2;
    quern_status status = quern_trainer_create(&w->trainer, &desc);
    if (status == QUERN_OK) status = quern_trainer_fit(w->trainer, NULL);
    quern_trainer_destroy(w->trainer);
    w->trainer = NULL;
    return status;
}

TEST_CASE(TensorBoard, the_readers_checksum_is_crc32c) {
    CHECK(reader_crc32c((const uint8_t *)"123456789", 9) == 0xE3069283u);
    CHECK(reader_crc32c((const uint8_t *)"", 0) == 0);
}

/* Computed apart, from the format's description, with Python's struct and a table-driven crc. */
static const uint8_t golden[] = {0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xA3, 0x7F,
                                 0x4B, 0x22, 0x09, 0x00, 0x00, 0x20, 0x40, 0xFC, 0x54, 0xD9,
                                 0x41, 0x1A, 0x0D, 0x62, 0x72, 0x61, 0x69, 0x6E, 0x2E, 0x45,
                                 0x76, 0x65, 0x6E, 0x74, 0x3A, 0x32, 0x2B, 0x35, 0x31, 0x10};

TEST_CASE(TensorBoard, the_first_record_is_these_bytes) {
    world w;
    temporary d;
    int64_t now;
    quern_tensorboard *t = NULL;
    static event_file f;
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.host = host_with_stopped_clock(&now)}));
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, d.path));
    REQUIRE(file_read(&f, quern_tensorboard_path(t))); /* there at once, not at destroy */
    CHECK(f.bytes == sizeof golden && memcmp(f.data, golden, sizeof golden) == 0);
    char host[128], name[256];
    REQUIRE(gethostname(host, sizeof host) == 0);
    snprintf(name, sizeof name, "/events.out.tfevents.1700000000.%s.%ld", host, (long)getpid());
    CHECK_HAS(f.path, name);
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
}

TEST_CASE(TensorBoard, a_record_for_every_log_eval_end_and_epoch_end) {
    world w;
    temporary d;
    int64_t now;
    seen s = {0};
    quern_tensorboard *t = NULL;
    static event_file f;
    static const int64_t steps[] = {2, 3, 3, 3, 4, 6, 6, 6};
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.host = host_with_stopped_clock(&now)}));
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, temporary_join(&d, "runs/one")));
    REQUIRE_OK(fit(&w, t, &s));
    REQUIRE(file_read(&f, quern_tensorboard_path(t)));
    REQUIRE(f.count == 9 && s.count == 8);
    CHECK_TEXT(f.events[0].version, "brain.Event:2");
    for (int i = 0; i < 8; i++) {
        const read_event *event = &f.events[i + 1];
        const bool eval = i % 4 == 2, epoch = i % 4 == 3;
        const read_scalar *loss = scalar_of(event, eval    ? "val/loss"
                                                   : epoch ? "epoch/train/loss"
                                                           : "train/loss");
        CHECK(event->step == steps[i] && event->wall_time == 1700000000.5);
        CHECK(event->scalar_count == (eval ? 2 : 4));
        REQUIRE(loss != NULL);
        CHECK(loss->value == (float)s.loss[i]);
        CHECK((scalar_of(event, "epoch/val/accuracy") != NULL) == epoch);
        CHECK((scalar_of(event, "train/learning_rate") != NULL) == (!eval && !epoch));
    }
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
}

TEST_CASE(TensorBoard, nan_stays_nan) {
    world w;
    temporary d;
    quern_tensorboard *t = NULL;
    static event_file f;
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    quern_tensor *nothing = quern_scale(w.graph, w.loss, &(quern_scale_desc){.factor = QUERN_ZERO});
    quern_metric metric = {.name = "void", .value = nothing, .weight = nothing};
    w.desc.metrics = &metric;
    w.desc.metric_count = 1;
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, d.path));
    REQUIRE_OK(fit(&w, t, NULL));
    REQUIRE(file_read(&f, quern_tensorboard_path(t)) && f.count > 1);
    const read_scalar *scalar = scalar_of(&f.events[1], "train/void");
    REQUIRE(scalar != NULL);
    CHECK(isnan(scalar->value));
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
}

/* A run that goes on writes a second file, which takes back what lies beyond its first step. */
TEST_CASE(TensorBoard, a_run_that_goes_on_says_from_where) {
    world w;
    temporary d;
    int64_t now;
    static event_file f;
    quern_tensorboard *first = NULL, *second = NULL;
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.host = host_with_stopped_clock(&now)}));
    REQUIRE_OK(quern_tensorboard_create(&first, w.device, d.path));
    REQUIRE_OK(quern_tensorboard_create(&second, w.device, d.path));
    CHECK(strcmp(quern_tensorboard_path(first), quern_tensorboard_path(second)) != 0);
    const quern_callback callback = quern_tensorboard_callback(second);
    quern_trainer_desc desc = world_with(&w, &callback, 1);
    desc.epoch_count = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const quern_batch batch = {.sample_count = 4,
                               .field_count = 2,
                               .names = {"x", "label"},
                               .data = {w.train_x, w.train_label}};
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    REQUIRE_OK(quern_trainer_step(w.trainer, &batch));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    REQUIRE(file_read(&f, quern_tensorboard_path(second)) && f.count == 8);
    for (int i = 0; i < f.count; i++) CHECK(f.events[i].session == (i == 1));
    CHECK(f.events[1].step == 3); /* the first that is taken back */
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_tensorboard_destroy(second);
    quern_tensorboard_destroy(first);
    world_close(&w);
    temporary_end(&d);
}

/* How often TensorBoard shows a step's loss: a START takes back every record from its step on. */
static int64_t shown(const event_file *f, int64_t step) {
    int64_t count = 0;
    for (int64_t i = 0; i < f->count; i++) {
        const read_event *e = &f->events[i];
        if (e->session == 1 && e->step <= step) count = 0;
        count += e->step == step && e->scalar_count >= 0 && scalar_of(e, "train/loss") != NULL;
    }
    return count;
}

/* An epoch makes step 1, goes back to 0 and makes it again; the second one makes 2 before. */
static void check_rollbacks(int64_t epochs) {
    world w;
    temporary d;
    quern_result r;
    quern_tensorboard *t = NULL;
    static event_file f;
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.train_x[6][2] = NAN; /* the second of three windows */
    w.desc.no_shuffle = true;
    w.desc.not_finite = QUERN_NOT_FINITE_ROLLBACK;
    w.desc.log_every = 1;
    w.desc.epoch_count = epochs;
    w.desc.save = (quern_save_desc){.directory = d.path, .every = 1000};
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, d.path));
    const quern_callback callback = quern_tensorboard_callback(t);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.step == 1 && r.attempts == 3 * epochs);
    REQUIRE(file_read(&f, quern_tensorboard_path(t)));
    CHECK(shown(&f, 1) == 1 && shown(&f, 2) == 0);
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
}

TEST_CASE(TensorBoard, no_step_is_shown_twice_behind_a_rollback) {
    check_rollbacks(1);
    check_rollbacks(2);
}

/* From a checkpoint of step 0 too: what an earlier process logged behind it is taken back. */
TEST_CASE(TensorBoard, a_run_that_goes_on_from_its_beginning_says_so) {
    world w;
    temporary d;
    quern_tensorboard *t = NULL;
    static event_file f;
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    w.desc.save = (quern_save_desc){.directory = d.path, .resume = true};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(quern_trainer_save(w.trainer));
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, d.path));
    const quern_callback callback = quern_tensorboard_callback(t);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    REQUIRE(file_read(&f, quern_tensorboard_path(t)) && f.count > 2);
    CHECK(f.events[1].session == 1 && f.events[1].step == 1);
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
}

/* Exit code 77 of the script: the package is not installed; 126 and 127: no such python for this
 * user. */
TEST_CASE(TensorBoard, its_own_parser_reads_the_file) {
    world w;
    temporary d;
    seen s = {0};
    quern_tensorboard *t = NULL;
    char command[2048], expected[512], found[512] = {0};
    const char *python = getenv("QUERN_TEST_PYTHON");
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_tensorboard_create(&t, w.device, d.path));
    REQUIRE_OK(fit(&w, t, &s));
    snprintf(command, sizeof command, "'%s' '%s/tests/callbacks/read_events.py' '%s' 2>/dev/null",
             python ? python : QUERN_TEST_PYTHON, QUERN_SOURCE_DIR, d.path);
    FILE *from = popen(command, "r");
    REQUIRE(from != NULL);
    const size_t bytes = fread(found, 1, sizeof found - 1, from);
    const int ended = pclose(from);
    quern_tensorboard_destroy(t);
    world_close(&w);
    temporary_end(&d);
    const int code = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
    if (code == 77 || code == 126 || code == 127)
        SKIP_TEST("TensorBoard is not installed: pip install tensorboard, and name that python in "
                  "QUERN_TEST_PYTHON");
    REQUIRE(code == 0 && bytes > 0);
    snprintf(expected, sizeof expected,
             "train/loss 2:%.9g 3:%.9g 4:%.9g 6:%.9g\nval/loss 3:%.9g 6:%.9g\n"
             "epoch/train/loss 3:%.9g 6:%.9g\n",
             (double)(float)s.loss[0], (double)(float)s.loss[1], (double)(float)s.loss[4],
             (double)(float)s.loss[5], (double)(float)s.loss[2], (double)(float)s.loss[6],
             (double)(float)s.loss[3], (double)(float)s.loss[7]);
    CHECK_TEXT(found, expected);
}

TEST_CASE(TensorBoard, a_directory_that_cannot_be_made_is_refused_before_training) {
    world w;
    temporary d;
    quern_tensorboard *t = NULL;
    REQUIRE(temporary_begin(&d));
    REQUIRE(temporary_write(&d, "file", "x", 1));
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_tensorboard_create(&t, w.device, temporary_join(&d, "file/below")),
                 QUERN_IO);
    CHECK_ERROR_HAS("file");
    CHECK_STATUS(quern_tensorboard_create(&t, w.device, ""), QUERN_INVALID);
    CHECK_STATUS(quern_tensorboard_create(&t, w.device, NULL), QUERN_INVALID);
    CHECK(t == NULL);
    quern_tensorboard_destroy(NULL);
    world_close(&w);
    temporary_end(&d);
}

static quern_status everything(const quern_host *host, const char *directory, char *sentence,
                               size_t bytes) {
    world w;
    quern_tensorboard *t = NULL;
    quern_status s = world_open(&w, &(world_desc){.host = *host});
    if (s == QUERN_OK) s = quern_tensorboard_create(&t, w.device, directory);
    if (s == QUERN_OK) s = fit(&w, t, NULL);
    snprintf(sentence, bytes, "%s", quern_error());
    quern_tensorboard_destroy(t);
    if (w.device) world_close(&w);
    return s;
}

/* Each n-th operation fails once: a sentence, nothing leaks; short writes are completed. */
static void fail_each(fault_kind kind, int error, quern_status expected, const char *cause) {
    for (int64_t n = 1;; n++) {
        fault_host faults;
        temporary d;
        char sentence[1024];
        REQUIRE(temporary_begin(&d));
        fault_host_begin(&faults, NULL);
        faults.fault[kind] = (fault){.at = n, .error = error};
        faults.write_at_most = 7;
        const quern_status s = everything(&faults.host, d.path, sentence, sizeof sentence);
        temporary_end(&d);
        REQUIRE(fault_host_live(&faults) == 0);
        if (!fault_host_fired(&faults, kind)) {
            CHECK_STATUS(s, QUERN_OK);
            REQUIRE(n > 1);
            return;
        }
        REQUIRE_STATUS(s, expected);
        CHECK_HAS(sentence, cause);
    }
}

TEST_CASE(TensorBoard, a_full_disk_ends_the_run_with_path_and_cause) {
    fail_each(FAULT_WRITE, ENOSPC, QUERN_IO, "No space left on device");
    fail_each(FAULT_WRITE, ENOSPC, QUERN_IO, "events.out.tfevents.");
    fail_each(FAULT_OPEN, EMFILE, QUERN_IO, "events.out.tfevents.");
}

TEST_CASE(TensorBoard, failing_allocations_leave_nothing) {
    fail_each(FAULT_ALLOCATE, 0, QUERN_HOST_MEMORY, "");
}
