/* The CPU backend's streams, events and captures, through the backend table alone. */
#include "quern_test.h"

#include "kernels/backend.h"
#include "support/fault_host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const quern_backend *const cpu = &quern_backend_cpu;

typedef struct fixture {
    fault_host faults;
    backend_device *device;
    quern_stream *a, *b;
} fixture;

static bool fixture_begin(fixture *f) {
    fault_host_begin(&f->faults, NULL);
    const backend_open_desc desc = {.thread_count = 2, .host = &f->faults.host};
    return cpu->open(&f->device, &desc) == QUERN_OK &&
           cpu->stream_create(f->device, &f->a, "test-a") == QUERN_OK &&
           cpu->stream_create(f->device, &f->b, "test-b") == QUERN_OK;
}

static void fixture_end(fixture *f) {
    cpu->stream_destroy(f->a);
    cpu->stream_destroy(f->b);
    cpu->close(f->device);
    CHECK(fault_host_live(&f->faults) == 0);
}

/* A command that appends its digit: order shows in the number. */
typedef struct journal {
    int64_t entries[8192];
    int64_t count;
} journal;

typedef struct entry {
    journal *journal;
    int64_t value;
} entry;

static quern_status append(const quern_kernel_args *args) {
    const entry *e = args->attributes;
    e->journal->entries[e->journal->count++] = e->value;
    return QUERN_OK;
}

static quern_status fail_on_purpose(const quern_kernel_args *args) {
    return quern_fail(QUERN_NOT_FINITE, "kernel %d said no", *(const int *)args->attributes);
}

static quern_status fail_silently(const quern_kernel_args *args) {
    (void)args;
    return QUERN_DEVICE_LOST;
}

static void rest(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

static quern_status dawdle(const quern_kernel_args *args) {
    (void)args;
    rest(30);
    return QUERN_OK;
}

/* Runs until somebody opens the gate. */
static quern_status wait_for_gate(const quern_kernel_args *args) {
    atomic_bool *gate = (atomic_bool *)(uintptr_t)args->attributes;
    while (!atomic_load(gate)) rest(1);
    return QUERN_OK;
}

static const quern_kernel_args no_args;

TEST_CASE(Stream, runs_its_work_in_order_and_wait_sees_all_of_it) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    static journal j;
    static entry entries[5000];
    static quern_kernel_args args[5000];
    j.count = 0;
    for (int64_t i = 0; i < 5000; i++) { /* more than the queue holds */
        entries[i] = (entry){&j, i};
        args[i] = (quern_kernel_args){.attributes = &entries[i], .stream = f.a};
        REQUIRE_OK(cpu->call(f.a, append, &args[i]));
    }
    REQUIRE_OK(cpu->stream_wait(f.a));
    REQUIRE(j.count == 5000);
    for (int64_t i = 0; i < 5000; i++) REQUIRE(j.entries[i] == i);
    fixture_end(&f);
}

TEST_CASE(Stream, is_asynchronous_and_a_full_queue_holds_the_caller_back) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    atomic_bool gate = false;
    const quern_kernel_args gate_args = {.attributes = &gate};
    static journal j;
    j.count = 0;
    const entry e = {&j, 1};
    const quern_kernel_args args = {.attributes = &e};
    REQUIRE_OK(cpu->call(f.a, wait_for_gate, &gate_args)); /* returns though it cannot have run */
    for (int i = 0; i < 1000; i++) REQUIRE_OK(cpu->call(f.a, append, &args));
    REQUIRE_OK(cpu->call(f.b, wait_for_gate, &gate_args));
    CHECK(j.count == 0);
    atomic_store(&gate, true);
    for (int i = 0; i < 7000; i++) REQUIRE_OK(cpu->call(f.a, append, &args));
    CHECK_OK(cpu->stream_wait(f.b));
    CHECK_OK(cpu->stream_wait(f.a));
    CHECK(j.count == 8000);
    fixture_end(&f);
}

typedef struct flood {
    quern_stream *stream;
    const quern_kernel_args *args;
    atomic_int submitted;
} flood;

