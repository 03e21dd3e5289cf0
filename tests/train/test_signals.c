/* What ends a run from outside: signals at every event and at any instant, stop calls. */
#include "ends.h"
#include "quern_test.h"
#include "temporary.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms) {
    struct timespec rest = {.tv_nsec = ms * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
}

static const int signals[3] = {SIGINT, SIGTERM, SIGHUP};

static void own_handler(int number) { (void)number; }

/* Handlers that no fit may leave changed: one of the test's, one ignored, one default. */
static void handlers_put(struct sigaction *before) {
    struct sigaction own;
    memset(&own, 0, sizeof own);
    sigemptyset(&own.sa_mask);
    sigaddset(&own.sa_mask, SIGUSR1);
    for (int i = 0; i < 3; i++) {
        own.sa_handler = i == 0 ? own_handler : i == 1 ? SIG_IGN : SIG_DFL;
        CHECK(sigaction(signals[i], &own, &before[i]) == 0);
    }
}

static void handlers_check_and_restore(const struct sigaction *before) {
    for (int i = 0; i < 3; i++) {
        struct sigaction now;
        CHECK(sigaction(signals[i], NULL, &now) == 0);
        CHECK(now.sa_handler == (i == 0 ? own_handler : i == 1 ? SIG_IGN : SIG_DFL));
        CHECK(sigismember(&now.sa_mask, SIGUSR1) == 1);
        CHECK(!(now.sa_flags & SA_RESTART));
        CHECK(sigaction(signals[i], &before[i], NULL) == 0);
    }
}

typedef struct signal_case {
    quern_event_kind kind;
    int nth, number, times;
    int64_t step;    /* -1: not looked at */
    int evaluations; /* batches of them */
} signal_case;

/* Epochs of 3 batches with 3 evaluation batches, two attempts ahead. */
static const signal_case signal_cases[] = {
    {QUERN_EVENT_fit_begin, 1, SIGINT, 1, 0, 0},
    {QUERN_EVENT_fit_begin, 1, SIGTERM, 1, 0, 0},
    {QUERN_EVENT_epoch_begin, 1, SIGTERM, 1, 0, 0},
    {QUERN_EVENT_fetch_end, 2, SIGINT, 1, 2, 0},
    {QUERN_EVENT_step_begin, 4, SIGTERM, 1, 4, 3},
    {QUERN_EVENT_step_end, 4, SIGINT, 2, 6, 3},
    {QUERN_EVENT_eval_begin, 1, SIGINT, 1, 3, 1},
    {QUERN_EVENT_eval_batch_end, 2, SIGTERM, 1, 3, 2},
    {QUERN_EVENT_eval_batch_end, 2, SIGTERM, 2, 3, 2},
    {QUERN_EVENT_eval_end, 1, SIGINT, 1, 3, 3},
    {QUERN_EVENT_epoch_end, 2, SIGINT, 1, 6, 6},
};

static void signal_check(const signal_case *c) {
    world w;
    quern_result r = {0};
    struct sigaction before[3];
    ends e = {.kind = c->kind, .nth = c->nth, .number = c->number, .times = c->times};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.epoch_count = 50;
    d.handle_signals = true;
    handlers_put(before);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    handlers_check_and_restore(before);
    const char *name = quern_event_name(c->kind);
    CHECK_SAY(r.reason == QUERN_STOPPED_SIGNAL && r.signal == c->number, "%s: %s, signal %d", name,
              quern_stop_reason_name(r.reason), r.signal);
    CHECK_SAY(r.step == c->step, "%s: %d steps", name, (int)r.step);
    CHECK_SAY(e.fired[QUERN_EVENT_eval_batch_end] == c->evaluations, "%s: %d batches evaluated",
              name, e.fired[QUERN_EVENT_eval_batch_end]);
    CHECK_TEXT(e.reason, "signal");
    ends_check(&e, true, false);
    world_close(&w);
    CHECK(e.fired[QUERN_EVENT_close] == 1);
}

TEST_CASE(Signals, end_a_run_in_order_from_everywhere) {
    for (size_t i = 0; i < sizeof signal_cases / sizeof signal_cases[0]; i++)
        signal_check(&signal_cases[i]);
}

