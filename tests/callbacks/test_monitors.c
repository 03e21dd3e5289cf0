/* The learning-rate monitor and the profiler range; and that none of the callbacks here allocates
 * while a run is under way. */
#include "quern_test.h"
#include "state.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static quern_action skip_third(void *self, const quern_event *event) {
    (void)self;
    return event->attempts == 2 ? QUERN_SKIP_STEP : QUERN_CONTINUE;
}

/* Six attempts of which the third is skipped: five updates, whose rates are the schedule's first
 * five, to the bit. */
TEST_CASE(LearningRateMonitor, has_the_rate_of_every_update) {
    world w;
    quern_learning_rate_monitor *m = NULL;
    const quern_learning_rate_entry *entries = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    REQUIRE_OK(quern_learning_rate_monitor_create(&m, w.device, 100));
    const quern_callback callbacks[] = {quern_learning_rate_monitor_callback(m),
                                        {.name = "skip", .step_begin = skip_third}};
    quern_trainer_desc desc = world_with(&w, callbacks, 2);
    desc.epoch_count = 2;
    desc.optimizer.schedule =
        (quern_schedule){.kind = QUERN_SCHEDULE_COSINE, .warmup = 2, .total = 6};
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    CHECK(isnan(quern_trainer_learning_rate(w.trainer)));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    const quern_optimizer_desc *o = &quern_trainer_resolved(w.trainer)->optimizer;
    REQUIRE(quern_learning_rate_monitor_entries(m, &entries) == 5);
    for (int n = 0; n < 5; n++) {
        const double expected = o->learning_rate * quern_schedule_scale(&o->schedule, n);
        CHECK(entries[n].step == n + 1 && entries[n].learning_rate == expected);
    }
    CHECK(quern_trainer_learning_rate(w.trainer) == entries[4].learning_rate);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_learning_rate_monitor_destroy(m);
    world_close(&w);
}

TEST_CASE(LearningRateMonitor, records_no_more_than_its_capacity) {
    world w;
    quern_learning_rate_monitor *m = NULL;
    const quern_learning_rate_entry *entries = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_learning_rate_monitor_create(&m, w.device, 0), QUERN_INVALID);
    CHECK(m == NULL);
    REQUIRE_OK(quern_learning_rate_monitor_create(&m, w.device, 2));
    const quern_callback callback = quern_learning_rate_monitor_callback(m);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(quern_learning_rate_monitor_entries(m, &entries) == 2);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_learning_rate_monitor_destroy(m);
    quern_learning_rate_monitor_destroy(NULL);
    world_close(&w);
}

/* b and e of the range, and what the trainer told in between: i for a step issued, d for one done.
 */
typedef struct diary {
    char text[128];
    size_t length;
} diary;

static void note(diary *d, char c) {
    if (d->length + 1 < sizeof d->text) d->text[d->length++] = c;
}

static void range_begin(void *self) { note(self, 'b'); }
static void range_end(void *self) { note(self, 'e'); }

static quern_action on_issue(void *self, const quern_event *event) {
    (void)event;
    note(self, 'i');
    return QUERN_CONTINUE;
}

static quern_action on_done(void *self, const quern_event *event) {
    (void)event;
    note(self, 'd');
    return QUERN_CONTINUE;
}

static void diary_of(int64_t first, int64_t last, int64_t epochs, diary *d) {
    world w;
    quern_profile_range *p = NULL;
    memset(d, 0, sizeof *d);
    REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
    REQUIRE_OK(quern_profile_range_create(
        &p, w.device, &(quern_profile_range_desc){first, last, range_begin, range_end, d}));
    /* the monitor band runs after the user's: the diary joins it, after the range */
    const quern_callback callbacks[] = {quern_profile_range_callback(p),
                                        {.name = "diary",
                                         .band = QUERN_BAND_MONITOR,
                                         .self = d,
                                         .step_begin = on_issue,
                                         .step_end = on_done}};
    quern_trainer_desc desc = world_with(&w, callbacks, 2);
    desc.epoch_count = epochs;
    desc.run_ahead = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    note(d, '.');
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    quern_profile_range_destroy(p);
    world_close(&w);
}

