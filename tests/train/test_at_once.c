/* A second signal between the batches of a window. */
#include "ends.h"
#include "quern_test.h"
#include "world.h"

#include <signal.h>
#include <string.h>

/* Windows of 8 batches, in the second of which two signals come behind the second batch. */
static void windows_run(bool told, quern_resident resident, quern_result *r, float weights[256]) {
    world w;
    ends e = {.kind = QUERN_EVENT_micro_end, .nth = told ? 10 : -1, .number = SIGTERM, .times = 2};
    const quern_callback callback = ends_callback(&e);
    REQUIRE_OK(world_open(&w, &(world_desc){.train_length = 48, .batch_size = 2, .dropout = true}));
    quern_trainer_desc d = world_with(&w, &callback, 1);
    d.handle_signals = true;
    d.accumulate = 8;
    d.resident = resident;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &d));
    CHECK_OK(quern_trainer_fit(w.trainer, r));
    CHECK(r->at_once == told && r->signal == (told ? SIGTERM : 0));
    CHECK_SAY(e.fired[QUERN_EVENT_micro_end] == (told ? 10 : 24), "%d batches were issued",
              e.fired[QUERN_EVENT_micro_end]);
    if (told) {
        CHECK(r->reason == QUERN_STOPPED_SIGNAL && r->step == 1 && r->attempts == 1);
        CHECK(e.fired[QUERN_EVENT_eval_begin] == 0 && e.fired[QUERN_EVENT_log] == 0);
        CHECK_OK(quern_trainer_fit(w.trainer, r));
        CHECK(!r->at_once && r->signal == 0);
    }
    CHECK(world_weights(&w, weights, 256) > 0);
    world_close(&w);
}

TEST_CASE(Signals, a_second_one_leaves_a_window_between_two_of_its_batches) {
    static const quern_resident residents[] = {QUERN_RESIDENT_OFF, QUERN_RESIDENT_ON};
    for (int i = 0; i < 2; i++) {
        quern_result r[2] = {{0}, {0}};
        float told[256] = {0}, whole[256] = {0};
        windows_run(true, residents[i], &r[0], told);
        windows_run(false, residents[i], &r[1], whole);
        CHECK(r[0].step == 3 && r[1].step == 3 && r[0].samples == r[1].samples);
        CHECK(memcmp(told, whole, sizeof told) == 0);
    }
}