int __real_sigaction(int number, const struct sigaction *new, struct sigaction *old);
int __wrap_sigaction(int number, const struct sigaction *new, struct sigaction *old);

/* A signal that comes as soon as the handler of this one is in: 0 for never. */
static int raise_behind;

int __wrap_sigaction(int number, const struct sigaction *new, struct sigaction *old) {
    const int status = __real_sigaction(number, new, old);
    if (status == 0 && new &&number == raise_behind) {
        raise_behind = 0;
        CHECK(raise(number) == 0);
    }
    return status;
}

TEST_CASE(Signals, one_that_comes_while_handlers_are_put_in_ends_the_run) {
    for (int i = 0; i < 2; i++) {
        world w;
        quern_result r = {0};
        ends e = {.times = 0};
        const quern_callback callback = ends_callback(&e);
        REQUIRE_OK(world_open(&w, &(world_desc){0}));
        quern_trainer_desc d = world_with(&w, &callback, 1);
        d.handle_signals = true;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
        raise_behind = signals[i];
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK(raise_behind == 0);
        CHECK(r.reason == QUERN_STOPPED_SIGNAL && r.signal == signals[i] && r.step == 0);
        ends_check(&e, true, false);
        world_close(&w);
    }
}

/* The next fit does not see the signal of the one before. */
TEST_CASE(Signals, do_not_outlive_the_fit) {
    world w;
    quern_result r = {0};
    ends e = {.kind = QUERN_EVENT_fetch_end, .nth = 1, .number = SIGTERM, .times = 1};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.handle_signals = true;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_SIGNAL && r.signal == SIGTERM && r.step == 1);
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.signal == 0 && r.epochs == 1);
    world_close(&w);
}

typedef struct sentences {
    char text[512];
    int count;
} sentences;

static void note_sentence(void *self, quern_log_level level, const char *sentence) {
    sentences *s = self;
    if (level < QUERN_LOG_WARNING) return;
    s->count++;
    snprintf(s->text, sizeof s->text, "%s", sentence);
}

TEST_CASE(Signals, a_hangup_without_a_directory_is_told_and_the_run_goes_on) {
    world w;
    quern_result r = {0};
    sentences log = {.count = 0};
    struct sigaction before[3];
    ends e = {.kind = QUERN_EVENT_step_begin, .nth = 2, .number = SIGHUP, .times = 1};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){.host.log = {note_sentence, &log}}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.handle_signals = true;
    handlers_put(before);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    handlers_check_and_restore(before);
    CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.step == 3 && r.signal == 0);
    CHECK(log.count == 1);
    CHECK_HAS(log.text, "SIGHUP: nothing is saved");
    ends_check(&e, false, false);
    world_close(&w);
}

/* A handler that the application installs during a fit is not taken away from it. */
static quern_action install_own(void *self, const quern_event *event) {
    struct sigaction own;
    (void)self;
    (void)event;
    memset(&own, 0, sizeof own);
    own.sa_handler = own_handler;
    sigemptyset(&own.sa_mask);
    CHECK(sigaction(SIGHUP, &own, NULL) == 0);
    return QUERN_CONTINUE;
}

TEST_CASE(Signals, a_handler_installed_in_the_meantime_stays) {
    world w;
    struct sigaction before, now;
    const quern_callback callback = {.name = "own", .epoch_end = install_own};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.handle_signals = true;
    REQUIRE(sigaction(SIGHUP, NULL, &before) == 0);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(sigaction(SIGHUP, NULL, &now) == 0);
    CHECK(now.sa_handler == own_handler);
    CHECK(sigaction(SIGHUP, &before, NULL) == 0);
    world_close(&w);
}

/* A dataset whose reads take their time: 2 ms a sample, or until a byte comes. */
typedef struct slow_set {
    const world *w;
    int gate; /* a descriptor; 0: none */
    atomic_int reads, interruptions;
} slow_set;

static int64_t slow_length(void *self) {
    (void)self;
    return 12;
}

static int32_t slow_fields(void *self, const quern_field **out) {
    static const quern_field fields[] = {{.name = "x", .rank = 1, .dim = {WORLD_FEATURES}},
                                         {.name = "label", .dtype = QUERN_I32}};
    (void)self;
    *out = fields;
    return 2;
}