/* run_ahead 1: attempt n + 1 is issued before n is done, so an epoch of three is iididd. */
TEST_CASE(ProfileRange, holds_the_attempts_asked_for_from_issue_to_record) {
    diary d;
    diary_of(1, 2, 2, &d);
    CHECK_TEXT(d.text, "ibididediididd.");
    diary_of(0, 0, 1, &d);
    CHECK_TEXT(d.text, "biiedidd.");
}

TEST_CASE(ProfileRange, ends_with_the_run_at_the_latest_and_happens_once) {
    diary d;
    diary_of(2, 100, 1, &d);
    CHECK(strchr(d.text, 'b') != NULL && strchr(d.text, 'b') == strrchr(d.text, 'b'));
    CHECK(d.length > 2 && strcmp(d.text + d.length - 2, "e.") == 0); /* not in destroy */
    CHECK(strchr(d.text, 'e') == strrchr(d.text, 'e'));
    diary_of(100, 200, 1, &d);
    CHECK(strchr(d.text, 'b') == NULL && strchr(d.text, 'e') == NULL);
}

typedef struct trace {
    int depth, profile_depth, opened;
    int64_t value;
} trace;

static void trace_begin_at(void *self, const char *category, const char *name, int64_t value) {
    trace *t = self;
    (void)category;
    t->depth++;
    if (strcmp(name, "profile") == 0) {
        t->opened++;
        t->profile_depth = t->depth;
        t->value = value;
    }
}

static void trace_end_at(void *self) {
    trace *t = self;
    t->depth--;
}

TEST_CASE(ProfileRange, without_functions_it_is_a_range_of_the_hosts_trace) {
    world w;
    trace t = {0};
    quern_profile_range *p = NULL;
    quern_host host = quern_host_default();
    host.trace = (quern_trace_sink){.begin = trace_begin_at, .end = trace_end_at, .self = &t};
    REQUIRE_OK(world_open(&w, &(world_desc){.host = host}));
    REQUIRE_OK(quern_profile_range_create(&p, w.device,
                                          &(quern_profile_range_desc){.first = 1, .last = 1}));
    const quern_callback callback = quern_profile_range_callback(p);
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const int outside = t.depth;
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    CHECK(t.opened == 1 && t.value == 1 && t.depth == outside);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    CHECK(t.depth == outside);
    quern_profile_range_destroy(p);
    world_close(&w);
}

TEST_CASE(ProfileRange, a_desc_that_makes_no_sense_is_refused) {
    world w;
    diary d;
    quern_profile_range *p = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    const quern_profile_range_desc bad[] = {{.first = -1, .last = 1},
                                            {.first = 2, .last = 1},
                                            {.begin = range_begin, .self = &d},
                                            {.end = range_end, .self = &d},
                                            {.self = &d}};
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(quern_profile_range_create(&p, w.device, &bad[i]), QUERN_INVALID);
    CHECK_STATUS(quern_profile_range_create(&p, w.device, NULL), QUERN_INVALID);
    CHECK(p == NULL);
    quern_profile_range_destroy(NULL);
    world_close(&w);
}

typedef struct all {
    quern_early_stop *early;
    quern_learning_rate_monitor *monitor;
    quern_profile_range *range;
    quern_tensorboard *board;
} all;

static int32_t all_create(all *a, quern_device *device, const char *directory,
                          quern_callback *callbacks) {
    const quern_status early = quern_early_stop_create(
        &a->early, device, &(quern_early_stop_desc){.patience = 50, .restore_best = true});
    const quern_status monitor = quern_learning_rate_monitor_create(&a->monitor, device, 100);
    const quern_status range =
        quern_profile_range_create(&a->range, device, &(quern_profile_range_desc){.last = 3});
    const quern_status board = quern_tensorboard_create(&a->board, device, directory);
    if (early != QUERN_OK || monitor != QUERN_OK || range != QUERN_OK) return 0;
    callbacks[0] = quern_early_stop_callback(a->early);
    callbacks[1] = quern_learning_rate_monitor_callback(a->monitor);
    callbacks[2] = quern_profile_range_callback(a->range);
    if (board != QUERN_OK) return board == QUERN_UNSUPPORTED ? 3 : 0;
    callbacks[3] = quern_tensorboard_callback(a->board);
    return 4;
}

