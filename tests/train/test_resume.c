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
    for (int64_t step = 1; step <= largest_step(&whole); step++) {
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
            checked++;
        }
        temporary_end(&one);
    }
    CHECK_SAY(checked >= 3 && (saving->every != 1 || checked == largest_step(&whole)),
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