static void *submit_3000(void *context) {
    flood *f = context;
    for (int i = 0; i < 3000; i++) {
        CHECK_OK(cpu->call(f->stream, append, f->args));
        atomic_fetch_add(&f->submitted, 1);
    }
    return NULL;
}

TEST_CASE(Stream, a_submitter_sleeps_while_the_queue_is_full) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    static journal j;
    j.count = 0;
    const entry e = {&j, 1};
    const quern_kernel_args args = {.attributes = &e};
    atomic_bool gate = false;
    const quern_kernel_args gate_args = {.attributes = &gate};
    flood flood_a = {.stream = f.a, .args = &args};
    REQUIRE_OK(cpu->call(f.a, wait_for_gate, &gate_args));
    pthread_t submitter;
    REQUIRE(pthread_create(&submitter, NULL, submit_3000, &flood_a) == 0);
    rest(60);
    const int held_at = atomic_load(&flood_a.submitted);
    CHECK_SAY(held_at < 3000, "all 3000 were taken: the queue has no bound");
    atomic_store(&gate, true);
    pthread_join(submitter, NULL);
    CHECK_OK(cpu->stream_wait(f.a));
    CHECK(j.count == 3000);
    fixture_end(&f);
}

TEST_CASE(Stream, copies_and_fills_follow_what_was_issued_before_them) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    float *from, *to;
    REQUIRE_OK(cpu->allocate(f.device, (void **)&from, 4000));
    REQUIRE_OK(cpu->allocate_pinned(f.device, (void **)&to, 4000));
    CHECK((uintptr_t)from % 64 == 0 && (uintptr_t)to % 64 == 0);
    for (int i = 0; i < 1000; i++) from[i] = (float)i;
    REQUIRE_OK(cpu->fill(f.a, to, 0, 4000));
    REQUIRE_OK(cpu->copy(f.a, to + 500, from, 2000));
    REQUIRE_OK(cpu->copy(f.a, from, to, 4000));
    REQUIRE_OK(cpu->copy(f.a, NULL, NULL, 0));
    REQUIRE_OK(cpu->stream_wait(f.a));
    for (int i = 0; i < 1000; i++) CHECK(from[i] == (i < 500 ? 0.0f : (float)(i - 500)));
    cpu->release(f.device, from, 4000);
    cpu->release_pinned(f.device, to, 4000);
    fixture_end(&f);
}

TEST_CASE(Stream, a_failure_drops_what_follows_until_a_wait_has_returned_it) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    static journal j;
    j.count = 0;
    const entry e = {&j, 1};
    const int seven = 7, eight = 8;
    const quern_kernel_args args = {.attributes = &e}, fail_7 = {.attributes = &seven},
                            fail_8 = {.attributes = &eight};
    REQUIRE_OK(cpu->stream_status(f.a));
    REQUIRE_OK(cpu->call(f.a, append, &args));
    REQUIRE_OK(cpu->call(f.a, fail_on_purpose, &fail_7));
    REQUIRE_OK(cpu->call(f.a, append, &args));
    REQUIRE_OK(cpu->call(f.a, fail_on_purpose, &fail_8));
    (void)quern_fail(QUERN_INVALID, "something else of this thread");
    CHECK_STATUS(cpu->stream_wait(f.a), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "kernel 7 said no");
    CHECK(j.count == 1);
    CHECK_OK(cpu->stream_wait(f.b)); /* the other stream is well */
    CHECK_OK(cpu->stream_status(f.a));
    REQUIRE_OK(cpu->call(f.a, append, &args));
    CHECK_OK(cpu->stream_wait(f.a));
    CHECK(j.count == 2);
    fixture_end(&f);
}

TEST_CASE(Stream, a_kernel_that_fails_without_a_word_still_gets_a_sentence) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    REQUIRE_OK(cpu->call(f.a, fail_silently, &no_args));
    for (int i = 0; i < 3; i++) { /* a lost device stays lost */
        (void)quern_fail(QUERN_INVALID, "something else of this thread");
        CHECK_STATUS(cpu->stream_wait(f.a), QUERN_DEVICE_LOST);
        CHECK_ERROR_HAS("QUERN_DEVICE_LOST");
    }
    fixture_end(&f);
}

