/* SIGKILL: right behind every save that was told to be durable, and at any moment. What the next
 * process makes of the directory is the run that was never killed. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static saved_run whole, killed;
static char whole_digest[33]; /* of its last checkpoint, which an early stop's best is put behind */

static quern_action die_when_durable(void *self, const quern_event *e) {
    if (e->kind == QUERN_EVENT_save_durable && e->status == QUERN_OK &&
        strcmp(strrchr(e->checkpoint, '-') + 1, self) == 0)
        (void)kill(getpid(), SIGKILL);
    return QUERN_CONTINUE;
}

/* In a child; true when it was killed, false when it came to its end. */
static bool run_in_child(const saved_run_desc *d, int64_t kill_after_ns) {
    const pid_t child = fork();
    if (child == 0) _exit(saved_run_whole(&killed, d) == QUERN_OK ? 0 : 1);
    int status = 0;
    if (kill_after_ns > 0) {
        const struct timespec pause = {kill_after_ns / 1000000000, kill_after_ns % 1000000000};
        (void)nanosleep(&pause, NULL);
        (void)kill(child, SIGKILL);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return false;
}

static int64_t resumed_step(const char *path) {
    return path ? (int64_t)atoll(strrchr(path, '-') + 1) : 0;
}

static void check_killed_at(const saved_run_desc *saving, int64_t step) {
    temporary t = {{0}, {0}};
    char text[24];
    REQUIRE(temporary_begin(&t));
    snprintf(text, sizeof text, "%d", (int)step);
    saved_run_desc d = *saving;
    d.directory = t.path;
    d.hook = die_when_durable;
    d.hook_self = text;
    const bool was_killed = run_in_child(&d, 0);
    CHECK_SAY(was_killed, "step %d was never durable", (int)step);
    d.resume = true;
    d.hook = NULL;
    REQUIRE_OK(saved_run_open(&killed, &d));
    const int64_t from = resumed_step(quern_trainer_resumed(killed.trainer));
    CHECK_SAY(from >= step, "step %d was durable, %d was resumed", (int)step, (int)from);
    REQUIRE_OK(saved_run_fit(&killed));
    saved_run_close(&killed);
    const char *difference = saved_run_difference(&whole, &killed, from, true);
    CHECK_SAY(!difference, "killed behind step %d: %s", (int)step, difference);
    CHECK_TEXT(saved_digest(&killed), whole_digest);
    temporary_end(&t);
}

static void check_killed_everywhere(const saved_run_desc *d) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    saved_run_desc saving = *d;
    saving.directory = t.path;
    REQUIRE_OK(saved_run_whole(&whole, &saving));
    snprintf(whole_digest, sizeof whole_digest, "%s", saved_digest(&whole));
    REQUIRE(whole_digest[0] != 0);
    for (int64_t step = 1; step <= whole.result.step; step++) check_killed_at(d, step);
    temporary_end(&t);
}

/* Everything at once: windows of two, early stop, moving average, metrics, warm-up, dropout,
 * shuffle and augmentation. QUERN_TEST_SEEDS asks for so many runs of up to 80 updates. */
static void check_seeds(int32_t workers, quern_tail tail) {
    const char *seeds = getenv("QUERN_TEST_SEEDS");
    saved_run_desc d = {.every = 1,
                        .workers = workers,
                        .accumulate = 2,
                        .tail = tail,
                        .epochs = 9,
                        .patience = 3,
                        .watched = true};
    check_killed_everywhere(&d);
    CHECK_SAY(whole.result.reason == QUERN_STOPPED_CALLBACK && whole.result.step > 8 &&
                  whole.result.step <= 40,
              "%d steps, %s", (int)whole.result.step, quern_stop_reason_name(whole.result.reason));
    d.epochs = 20;
    d.patience = 8;
    for (d.seed = 100; seeds && d.seed < 100 + (uint64_t)atoll(seeds); d.seed++)
        check_killed_everywhere(&d);
}

TEST_CASE(Kill, behind_every_durable_save_without_workers) { check_seeds(0, QUERN_TAIL_FLUSH); }

TEST_CASE(Kill, behind_every_durable_save_with_two_workers) { check_seeds(2, QUERN_TAIL_FLUSH); }

TEST_CASE(Kill, behind_every_durable_save_with_four_workers) { check_seeds(4, QUERN_TAIL_FLUSH); }

TEST_CASE(Kill, behind_every_durable_save_with_a_batch_carried_along) {
    check_seeds(2, QUERN_TAIL_CARRY);
}

/* Again and again, a little later each time, until a child comes to its end. */
TEST_CASE(Kill, at_any_moment) {
    temporary t = {{0}, {0}}, other = {{0}, {0}};
    REQUIRE(temporary_begin(&t) && temporary_begin(&other));
    saved_run_desc d = {
        .directory = other.path, .every = 1, .accumulate = 2, .tail = QUERN_TAIL_CARRY};
    REQUIRE_OK(saved_run_whole(&whole, &d));
    d.directory = t.path;
    d.workers = 2;
    d.resume = true;
    int kills = 0;
    for (int64_t after = 1000000; kills < 200 && run_in_child(&d, after); kills++)
        after += after / 4 + 137001;
    CHECK(kills > 0);
    REQUIRE_OK(saved_run_whole(&killed, &d));
    CHECK_TEXT(killed.digest, whole.digest);
    CHECK(killed.result.step == whole.result.step && killed.result.epochs == 3);
    temporary_end(&other);
    temporary_end(&t);
}
