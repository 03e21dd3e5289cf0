/* A run that is resumed from any of its checkpoints is the run that never stopped: the same events
 * with the same values, the same samples in the same order, the same bits at the end. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Static: thousands of records are too much for a stack. */
static saved_run whole, resumed;

static int64_t largest_step(const saved_run *r) { return r->result.step; }

/* Every save of `saving`, resumed as `going_on` says. */
static void check_every_save(const saved_run_desc *saving, const saved_run_desc *going_on,
                             bool ordered) {
    temporary all = {{0}, {0}};
    REQUIRE(temporary_begin(&all));
    saved_run_desc d = *saving;
    d.directory = all.path;
    REQUIRE_OK(saved_run_whole(&whole, &d));
    int64_t checked = 0;
    for (int64_t step = 0; step <= largest_step(&whole); step++) {
        temporary one = {{0}, {0}};
        REQUIRE(temporary_begin(&one));
        if (saved_copy(all.path, one.path, step)) {
            d = *going_on;
            d.directory = one.path;
            d.resume = true;
            CHECK_OK(saved_run_whole(&resumed, &d));
            const char *difference = saved_run_difference(&whole, &resumed, step, ordered);
            CHECK_SAY(!difference, "resumed at step %d: %s", (int)step, difference);
            CHECK(resumed.result.reason == whole.result.reason);
            CHECK(resumed.result.attempts == whole.result.attempts);
            CHECK(resumed.result.samples == whole.result.samples);
            CHECK(resumed.result.epochs == whole.result.epochs);
            checked += step > 0;
        }
        temporary_end(&one);
    }
    CHECK_SAY(checked >= (saving->poisoned ? 1 : 3) &&
                  (saving->every != 1 || saving->poisoned || checked == largest_step(&whole)),
              "%d checkpoints of %d steps", (int)checked, (int)largest_step(&whole));
    temporary_end(&all);
}

static void check_same(const saved_run_desc *d) { check_every_save(d, d, true); }

TEST_CASE(Resume, from_every_step_is_the_run_that_never_stopped) {
    check_same(&(saved_run_desc){.every = 1});
}

TEST_CASE(Resume, with_workers_too) {
    check_same(&(saved_run_desc){.every = 1, .workers = 2});
    check_same(&(saved_run_desc){.every = 1, .workers = 4});
}

TEST_CASE(Resume, between_saves_that_are_far_apart) {
    check_same(&(saved_run_desc){.every = 4});
    check_same(&(saved_run_desc){.every = 5, .run_ahead = 4});
}

static void in_f16(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->precision = QUERN_PRECISION_F16;
    desc->loss_scale = (quern_loss_scale){.initial = 0x1p19, .interval = 5};
}

static void in_bf16_by_chance(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->precision = QUERN_PRECISION_BF16;
    desc->stochastic_rounding = true;
}

/* Behind overflows, between two growths of the loss scale, and with the draws of each update. */
TEST_CASE(Resume, in_16_bits) {
    check_same(&(saved_run_desc){.every = 1, .change = in_f16});
    check_same(&(saved_run_desc){.every = 1, .change = in_bf16_by_chance});
}

TEST_CASE(Resume, at_an_epochs_end) { check_same(&(saved_run_desc){.every = 0}); }

TEST_CASE(Resume, does_not_depend_on_how_the_work_is_spread) {
    const saved_run_desc saving = {.every = 3};
    check_every_save(&saving, &(saved_run_desc){.every = 3, .workers = 3, .prefetch = 5}, false);
    check_every_save(&saving, &(saved_run_desc){.every = 3, .run_ahead = 1}, false);
    check_every_save(&saving, &(saved_run_desc){.every = 3, .run_ahead = 7, .threads = 3}, false);
}

TEST_CASE(Resume, of_a_run_with_a_step_limit_inside_an_epoch) {
    check_same(&(saved_run_desc){.every = 1, .step_limit = 11});
}

TEST_CASE(Resume, of_windows_with_each_tail) {
    static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY, QUERN_TAIL_DROP};
    for (int i = 0; i < 3; i++) {
        check_same(&(saved_run_desc){.every = 1, .accumulate = 2, .tail = tails[i], .epochs = 4});
        check_same(&(saved_run_desc){.accumulate = 2, .tail = tails[i], .epochs = 4});
        check_same(&(saved_run_desc){.every = 1, .accumulate = 3, .tail = tails[i], .workers = 2});
    }
}

/* Its first samples are read again and dropped, and it ends where it ended. */
TEST_CASE(Resume, of_a_stream_that_cannot_start_again) {
    check_same(&(saved_run_desc){.every = 1, .stream = true});
    CHECK(whole.result.reason == QUERN_STOPPED_DATA && whole.result.epochs == 1);
    check_same(&(saved_run_desc){.every = 1, .stream = true, .accumulate = 2, .workers = 2});
}