static quern_status slow_read(void *self, int64_t index, void *const *data) {
    slow_set *s = self;
    char byte;
    s->reads++;
    if (s->gate == 0)
        pause_ms(2);
    else if (read(s->gate, &byte, 1) != 1)
        s->interruptions++;
    memcpy(data[0], s->w->train_x[index], sizeof s->w->train_x[index]);
    memcpy(data[1], &s->w->train_label[index], sizeof s->w->train_label[index]);
    return QUERN_OK;
}

typedef struct runner {
    bool slow;
    int64_t epochs;
    int32_t workers;
    slow_set set;
    quern_status status;
    quern_result result;
    ends ends;
    atomic_bool begun, done;
} runner;

static quern_action say_begun(void *self, const quern_event *event) {
    (void)event;
    atomic_store((atomic_bool *)self, true);
    return QUERN_CONTINUE;
}

static void *run_endless(void *self) {
    runner *r = self;
    world w;
    r->status = world_open(&w, &(world_desc){0});
    r->set.w = &w;
    const quern_dataset_type type = {
        .name = "slow", .length = slow_length, .fields = slow_fields, .read = slow_read};
    quern_dataset *slow = NULL;
    const quern_callback callbacks[2] = {
        ends_callback(&r->ends), {.name = "begun", .self = &r->begun, .fit_begin = say_begun}};
    if (r->status == QUERN_OK) r->status = quern_dataset_custom(&slow, w.device, &type, &r->set);
    quern_trainer_desc d = world_with(&w, callbacks, 2);
    if (r->slow) d.train = d.valid = slow;
    d.epoch_count = r->epochs > 0 ? r->epochs : 1000000;
    d.handle_signals = true;
    d.worker_count = r->workers;
    if (r->status == QUERN_OK) r->status = quern_trainer_create(&w.trainer, &d);
    if (r->status == QUERN_OK) r->status = quern_trainer_fit(w.trainer, &r->result);
    if (r->status != QUERN_OK) atomic_store(&r->begun, true);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_dataset_destroy(slow);
    world_close(&w);
    atomic_store(&r->done, true);
    return NULL;
}

/* At instants that come as they come: before step 0, in a data wait, in an evaluation. The signal
 * goes to the process, to whichever thread takes it. */
TEST_CASE(Signals, end_runs_in_other_threads_at_any_instant) {
    struct sigaction before[3];
    handlers_put(before);
    for (int round = 0; round < 24; round++) {
        runner r[2] = {{.slow = round % 2, .workers = round % 3, .ends.kind = QUERN_EVENT_COUNT},
                       {.slow = round % 4 == 1, .ends.kind = QUERN_EVENT_COUNT}};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            REQUIRE(pthread_create(&threads[i], NULL, run_endless, &r[i]) == 0);
        while (!atomic_load(&r[0].begun) || !atomic_load(&r[1].begun)) pause_ms(1);
        pause_ms(round % 8);
        const int number = round % 2 ? SIGINT : SIGTERM;
        CHECK(kill(getpid(), number) == 0);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            CHECK_OK(r[i].status);
            CHECK(r[i].result.reason == QUERN_STOPPED_SIGNAL && r[i].result.signal == number);
            ends_check(&r[i].ends, true, false);
            CHECK(r[i].ends.fired[QUERN_EVENT_close] == 1);
        }
    }
    handlers_check_and_restore(before);
}

/* Two signals while the source waits: its read is not cut short, and returns first. */
TEST_CASE(Signals, a_second_one_waits_for_the_read_of_the_source) {
    struct sigaction before[3];
    handlers_put(before);
    for (int32_t workers = 0; workers <= 2; workers++) {
        int gate[2];
        REQUIRE(pipe(gate) == 0);
        runner r = {
            .slow = true, .workers = workers, .set.gate = gate[0], .ends.kind = QUERN_EVENT_COUNT};
        pthread_t thread;
        CHECK(write(gate[1], "12345", 5) == 5); /* one whole batch */
        REQUIRE(pthread_create(&thread, NULL, run_endless, &r) == 0);
        while (atomic_load(&r.set.reads) < 6) pause_ms(1);
        pause_ms(5);
        for (int i = 0; i < 2; i++) CHECK(pthread_kill(thread, SIGINT) == 0);
        pause_ms(30);
        CHECK(!atomic_load(&r.done));
        for (int i = 0; i < 64; i++) CHECK(write(gate[1], "1", 1) == 1);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK_OK(r.status);
        CHECK(r.result.reason == QUERN_STOPPED_SIGNAL && r.result.signal == SIGINT);
        CHECK_SAY(r.result.step <= 2 && r.ends.fired[QUERN_EVENT_eval_begin] == 0, "%d steps",
                  (int)r.result.step);
        CHECK(atomic_load(&r.set.interruptions) == 0);
        close(gate[0]);
        close(gate[1]);
    }
    handlers_check_and_restore(before);
}

