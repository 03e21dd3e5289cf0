/* A second signal between the batches of a window: the window is finished, and the last one. */
#include "ends.h"
#include "quern_test.h"
#include "world.h"

#include <signal.h>
#include <string.h>

/* Windows of 8 batches. */
typedef struct windows {
    int nth; /* two signals come behind this batch; 0: none comes */
    quern_resident resident;
    int end_at; /* the epoch is ended behind this fetched batch; 0: it is not */
    int fetched;
    quern_result r;
    float weights[256];
    quern_scalar epoch[8]; /* of the epoch's end */
    int32_t epoch_count;
    char digest[33]; /* behind the first fit */
} windows;

static quern_action note_fetch(void *self, const quern_event *event) {
    windows *v = self;
    (void)event;
    return ++v->fetched == v->end_at ? QUERN_END_EPOCH : QUERN_CONTINUE;
}

static quern_action note_epoch(void *self, const quern_event *event) {
    windows *v = self;
    CHECK(event->scalar_count <= 8);
    v->epoch_count = event->scalar_count < 8 ? event->scalar_count : 8;
    memcpy(v->epoch, event->scalars, (size_t)v->epoch_count * sizeof *v->epoch);
    return QUERN_CONTINUE;
}

static void windows_run(windows *v, int issued, int64_t step) {
    world w;
    const bool told = v->nth > 0;
    ends e = {
        .kind = QUERN_EVENT_micro_end, .nth = told ? v->nth : -1, .number = SIGTERM, .times = 2};
    const quern_callback callbacks[] = {
        ends_callback(&e),
        {.name = "windows", .self = v, .fetch_end = note_fetch, .epoch_end = note_epoch}};
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 48, .batch_size = 2, .dropout = true}));
    quern_trainer_desc d = world_with(&w, callbacks, 2);
    d.handle_signals = true;
    d.accumulate = 8;
    d.tail = QUERN_TAIL_FLUSH;
    d.resident = v->resident;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, &v->r));
    CHECK(v->r.at_once == told && v->r.signal == (told ? SIGTERM : 0));
    CHECK_SAY(e.fired[QUERN_EVENT_micro_end] == issued, "%d batches were issued",
              e.fired[QUERN_EVENT_micro_end]);
    CHECK_SAY(v->r.step == step && v->r.attempts == step, "step %d", (int)v->r.step);
    CHECK_OK(quern_trainer_digest(w.trainer, v->digest));
    if (told) {
        CHECK(v->r.reason == QUERN_STOPPED_SIGNAL && v->epoch_count == 0);
        CHECK(e.fired[QUERN_EVENT_eval_begin] == 0 && e.fired[QUERN_EVENT_log] == 0);
        CHECK_OK(quern_trainer_fit(w.trainer, &v->r));
        CHECK(!v->r.at_once && v->r.signal == 0);
    }
    CHECK(world_weights(&w, v->weights, 256) > 0);
    world_close(&w);
}

/* The epoch's metrics too: nothing of what was counted is forgotten, or counted twice. */
static void windows_compare(const windows *a, const windows *b) {
    CHECK(a->r.step == b->r.step && a->r.samples == b->r.samples);
    CHECK(memcmp(a->weights, b->weights, sizeof a->weights) == 0);
    REQUIRE(a->epoch_count > 0 && a->epoch_count == b->epoch_count);
    for (int32_t i = 0; i < a->epoch_count; i++)
        CHECK_SAY(a->epoch[i].value == b->epoch[i].value, "scalar %d is %g, not %g", (int)i,
                  a->epoch[i].value, b->epoch[i].value);
}

static const quern_resident residents[] = {QUERN_RESIDENT_OFF, QUERN_RESIDENT_ON};

TEST_CASE(Signals, a_second_one_inside_a_window_lets_that_be_the_last) {
    for (int i = 0; i < 2; i++) {
        windows told = {.nth = 10, .resident = residents[i]}, late = told, whole = told;
        late.nth = 16; /* behind its last batch */
        whole.nth = 0;
        windows_run(&told, 16, 2);
        windows_run(&late, 16, 2);
        windows_run(&whole, 24, 3);
        windows_compare(&told, &whole);
        CHECK_TEXT(told.digest, late.digest);
    }
}

TEST_CASE(Signals, a_second_one_drops_no_window_of_an_epoch_that_ends_early) {
    for (int i = 0; i < 2; i++) {
        windows told = {.nth = 10, .resident = residents[i], .end_at = 11}, whole = told;
        whole.nth = 0;
        windows_run(&told, 11, 2);
        windows_run(&whole, 11, 2);
        CHECK(told.r.samples == 22);
        windows_compare(&told, &whole);
    }
}