static void evaluate_always(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->evaluate_every = 1;
    desc->evaluate_every_epochs = 1;
}

/* What was evaluated and saved at the last update of an epoch is not evaluated again at its end. */
TEST_CASE(Resume, of_a_run_that_is_evaluated_at_every_update) {
    check_same(&(saved_run_desc){.every = 1, .change = evaluate_always});
    check_same(&(saved_run_desc){.every = 1, .stream = true, .change = evaluate_always});
}

/* Two fits of one epoch each: what was saved in the second one goes on to the second one's end. */
TEST_CASE(Resume, of_a_second_fit) {
    temporary all = {{0}, {0}};
    REQUIRE(temporary_begin(&all));
    saved_run_desc d = {.directory = all.path, .every = 1, .epochs = 1};
    REQUIRE_OK(saved_run_open(&whole, &d));
    REQUIRE_OK(saved_run_fit(&whole));
    REQUIRE_OK(saved_run_fit(&whole));
    saved_run_close(&whole);
    CHECK(whole.result.step == 12);
    for (int64_t step = 7; step <= 12; step++) {
        temporary one = {{0}, {0}};
        REQUIRE(temporary_begin(&one));
        REQUIRE(saved_copy(all.path, one.path, step));
        d.directory = one.path;
        d.resume = true;
        CHECK_OK(saved_run_whole(&resumed, &d));
        const char *difference = saved_run_difference(&whole, &resumed, step, true);
        CHECK_SAY(!difference, "resumed at step %d: %s", (int)step, difference);
        temporary_end(&one);
    }
    temporary_end(&all);
}

/* It stops before the last epoch, and with the best weights: both come from its state. */
TEST_CASE(Resume, of_a_run_that_stops_early) {
    check_same(&(saved_run_desc){.every = 1, .epochs = 9, .patience = 1});
    CHECK(whole.result.reason == QUERN_STOPPED_CALLBACK && whole.result.epochs < 9);
    check_same(&(saved_run_desc){.epochs = 9, .patience = 1, .workers = 4});
    CHECK(whole.result.reason == QUERN_STOPPED_CALLBACK);
}

static void roll_back(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->not_finite = QUERN_NOT_FINITE_ROLLBACK;
    desc->sanity_batches = 1;
}

/* Saved before a rollback, and behind it. */
TEST_CASE(Resume, of_a_run_that_rolls_back) {
    saved_run_desc d = {.poisoned = 1, .change = roll_back};
    static const int64_t every[] = {0, 1, 3, 4};
    for (int i = 0; i < 4; i++) {
        d.every = every[i];
        check_same(&d);
    }
    d.accumulate = 2;
    d.tail = QUERN_TAIL_CARRY;
    check_same(&d);
    d.run_ahead = 6;
    d.workers = 3;
    check_every_save(
        &(saved_run_desc){.poisoned = 1, .every = 3, .change = roll_back},
        &(saved_run_desc){
            .poisoned = 1, .every = 3, .change = roll_back, .run_ahead = 7, .workers = 3},
        false);
}

typedef struct asker {
    quern_event_kind kind;
    quern_request request;
} asker;

/* Where an evaluation, a save and an epoch's end fall together: a pure function of the event, as a
 * resumed run needs it. */
static quern_action ask(void *self, const quern_event *event) {
    const asker *a = self;
    if (event->kind == a->kind && event->step % 6 == 0)
        CHECK_OK(quern_event_request(event, a->request));
    return QUERN_CONTINUE;
}

static void evaluate_often(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->evaluate_every = 3;
    desc->evaluate_every_epochs = 1;
}

/* What was asked for and is not done yet when a checkpoint is written is done behind it. */
TEST_CASE(Resume, of_a_run_with_requests) {
    static const quern_event_kind kinds[] = {QUERN_EVENT_step_end, QUERN_EVENT_eval_end,
                                             QUERN_EVENT_epoch_end};
    for (int i = 0; i < 3; i++)
        for (int request = QUERN_REQUEST_EVALUATION; request <= QUERN_REQUEST_SAVE; request++) {
            asker a = {kinds[i], (quern_request)request};
            check_same(&(saved_run_desc){
                .every = 2, .hook = ask, .hook_self = &a, .change = evaluate_often});
        }
}

/* The same run, with nothing saved, is the same run. */
TEST_CASE(Resume, saving_changes_nothing) {
    static saved_run plain;
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(&plain, &(saved_run_desc){0}));
    REQUIRE_OK(saved_run_whole(&whole, &(saved_run_desc){.directory = t.path, .every = 2}));
    CHECK_TEXT(whole.digest, plain.digest);
    CHECK(whole.result.checkpoint != NULL && plain.result.checkpoint == NULL);
    temporary_end(&t);
}
