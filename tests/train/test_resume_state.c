/* Items of the state that only a run of its own kind misses when they are lost. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <string.h>

static saved_run plain, first, again;

static void bound_in_row(void *self, quern_trainer_desc *desc) {
    desc->not_finite = *(const quern_not_finite *)self;
    desc->not_finite_limit = 9;
}

/* Every window fails: 6 in the first epoch, whose end is saved, the others in the second. */
static void check_row(quern_not_finite policy) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path,
                        .poisoned = SAVED_SAMPLES,
                        .change = bound_in_row,
                        .change_self = &policy};
    CHECK_STATUS(saved_run_whole(&first, &d), QUERN_NOT_FINITE);
    CHECK(first.result.attempts > 7 && first.result.attempts < 14);
    d.resume = true;
    CHECK_STATUS(saved_run_whole(&again, &d), QUERN_NOT_FINITE);
    CHECK(again.result.attempts == first.result.attempts);
    temporary_end(&t);
}

TEST_CASE(ResumeState, rollbacks_in_a_row_are_counted_across_a_resume) {
    check_row(QUERN_NOT_FINITE_ROLLBACK);
    CHECK_ERROR_HAS("after 9 rollbacks in a row");
}

TEST_CASE(ResumeState, skips_in_a_row_are_counted_across_a_resume) {
    check_row(QUERN_NOT_FINITE_SKIP);
}

static quern_action end_epoch(void *self, const quern_event *e) {
    const bool *stop = self;
    if (e->kind != QUERN_EVENT_step_end || e->step != 3) return QUERN_CONTINUE;
    if (*stop) quern_trainer_stop(e->trainer);
    return QUERN_END_EPOCH;
}

/* Stopped where a callback had ended the epoch, before the epoch's end was told. */
TEST_CASE(ResumeState, an_epoch_that_was_to_end_ends) {
    temporary t;
    bool stop = false;
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.every = 100, .hook = end_epoch, .hook_self = &stop};
    d.every = 0;
    REQUIRE_OK(saved_run_whole(&plain, &d));
    stop = true;
    d.directory = t.path;
    REQUIRE_OK(saved_run_whole(&first, &d));
    d.resume = true;
    d.hook = NULL;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_TEXT(again.digest, plain.digest);
    CHECK(again.result.attempts == plain.result.attempts);
    temporary_end(&t);
}

static quern_action skip_carried(void *self, const quern_event *e) {
    (void)self;
    return e->kind == QUERN_EVENT_fetch_end && e->epoch == 0 && e->batch == 6 ? QUERN_SKIP_STEP
                                                                              : QUERN_CONTINUE;
}

/* The batch that waits for the next epoch was to be skipped with its window. */
TEST_CASE(ResumeState, a_window_that_was_to_be_skipped_is) {
    temporary all, one;
    REQUIRE(temporary_begin(&all) && temporary_begin(&one));
    saved_run_desc d = {
        .directory = all.path, .accumulate = 2, .tail = QUERN_TAIL_CARRY, .hook = skip_carried};
    REQUIRE_OK(saved_run_whole(&first, &d));
    REQUIRE(saved_copy(all.path, one.path, 3));
    d.directory = one.path;
    d.resume = true;
    REQUIRE_OK(saved_run_whole(&again, &d));
    const char *difference = saved_run_difference(&first, &again, 3, true);
    CHECK_SAY(!difference, "%s", difference);
    temporary_end(&one);
    temporary_end(&all);
}

TEST_CASE(ResumeState, the_last_evaluation_can_be_asked_for) {
    temporary t;
    double expected[9] = {0}, found[9] = {0};
    REQUIRE(temporary_begin(&t));
    saved_run_desc d = {.directory = t.path};
    REQUIRE_OK(saved_run_open(&first, &d));
    REQUIRE_OK(saved_run_fit(&first));
    REQUIRE_OK(quern_trainer_confusion(first.trainer, "confusion", expected, 9));
    saved_run_close(&first);
    d.resume = true;
    REQUIRE_OK(saved_run_open(&again, &d));
    REQUIRE_OK(quern_trainer_confusion(again.trainer, "confusion", found, 9));
    CHECK(memcmp(found, expected, sizeof found) == 0);
    REQUIRE_OK(saved_run_fit(&again));
    CHECK(memcmp(&again.result.valid_loss, &first.result.valid_loss, sizeof(double)) == 0);
    CHECK(again.result.samples == first.result.samples);
    saved_run_close(&again);
    temporary_end(&t);
}

typedef struct first_copy {
    temporary *from, *to;
    bool done;
} first_copy;

/* The last update's checkpoint before the end of its epoch is known, which replaces it. */
static quern_action copy_first(void *self, const quern_event *e) {
    first_copy *c = self;
    if (e->kind != QUERN_EVENT_save_durable || c->done || !strstr(e->checkpoint, "/step-6"))
        return QUERN_CONTINUE;
    c->done = saved_copy(c->from->path, c->to->path, 6);
    return QUERN_CONTINUE;
}

static void evaluate_always(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->evaluate_every = desc->evaluate_every_epochs = 1;
}

TEST_CASE(ResumeState, an_evaluation_before_an_epochs_end_is_not_made_again) {
    temporary all, one;
    REQUIRE(temporary_begin(&all) && temporary_begin(&one));
    first_copy c = {&all, &one, false};
    saved_run_desc d = {.directory = all.path,
                        .every = 1,
                        .stream = true,
                        .change = evaluate_always,
                        .hook = copy_first,
                        .hook_self = &c};
    REQUIRE_OK(saved_run_whole(&first, &d));
    CHECK(c.done);
    d.directory = one.path;
    d.resume = true;
    d.hook = NULL;
    REQUIRE_OK(saved_run_whole(&again, &d));
    CHECK_TEXT(again.digest, first.digest);
    for (int64_t i = 0; i < again.record_count; i++)
        CHECK(again.records[i].kind != QUERN_EVENT_eval_begin);
    temporary_end(&one);
    temporary_end(&all);
}
