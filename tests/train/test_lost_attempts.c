/* A failure of the device that somebody else's wait has returned: what was issued behind it has not
 * run, and the trainer must neither count it nor go on from it. */
#include "quern_test.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

static quern_status step_of(world *w, int64_t sample) {
    const quern_batch batch = {.sample_count = 4,
                               .field_count = 2,
                               .names = {"x", "label"},
                               .data = {w->train_x[sample], &w->train_label[sample]}};
    return quern_trainer_step(w->trainer, &batch);
}

TEST_CASE(LostAttempts, a_read_that_returned_the_failure_does_not_hide_it) {
    world w;
    quern_result r;
    float logits[4 * WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    w.train_label[4] = WORLD_CLASSES;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(step_of(&w, 0));
    REQUIRE_OK(step_of(&w, 4));
    CHECK_STATUS(quern_trainer_read(w.trainer, w.logits, logits, sizeof logits), QUERN_INPUT);
    CHECK_STATUS(quern_trainer_wait(w.trainer, &r), QUERN_INPUT);
    CHECK_ERROR_HAS("target 3");
    CHECK_SAY(r.step == 1 && r.attempts == 1, "%d steps of %d attempts", (int)r.step,
              (int)r.attempts);
    world_close(&w);
}

TEST_CASE(LostAttempts, parameters_that_returned_the_failure_do_not_hide_it) {
    world w;
    quern_result r;
    float bias[WORLD_CLASSES];
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    w.train_label[4] = WORLD_CLASSES;
    REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
    REQUIRE_OK(step_of(&w, 4));
    CHECK_STATUS(quern_parameters_read(quern_trainer_parameters(w.trainer),
                                       quern_tensor_find(w.graph, "fc2.bias"), bias, sizeof bias),
                 QUERN_INPUT);
    const quern_status issued = step_of(&w, 0); /* it may find out already */
    CHECK(issued == QUERN_OK || issued == QUERN_INPUT);
    CHECK_STATUS(quern_trainer_wait(w.trainer, &r), QUERN_INPUT);
    CHECK(r.step == 0 && r.attempts == 0);
    world_close(&w);
}

/* With a single attempt in flight nothing else finds the state out of step. */
TEST_CASE(LostAttempts, a_fit_after_a_bad_label_counts_from_what_is_known) {
    static const int32_t aheads[] = {1, 2, 3, 7, 64, 128};
    for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++) {
        const int32_t ahead = aheads[i];
        world w;
        quern_result r;
        REQUIRE_OK(world_open(&w, &(world_desc){.valid_length = -1}));
        w.desc.no_shuffle = true;
        w.desc.run_ahead = ahead;
        w.desc.epoch_count = 2;
        w.train_label[8] = WORLD_CLASSES; /* the third and last batch of an epoch */
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        CHECK_STATUS(quern_trainer_fit(w.trainer, &r), QUERN_INPUT);
        CHECK_SAY(r.step == 2 && r.attempts == 2, "ahead %d: %d steps of %d", (int)ahead,
                  (int)r.step, (int)r.attempts);
        w.train_label[8] = 0;
        CHECK_OK(quern_trainer_fit(w.trainer, &r));
        CHECK_SAY(r.step == 6 && r.attempts == 6, "ahead %d: %d steps of %d", (int)ahead,
                  (int)r.step, (int)r.attempts);
        world_close(&w);
    }
}

static quern_action fail_third(void *self, const quern_event *event) {
    int *calls = self;
    (void)event;
    return ++*calls == 3 ? QUERN_FAIL : QUERN_CONTINUE;
}

/* The attempt is finished as skipped, and stays in flight: found by fuzzing. */
TEST_CASE(LostAttempts, an_own_loop_goes_on_behind_a_callback_that_failed_inside_a_step) {
    world w;
    quern_result r;
    int calls = 0;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    w.desc.train = w.desc.valid = NULL;
    w.desc.run_ahead = 2;
    const quern_callback callback = {.name = "third", .self = &calls, .loss_ready = fail_third};
    const quern_trainer_desc desc = world_with(&w, &callback, 1);
    REQUIRE_OK(quern_trainer_create(&w.trainer, &desc));
    for (int i = 0; i < 6; i++)
        CHECK_STATUS(step_of(&w, 4 * i), i == 2 ? QUERN_CALLBACK : QUERN_OK);
    CHECK_OK(quern_trainer_wait(w.trainer, &r));
    CHECK_SAY(r.step == 5 && r.attempts == 6, "%d steps of %d", (int)r.step, (int)r.attempts);
    world_close(&w);
}

typedef struct warnings {
    int count;
    char last[512];
} warnings;

static void note_warning(void *self, quern_log_level level, const char *sentence) {
    warnings *w = self;
    if (level != QUERN_LOG_WARNING) return;
    w->count++;
    snprintf(w->last, sizeof w->last, "%s", sentence);
}

/* Once where no call has returned the failure, not at all where one has. */
TEST_CASE(LostAttempts, a_destroy_tells_the_log_what_no_call_has_returned) {
    for (int told = 0; told < 2; told++) {
        world w;
        quern_result r;
        warnings logged = {0};
        REQUIRE_OK(world_open(&w, &(world_desc){.host.log = {note_warning, &logged}}));
        w.desc.train = w.desc.valid = NULL;
        w.train_label[4] = WORLD_CLASSES;
        REQUIRE_OK(quern_trainer_create(&w.trainer, &w.desc));
        REQUIRE_OK(step_of(&w, 0));
        REQUIRE_OK(step_of(&w, 4));
        if (told) CHECK_STATUS(quern_trainer_wait(w.trainer, &r), QUERN_INPUT);
        if (!told) CHECK_STATUS(quern_trainer_step(w.trainer, NULL), QUERN_INVALID);
        quern_trainer_destroy(w.trainer);
        w.trainer = NULL;
        CHECK_SAY(logged.count == 1 - told, "%d warnings: %s", logged.count, logged.last);
        CHECK(told || strstr(logged.last, "target 3") != NULL);
        CHECK_ERROR_HAS(told ? "target 3" : "batch is NULL"); /* the thread's sentence stays */
        world_close(&w);
    }
}