/* What is left in the folder: checkpoints by their directories. */
static int64_t saved_steps(const quern_result *r) {
    const char *at = r->checkpoint ? strstr(r->checkpoint, "step-") : NULL;
    long long step = -1;
    if (at && sscanf(at, "step-%lld", &step) != 1) step = -2;
    return step;
}

static quern_result save_run_of(ends *e) {
    world w;
    quern_result r = {0};
    temporary folder;
    const quern_callback callback = ends_callback(e);
    CHECK(temporary_begin(&folder));
    CHECK_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.handle_signals = true;
    d.epoch_count = 4;
    d.save = (quern_save_desc){.directory = folder.path, .every = 100};
    CHECK_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    const int64_t saved = saved_steps(&r);
    CHECK(saved == -1 || saved == r.step);
    world_close(&w);
    temporary_end(&folder);
    r.checkpoint = saved >= 0 ? "saved" : NULL;
    return r;
}

TEST_CASE(Signals, the_first_one_saves_and_the_second_one_does_not) {
    for (int times = 1; times <= 2; times++) {
        ends e = {.kind = QUERN_EVENT_step_begin, .nth = 5, .number = SIGTERM, .times = times};
        const quern_result r = save_run_of(&e);
        CHECK(r.reason == QUERN_STOPPED_SIGNAL && r.signal == SIGTERM && r.step == 5);
        CHECK_SAY((r.checkpoint != NULL) == (times == 1), "%d signals", times);
        CHECK(e.fired[QUERN_EVENT_save_begin] == (times == 1 ? 1 : 0));
        ends_check(&e, true, false);
    }
}

TEST_CASE(Signals, a_hangup_saves_at_the_next_boundary) {
    ends e = {.kind = QUERN_EVENT_step_begin, .nth = 5, .number = SIGHUP, .times = 1};
    const quern_result r = save_run_of(&e);
    CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.signal == 0 && r.step == 12 && r.checkpoint);
    CHECK(e.fired[QUERN_EVENT_save_begin] == 2); /* and at the run's end */
    ends_check(&e, false, false);
}

/* The run is over and its last state on the way to the disk: the signal is not lost. Two of them
 * give the save up where it is not durable yet (test_save_given_up.c), which is told either way. */
TEST_CASE(Signals, that_come_during_the_last_save_are_told_in_the_result) {
    static const quern_event_kind kinds[] = {QUERN_EVENT_save_begin, QUERN_EVENT_save_snapshot,
                                             QUERN_EVENT_save_durable, QUERN_EVENT_fit_end};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int times = 1; times <= 2; times++) {
            ends e = {.kind = kinds[i], .nth = 1, .number = SIGTERM, .times = times};
            const quern_result r = save_run_of(&e);
            CHECK_SAY(r.signal == SIGTERM, "%s: signal %d", quern_event_name(kinds[i]), r.signal);
            CHECK(r.reason == QUERN_STOPPED_EPOCHS && r.step == 12);
            CHECK_SAY(times == 2 && i < 2 ? !r.checkpoint == (e.save_status == QUERN_IO)
                                          : r.checkpoint && e.save_status == QUERN_OK,
                      "%d at %s: %s", times, quern_event_name(kinds[i]),
                      r.checkpoint ? "saved" : "not saved");
            CHECK(e.fired[QUERN_EVENT_save_durable] == 1);
            ends_check(&e, false, false);
        }
}