TEST_CASE(Event, one_stream_waits_for_another) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    backend_event *e;
    REQUIRE_OK(cpu->event_create(f.device, &e));
    int64_t value = 0, seen = 0;
    const int64_t numbers[3] = {1, 2, 3};
    for (int round = 0; round < 3; round++) {
        REQUIRE_OK(cpu->call(f.a, dawdle, &no_args));
        REQUIRE_OK(cpu->copy(f.a, &value, &numbers[round], sizeof value));
        REQUIRE_OK(cpu->event_record(e, f.a));
        REQUIRE_OK(cpu->stream_wait_event(f.b, e));
        REQUIRE_OK(cpu->copy(f.b, &seen, &value, sizeof seen));
        REQUIRE_OK(cpu->stream_wait(f.b));
        CHECK(seen == round + 1);
    }
    cpu->event_destroy(e);
    fixture_end(&f);
}

TEST_CASE(Event, the_host_waits_for_the_last_record_and_not_for_what_follows) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    backend_event *e;
    REQUIRE_OK(cpu->event_create(f.device, &e));
    CHECK_OK(cpu->event_wait(e)); /* never recorded: nothing to wait for */
    CHECK_OK(cpu->stream_wait_event(f.a, e));
    static journal j;
    j.count = 0;
    const entry mark = {&j, 1};
    const quern_kernel_args args = {.attributes = &mark};
    atomic_bool gate = false;
    const quern_kernel_args gate_args = {.attributes = &gate};
    REQUIRE_OK(cpu->call(f.a, dawdle, &no_args));
    REQUIRE_OK(cpu->call(f.a, append, &args));
    REQUIRE_OK(cpu->event_record(e, f.a));
    REQUIRE_OK(cpu->call(f.a, wait_for_gate, &gate_args));
    CHECK_OK(cpu->event_wait(e));
    CHECK(j.count == 1);
    bool done = false;
    CHECK_OK(cpu->event_query(e, &done));
    CHECK(done);
    REQUIRE_OK(cpu->event_record(e, f.a));
    CHECK_OK(cpu->event_query(e, &done));
    CHECK(!done); /* the gate is shut */
    atomic_store(&gate, true);
    CHECK_OK(cpu->event_wait(e));
    CHECK_OK(cpu->event_query(e, &done));
    CHECK(done);
    cpu->event_destroy(e);
    fixture_end(&f);
}

TEST_CASE(Event, records_on_two_streams_complete_in_the_order_they_were_made) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    backend_event *e;
    int64_t value = 1;
    const int64_t two = 2;
    REQUIRE_OK(cpu->event_create(f.device, &e));
    REQUIRE_OK(cpu->call(f.a, dawdle, &no_args));
    REQUIRE_OK(cpu->copy(f.a, &value, &two, sizeof value));
    REQUIRE_OK(cpu->event_record(e, f.a));
    REQUIRE_OK(cpu->event_record(e, f.b)); /* b is idle, and must not overtake */
    CHECK_OK(cpu->event_wait(e));
    CHECK(value == 2);
    cpu->event_destroy(e);
    fixture_end(&f);
}

TEST_CASE(Event, hands_a_failure_to_everybody_who_waits_for_it) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    backend_event *e;
    static journal j;
    j.count = 0;
    const entry mark = {&j, 1};
    const quern_kernel_args args = {.attributes = &mark};
    const int nine = 9;
    const quern_kernel_args fail_9 = {.attributes = &nine};
    REQUIRE_OK(cpu->event_create(f.device, &e));
    REQUIRE_OK(cpu->call(f.a, fail_on_purpose, &fail_9));
    REQUIRE_OK(cpu->event_record(e, f.a));
    REQUIRE_OK(cpu->stream_wait_event(f.b, e));
    REQUIRE_OK(cpu->call(f.b, append, &args));
    CHECK_STATUS(cpu->event_wait(e), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "kernel 9 said no");
    CHECK_STATUS(cpu->stream_wait(f.b), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "kernel 9 said no");
    CHECK(j.count == 0);
    cpu->event_destroy(e);
    fixture_end(&f);
}