static void all_destroy(all *a) {
    quern_early_stop_destroy(a->early);
    quern_learning_rate_monitor_destroy(a->monitor);
    quern_profile_range_destroy(a->range);
    quern_tensorboard_destroy(a->board);
}

TEST_CASE(Callbacks, none_of_these_allocates_while_a_run_is_under_way) {
    world w;
    temporary d;
    all a = {0};
    fault_host faults;
    quern_callback callbacks[4];
    fault_host_begin(&faults, NULL);
    REQUIRE(temporary_begin(&d));
    REQUIRE_OK(world_open(&w, &(world_desc){.host = faults.host}));
    const int32_t count = all_create(&a, w.device, d.path, callbacks);
    REQUIRE(count >= 3);
    quern_trainer_desc desc = world_with(&w, callbacks, count);
    desc.epoch_count = 3;
    desc.log_every = 1;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    const int64_t before = (int64_t)atomic_load(&faults.count[FAULT_ALLOCATE]);
    const quern_status s = quern_trainer_fit(w.trainer, NULL);
    const int64_t after = (int64_t)atomic_load(&faults.count[FAULT_ALLOCATE]);
    CHECK_OK(s);
    CHECK(before > 0 && after == before);
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    all_destroy(&a);
    world_close(&w);
    temporary_end(&d);
    CHECK(fault_host_live(&faults) == 0);
}

/* What a checkpoint holds of the two that record: their entries, and how many. */
TEST_CASE(Monitors, entries_go_on_in_another_object) {
    world w;
    quern_tape *tapes[2];
    quern_learning_rate_monitor *rates[2];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(quern_tape_create(&tapes[i], w.device, 200, false));
        REQUIRE_OK(quern_learning_rate_monitor_create(&rates[i], w.device, 200));
    }
    const quern_callback from[] = {quern_tape_callback(tapes[0]),
                                   quern_learning_rate_monitor_callback(rates[0])};
    const quern_callback to[] = {quern_tape_callback(tapes[1]),
                                 quern_learning_rate_monitor_callback(rates[1])};
    const quern_trainer_desc desc = world_with(&w, from, 2);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    REQUIRE_OK(quern_trainer_fit(w.trainer, NULL));
    for (int i = 0; i < 2; i++) {
        REQUIRE(state_move(from[i], to[i]));
        CHECK(state_loaded(to[i], w.trainer) == QUERN_CONTINUE);
    }
    const quern_tape_entry *events[2];
    const quern_learning_rate_entry *updates[2];
    const int64_t count = quern_tape_entries(tapes[0], &events[0]);
    CHECK(count > 20 && quern_tape_entries(tapes[1], &events[1]) == count + 1);
    CHECK(memcmp(events[0], events[1], (size_t)count * sizeof **events) == 0);
    CHECK(events[1][count].kind == QUERN_EVENT_load_end);
    CHECK(quern_learning_rate_monitor_entries(rates[0], &updates[0]) == 3);
    CHECK(quern_learning_rate_monitor_entries(rates[1], &updates[1]) == 3);
    CHECK(memcmp(updates[0], updates[1], 3 * sizeof **updates) == 0);
    for (int i = 0; i < 2; i++) {
        const quern_callback_state state = to[i].state(to[i].self);
        *(int64_t *)state.data = 201;
        CHECK(state_loaded(to[i], w.trainer) == QUERN_FAIL);
        CHECK_ERROR_HAS("201 entries in a checkpoint, room for 200");
    }
    quern_trainer_destroy(w.trainer);
    w.trainer = NULL;
    for (int i = 0; i < 2; i++) {
        quern_tape_destroy(tapes[i]);
        quern_learning_rate_monitor_destroy(rates[i]);
    }
    world_close(&w);
}