/* A save of the run's middle: it becomes durable, and the run ends in order with another. */
TEST_CASE(Signals, that_come_during_a_save_let_it_become_durable) {
    static const quern_event_kind kinds[] = {QUERN_EVENT_save_begin, QUERN_EVENT_save_snapshot};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        ends e = {.kind = kinds[i], .nth = 1, .number = SIGINT, .times = 1, .save_at = 5};
        const quern_result r = save_run_of(&e);
        CHECK_SAY(r.signal == SIGINT && r.reason == QUERN_STOPPED_SIGNAL, "%s: signal %d",
                  quern_event_name(kinds[i]), r.signal);
        CHECK_SAY(r.step >= 5 && r.step < 12 && r.checkpoint, "step %d", (int)r.step);
        const int saves = e.fired[QUERN_EVENT_save_begin];
        CHECK(saves >= 1 && e.fired[QUERN_EVENT_save_durable] == saves);
        ends_check(&e, true, false);
    }
}

/* Each way a run ends tells stop_requested at most once, fit_end and close once. */
static quern_action ask_stop(void *self, const quern_event *event) {
    if (event->step >= 2) quern_trainer_stop(event->trainer);
    if (event->step >= 2) CHECK(raise(*(int *)self) == 0);
    return event->step >= 2 ? QUERN_STOP : QUERN_CONTINUE;
}

TEST_CASE(Control, three_reasons_at_once_are_told_once) {
    world w;
    quern_result r = {0};
    int number = SIGINT;
    ends e = {.kind = QUERN_EVENT_COUNT};
    const quern_callback callbacks[2] = {ends_callback(&e),
                                         {.name = "ask", .self = &number, .step_end = ask_stop}};
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    quern_trainer_desc d = world_with(&w, callbacks, 2);
    d.handle_signals = true;
    d.epoch_count = 9;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &r));
    CHECK(r.reason == QUERN_STOPPED_CALLBACK); /* the first that was looked at */
    ends_check(&e, true, false);
    world_close(&w);
    CHECK(e.fired[QUERN_EVENT_close] == 1);
}

/* In the own loop a stop is only told: each step still does its work. */
TEST_CASE(Control, a_stop_in_the_own_loop_shows_in_the_waits_result) {
    world w;
    quern_result r = {0};
    ends e = {.kind = QUERN_EVENT_COUNT};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_trainer_desc d = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    const quern_batch batch = {.sample_count = 4,
                               .field_count = 2,
                               .names = {"x", "label"},
                               .data = {w.train_x, w.train_label}};
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    quern_trainer_stop(w.trainer);
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    CHECK(e.fired[QUERN_EVENT_stop_requested] == 1);
    CHECK_OK(quern_trainer_step(w.trainer, &batch));
    CHECK_OK(quern_trainer_wait(w.trainer, &r));
    CHECK(r.step == 3 && r.reason == QUERN_STOPPED_REQUEST);
    CHECK(e.fired[QUERN_EVENT_stop_requested] == 1);
    CHECK_TEXT(e.reason, "request");
    CHECK_OK(quern_trainer_fit(w.trainer, &r)); /* the stop was the own loop's */
    CHECK(r.step == 6 && r.reason == QUERN_STOPPED_EPOCHS);
    world_close(&w);
}

/* The handlers stay as long as anybody fits. */
TEST_CASE(Signals, reach_a_run_that_outlives_another) {
    struct sigaction before[3];
    pthread_t threads[2];
    runner r[2] = {{.slow = true, .epochs = 1000, .ends.kind = QUERN_EVENT_COUNT},
                   {.epochs = 1, .ends.kind = QUERN_EVENT_COUNT}};
    handlers_put(before);
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, run_endless, &r[i]) == 0);
        while (!atomic_load(&r[i].begun)) pause_ms(1);
    }
    CHECK(pthread_join(threads[1], NULL) == 0);
    CHECK(r[1].result.reason == QUERN_STOPPED_EPOCHS);
    CHECK(kill(getpid(), SIGINT) == 0);
    CHECK(pthread_join(threads[0], NULL) == 0);
    CHECK(r[0].result.reason == QUERN_STOPPED_SIGNAL && r[0].result.signal == SIGINT);
    handlers_check_and_restore(before);
}
