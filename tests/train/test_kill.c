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
        const struct timespec pause = {.tv_nsec = kill_after_ns};
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
    temporary_end(&t);
}

static void check_killed_everywhere(const saved_run_desc *d) {
    temporary t = {{0}, {0}};
    REQUIRE(temporary_begin(&t));
    saved_run_desc saving = *d;
    saving.directory = t.path;
    REQUIRE_OK(saved_run_whole(&whole, &saving));
    for (int64_t step = 1; step <= whole.result.step; step++) check_killed_at(d, step);
    temporary_end(&t);
}

TEST_CASE(Kill, behind_every_durable_save_without_workers) {
    check_killed_everywhere(&(saved_run_desc){.every = 1});
}

TEST_CASE(Kill, behind_every_durable_save_with_two_workers) {
    check_killed_everywhere(&(saved_run_desc){.every = 1, .workers = 2});
}

TEST_CASE(Kill, behind_every_durable_save_with_four_workers) {
    check_killed_everywhere(&(saved_run_desc){.every = 1, .workers = 4});
}

/* Again and again, a little later each time, until a child comes to its end. */
TEST_CASE(Kill, at_any_moment) {
    temporary t = {{0}, {0}}, other = {{0}, {0}};
    REQUIRE(temporary_begin(&t) && temporary_begin(&other));
    saved_run_desc d = {.directory = t.path, .every = 1, .workers = 2, .resume = true};
    REQUIRE_OK(saved_run_whole(&whole, &(saved_run_desc){.directory = other.path, .every = 1}));
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