/* x = 3 x + 1, so that order and number of runs both show. */
static quern_status step(const quern_kernel_args *args) {
    uint64_t *x = (uint64_t *)(uintptr_t)args->attributes;
    *x = *x * 3 + 1;
    return QUERN_OK;
}

static void issue_step(quern_stream *s, const quern_kernel_args *args, uint64_t *saved) {
    CHECK_OK(cpu->call(s, step, args));
    CHECK_OK(cpu->copy(s, saved, args->attributes, sizeof *saved));
    CHECK_OK(cpu->call(s, step, args));
    CHECK_OK(cpu->fill(s, (unsigned char *)saved + 7, 0x11, 1));
}

TEST_CASE(Capture, replays_what_eager_execution_does) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    uint64_t eager = 1, eager_saved = 0, captured = 1, captured_saved = 0;
    const quern_kernel_args eager_args = {.attributes = &eager};
    const quern_kernel_args captured_args = {.attributes = &captured};
    backend_capture *c;
    REQUIRE_OK(cpu->capture_begin(f.b));
    issue_step(f.b, &captured_args, &captured_saved);
    CHECK(captured == 1); /* recorded, not run */
    REQUIRE_OK(cpu->capture_end(f.b, &c));
    for (int i = 0; i < 2000; i++) {
        issue_step(f.a, &eager_args, &eager_saved);
        REQUIRE_OK(cpu->capture_launch(c, f.b));
    }
    CHECK_OK(cpu->stream_wait(f.a));
    CHECK_OK(cpu->stream_wait(f.b));
    CHECK(eager == captured && eager_saved == captured_saved && eager != 1);
    cpu->capture_destroy(c);
    fixture_end(&f);
}

TEST_CASE(Capture, a_failing_command_stops_the_launch_and_the_stream) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    uint64_t x = 0;
    const int five = 5;
    const quern_kernel_args args = {.attributes = &x}, fail_5 = {.attributes = &five};
    backend_capture *c;
    REQUIRE_OK(cpu->capture_begin(f.a));
    REQUIRE_OK(cpu->call(f.a, step, &args));
    REQUIRE_OK(cpu->call(f.a, fail_on_purpose, &fail_5));
    REQUIRE_OK(cpu->call(f.a, step, &args));
    REQUIRE_OK(cpu->capture_end(f.a, &c));
    REQUIRE_OK(cpu->capture_launch(c, f.a));
    REQUIRE_OK(cpu->capture_launch(c, f.a));
    CHECK_STATUS(cpu->stream_wait(f.a), QUERN_NOT_FINITE);
    CHECK_TEXT(quern_error(), "kernel 5 said no");
    CHECK(x == 1);
    cpu->capture_destroy(c);
    fixture_end(&f);
}

TEST_CASE(Capture, what_cannot_be_captured_is_refused_by_name) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    backend_event *e;
    backend_capture *c, *none;
    REQUIRE_OK(cpu->event_create(f.device, &e));
    CHECK_STATUS(cpu->capture_end(f.a, &none), QUERN_INVALID);
    REQUIRE_OK(cpu->capture_begin(f.a));
    REQUIRE_OK(cpu->capture_end(f.a, &c));
    REQUIRE_OK(cpu->capture_begin(f.a));
    CHECK_STATUS(cpu->capture_begin(f.a), QUERN_INVALID);
    CHECK_STATUS(cpu->stream_wait(f.a), QUERN_INVALID);
    CHECK_ERROR_HAS("waiting on a stream that captures");
    CHECK_STATUS(cpu->event_record(e, f.a), QUERN_INVALID);
    CHECK_STATUS(cpu->stream_wait_event(f.a, e), QUERN_INVALID);
    CHECK_STATUS(cpu->capture_launch(c, f.a), QUERN_INVALID);
    cpu->capture_destroy(c);
    cpu->event_destroy(e);
    fixture_end(&f); /* a stream may be destroyed while it captures */
}

