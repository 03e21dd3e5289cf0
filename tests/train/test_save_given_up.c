/* A second signal during a save: it is given up behind the file operation at hand, at each of them;
 * the older checkpoints stay, and the run goes on from them as if it had never been stopped. */
#include "quern_test.h"
#include "saved_run.h"
#include "signal_disk.h"
#include "temporary.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 18, EVERY = 4, LAST_BUT_ONE = 16 };

static saved_run whole, cut, again;
static signal_disk disk;

typedef struct watch {
    int64_t arm_at;  /* the step whose save is met */
    int64_t save_at; /* and which is asked for then; 0: it comes by itself */
    bool two_snapshots;
    int begun, durable, failed;
    quern_status status; /* of the last save_durable */
    char reason[512];
} watch;

static quern_action watch_saves(void *self, const quern_event *e) {
    watch *w = self;
    if (e->kind == QUERN_EVENT_step_end && w->save_at > 0 && e->step == w->save_at)
        CHECK_OK(quern_event_request(e, QUERN_REQUEST_SAVE));
    if (e->kind == QUERN_EVENT_save_begin) w->begun++;
    if (e->kind == QUERN_EVENT_save_begin && e->step >= w->arm_at) atomic_store(&disk.armed, true);
    if (e->kind != QUERN_EVENT_save_durable) return QUERN_CONTINUE;
    w->durable += e->status == QUERN_OK;
    w->failed += e->status != QUERN_OK;
    w->status = e->status;
    snprintf(w->reason, sizeof w->reason, "%s", e->reason ? e->reason : "");
    return QUERN_CONTINUE;
}

static void change(void *self, quern_trainer_desc *d) {
    const watch *w = self;
    d->handle_signals = true;
    d->save.keep_every = 0;
    d->save.keep_last = 2;
    d->save.two_snapshots = w->two_snapshots;
}

static int leftovers(const char *directory) {
    int count = 0;
    DIR *d = opendir(directory);
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *suffix = strchr(e->d_name, '.');
        count += suffix && strncmp(e->d_name, "step-", 5) == 0;
    }
    if (d) closedir(d);
    return count;
}

/* What the older checkpoint holds leads to where the run that was never stopped came. */
static void check_goes_on(const char *directory, int64_t from) {
    char expected[600];
    const saved_run_desc d = {.directory = directory, .every = EVERY, .resume = true};
    REQUIRE_OK(saved_run_open(&again, &d));
    snprintf(expected, sizeof expected, "%s/step-%d", directory, (int)from);
    CHECK_TEXT(quern_trainer_resumed(again.trainer), expected);
    CHECK(leftovers(directory) == 0);
    CHECK_OK(saved_run_fit(&again));
    CHECK_TEXT(again.digest, whole.digest);
    saved_run_close(&again);
}

static void check_given_up(const watch *w, const char *directory, int64_t n) {
    CHECK_SAY(!disk.published, "operation %d: the checkpoint was finished", (int)n);
    CHECK_TEXT(cut.checkpoint, "");
    CHECK_STATUS(w->status, QUERN_IO);
    CHECK(w->failed == 1 && w->durable == w->begun - 1);
    CHECK_HAS(w->reason, "step-18 was given up: the run was told to end at once");
    CHECK_SAY(disk.syncs == 0, "operation %d: %d syncs behind it", (int)n, disk.syncs);
    CHECK_SAY(leftovers(directory) == 0, "operation %d: something is left", (int)n);
    check_goes_on(directory, LAST_BUT_ONE);
}

static void check_durable(const watch *w, int64_t n) {
    CHECK_SAY(!disk.in_partial, "operation %d: the save went on", (int)n);
    CHECK_HAS(cut.checkpoint, "/step-18");
    CHECK(w->failed == 0 && w->durable == w->begun);
    CHECK_SAY(disk.retirements <= disk.at_retiring, "operation %d: older ones were removed",
              (int)n);
}

static void cut_at(int64_t n, int *given_up) {
    temporary t;
    watch w = {.arm_at = STEPS};
    REQUIRE(temporary_begin(&t));
    signal_disk_begin(&disk, n);
    const saved_run_desc d = {.host = disk.host,
                              .directory = t.path,
                              .every = EVERY,
                              .hook = watch_saves,
                              .hook_self = &w,
                              .change = change,
                              .change_self = &w};
    CHECK_OK(saved_run_whole(&cut, &d));
    CHECK(w.begun == 5 && cut.result.step == STEPS);
    CHECK(cut.result.reason == QUERN_STOPPED_EPOCHS);
    CHECK_TEXT(cut.digest, whole.digest); /* in memory all is there */
    CHECK(cut.result.signal == (disk.raised ? SIGINT : 0));
    CHECK_SAY(disk.writes == 0, "operation %d: %d writes behind it", (int)n, disk.writes);
    const bool failed = w.failed > 0;
    *given_up += failed;
    if (failed)
        check_given_up(&w, t.path, n);
    else
        check_durable(&w, n);
    temporary_end(&t);
}

TEST_CASE(SaveGivenUp, at_each_file_operation_of_the_last_save) {
    temporary t;
    int given_up = 0;
    int64_t n = 1;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(saved_run_whole(&whole, &(saved_run_desc){.directory = t.path, .every = EVERY}));
    temporary_end(&t);
    for (disk.raised = true; disk.raised && !quern_test_failed(); n++) cut_at(n, &given_up);
    CHECK_SAY(given_up > 60 && n > given_up + 10, "%d of %d were given up", given_up, (int)n);
}

/* In the middle of a run, and where another may wait behind it: neither is waited for. With two
 * snapshots those of steps 6 and 7 may be unwritten yet when that of step 8 begins. */
static void cut_in_the_middle(bool two_snapshots) {
    temporary t;
    watch w = {.arm_at = 8, .save_at = 8, .two_snapshots = two_snapshots};
    REQUIRE(temporary_begin(&t));
    signal_disk_begin(&disk, 30);
    const saved_run_desc d = {.host = disk.host,
                              .directory = t.path,
                              .every = two_snapshots ? 1 : 1000,
                              .epochs = 1000,
                              .hook = watch_saves,
                              .hook_self = &w,
                              .change = change,
                              .change_self = &w};
    CHECK_OK(saved_run_whole(&cut, &d));
    CHECK(disk.raised && disk.writes == 0 && disk.syncs == 0 && !disk.published);
    CHECK(cut.result.reason == QUERN_STOPPED_SIGNAL && cut.result.signal == SIGINT);
    CHECK_TEXT(cut.checkpoint, "");
    CHECK_HAS(w.reason, "was given up");
    CHECK(w.failed >= 1 && w.failed + w.durable == w.begun);
    CHECK(two_snapshots ? w.durable >= 5 && w.durable < 8 : w.durable == 0);
    CHECK(leftovers(t.path) == 0);
    temporary_end(&t);
}

TEST_CASE(SaveGivenUp, in_the_middle_of_a_run) { cut_in_the_middle(false); }
TEST_CASE(SaveGivenUp, with_another_one_waiting) { cut_in_the_middle(true); }