TEST_CASE(Capture, memory_that_runs_out_while_recording_is_said_again_at_its_end) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    uint64_t x = 0;
    const quern_kernel_args args = {.attributes = &x};
    backend_capture *c;
    REQUIRE_OK(cpu->capture_begin(f.a));
    f.faults.fault[FAULT_ALLOCATE] = (fault){.at = 1 + atomic_load(&f.faults.count[0])};
    CHECK_STATUS(cpu->call(f.a, step, &args), QUERN_HOST_MEMORY);
    CHECK_OK(cpu->call(f.a, step, &args));
    (void)quern_fail(QUERN_INVALID, "something else");
    CHECK_STATUS(cpu->capture_end(f.a, &c), QUERN_HOST_MEMORY);
    CHECK_ERROR_HAS("a capture");
    CHECK(c == NULL);
    fixture_end(&f);
}

static void sum_chunk(void *context, int64_t chunk) { ((int64_t *)context)[chunk] += chunk + 1; }

static quern_status parallel(const quern_kernel_args *args) {
    quern_cpu_parallel(args->stream, 100, sum_chunk, (void *)(uintptr_t)args->attributes);
    return QUERN_OK;
}

TEST_CASE(Stream, allocates_nothing_once_everything_is_created) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    int64_t sums[100] = {0};
    const quern_kernel_args args = {.attributes = sums, .stream = f.a};
    backend_event *e;
    backend_capture *c;
    REQUIRE_OK(cpu->event_create(f.device, &e));
    REQUIRE_OK(cpu->capture_begin(f.a));
    REQUIRE_OK(cpu->call(f.a, parallel, &args));
    REQUIRE_OK(cpu->capture_end(f.a, &c));
    const int64_t before = (int64_t)atomic_load(&f.faults.count[FAULT_ALLOCATE]);
    for (int i = 0; i < 500; i++) {
        REQUIRE_OK(cpu->call(f.a, parallel, &args));
        REQUIRE_OK(cpu->capture_launch(c, f.a));
        REQUIRE_OK(cpu->event_record(e, f.a));
        REQUIRE_OK(cpu->stream_wait_event(f.b, e));
        if (i % 50 == 0) REQUIRE_OK(cpu->event_wait(e));
    }
    REQUIRE_OK(cpu->stream_wait(f.b));
    CHECK(atomic_load(&f.faults.count[FAULT_ALLOCATE]) == before);
    for (int64_t i = 0; i < 100; i++) CHECK(sums[i] == 1000 * (i + 1));
    cpu->capture_destroy(c);
    cpu->event_destroy(e);
    fixture_end(&f);
}

TEST_CASE(Stream, two_streams_share_the_pool_and_both_get_all_their_chunks) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    int64_t a[100] = {0}, b[100] = {0};
    const quern_kernel_args args_a = {.attributes = a, .stream = f.a};
    const quern_kernel_args args_b = {.attributes = b, .stream = f.b};
    for (int i = 0; i < 1000; i++) {
        REQUIRE_OK(cpu->call(f.a, parallel, &args_a));
        REQUIRE_OK(cpu->call(f.b, parallel, &args_b));
    }
    REQUIRE_OK(cpu->stream_wait(f.a));
    REQUIRE_OK(cpu->stream_wait(f.b));
    for (int64_t i = 0; i < 100; i++) CHECK(a[i] == 1000 * (i + 1) && b[i] == a[i]);
    fixture_end(&f);
}

TEST_CASE(Stream, destroying_one_runs_what_was_issued) {
    fixture f;
    REQUIRE(fixture_begin(&f));
    uint64_t x = 0;
    const quern_kernel_args args = {.attributes = &x};
    quern_stream *s;
    REQUIRE_OK(cpu->stream_create(f.device, &s, "a name longer than a thread may have"));
    REQUIRE_OK(cpu->call(s, dawdle, &no_args));
    for (int i = 0; i < 10; i++) REQUIRE_OK(cpu->call(s, step, &args));
    cpu->stream_destroy(s);
    CHECK(x == 29524); /* (3^10 - 1) / 2 */
    cpu->stream_destroy(NULL);
    cpu->event_destroy(NULL);
    cpu->capture_destroy(NULL);
    fixture_end(&f);
}
