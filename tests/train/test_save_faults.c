/* Every file operation of a run that saves and resumes fails in turn, once and from then on, by
 * every cause that a disk or a quota can give, also with short transfers; every allocation too.
 * Whatever happens: a status and a sentence with path and cause, what was durable is found whole,
 * no leak, nothing left over at the next start. When the fault has gone, a create that failed is
 * done again with the same graph, device and data, the same trainer fits on, and the run comes to
 * the state of one without faults.
 *
 * The causes take turns from operation to operation; QUERN_TEST_CAUSES=all tries each at each. */
#include "checkpoint/fixture.h"
#include "quern_test.h"
#include "saved_run.h"
#include "support/fault_host.h"
#include "support/power_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOP_MAX = 2000, CAUSES = 7 };

static const int causes[CAUSES] = {ENOSPC, EIO, EDQUOT, EROFS, EACCES, EMFILE, EINTR};
static const fault_kind kinds[] = {
    FAULT_OPEN,   FAULT_READ,   FAULT_WRITE,          FAULT_SYNC, FAULT_CLOSE,           FAULT_INFO,
    FAULT_RENAME, FAULT_UNLINK, FAULT_MAKE_DIRECTORY, FAULT_LIST, FAULT_REMOVE_DIRECTORY};

static saved_run run, plain;
static fault_host faults;

typedef struct trial {
    power_disk disk;
    saved_run_desc desc;
    fault_kind kind;
    fault fault;
    int64_t promised; /* the newest step that was told to be durable */
    int32_t failures; /* saves that failed, and calls that did */
    bool mended;      /* a second fit trains on beyond the first one's limit */
    char what[96];
} trial;

static void reason_check(trial *t, const char *reason) {
    t->failures++;
    if (t->kind == FAULT_ALLOCATE) {
        CHECK_SAY(reason[0] != 0, "%s: no sentence", t->what);
        return;
    }
    CHECK_SAY(fault_is_named(t->kind, reason), "%s: %s", t->what, reason);
    const bool path = strstr(reason, "/run") || strstr(reason, " /: "); /* or the root above it */
    CHECK_SAY(path && strstr(reason, strerror(t->fault.error)), "%s: %s", t->what, reason);
    CHECK_SAY(t->fault.error != EINTR || t->fault.for_ever, "%s: one interruption is no failure",
              t->what);
}

/* Never an older one than was durable, whatever fails while it is read. */
static void resumed_check(const trial *t, const char *checkpoint) {
    const int64_t step = (int64_t)atoll(strstr(checkpoint, "step-") + strlen("step-"));
    CHECK_SAY(step >= t->promised, "%s: resumed from %d, %d was promised", t->what, (int)step,
              (int)t->promised);
}

static quern_action listen(void *self, const quern_event *e) {
    trial *t = self;
    if (e->kind == QUERN_EVENT_load_begin) resumed_check(t, e->checkpoint);
    if (e->kind != QUERN_EVENT_save_durable) return QUERN_CONTINUE;
    if (e->status != QUERN_OK) reason_check(t, e->reason);
    if (e->status == QUERN_OK)
        t->promised = (int64_t)atoll(strstr(e->checkpoint, "step-") + strlen("step-"));
    return QUERN_CONTINUE;
}

static bool is_expected(const trial *t, quern_status s) {
    if (t->kind == FAULT_ALLOCATE) return s == QUERN_HOST_MEMORY || s == QUERN_DEVICE_MEMORY;
    return s == QUERN_IO || s == QUERN_INPUT;
}

static void failure_check(trial *t, quern_status s) {
    CHECK_SAY(is_expected(t, s), "%s: %s: %s", t->what, quern_status_name(s), quern_error());
    reason_check(t, quern_error());
}

/* One process. What fails is mended, and the same objects go on; only what fails before the create
 * of the trainer ends it. */
static bool live_once(trial *t, bool resume, int64_t epochs) {
    saved_run_desc d = t->desc;
    d.host = faults.host;
    d.resume = resume;
    d.epochs = epochs;
    quern_status s = saved_run_build(&run, &d);
    if (s != QUERN_OK) {
        failure_check(t, s);
        return false;
    }
    s = saved_run_create(&run);
    if (s != QUERN_OK) {
        failure_check(t, s);
        faults.fault[t->kind].at = 0;
        s = saved_run_create(&run);
        CHECK_SAY(s == QUERN_OK, "%s, created again: %s", t->what, quern_error());
    }
    if (s == QUERN_OK) s = saved_run_fit(&run);
    if (s != QUERN_OK && run.trainer) {
        failure_check(t, s);
        t->mended = true;
        faults.fault[t->kind].at = 0;
        const quern_status mended = saved_run_fit(&run);
        CHECK_SAY(mended == QUERN_OK && run.checkpoint[0], "%s, mended: %s", t->what,
                  quern_error());
    }
    saved_run_close(&run);
    return s == QUERN_OK;
}

static void trial_begin(trial *t) {
    power_disk_begin(&t->disk);
    const quern_host disk = power_disk_host(&t->disk);
    fault_host_begin(&faults, &disk);
    t->desc.directory = FIXTURE_DIRECTORY;
    t->desc.hook = listen;
    t->desc.hook_self = t;
    t->promised = 0;
    t->mended = false;
}

/* The disk works again: nothing is lost or left over, and what becomes of it is the plain run. */
static void check_after(trial *t) {
    const quern_host disk = power_disk_host(&t->disk);
    quern_checkpoint *found = NULL;
    CHECK_OK(checkpoint_latest(&found, &disk, FIXTURE_DIRECTORY, NULL, NULL));
    const int64_t step = found ? quern_checkpoint_info_get(found).step : 0;
    CHECK_SAY(step >= t->promised, "%s: %d was promised, %d found", t->what, (int)t->promised,
              (int)step);
    quern_checkpoint_destroy(found);
    saved_run_desc d = t->desc;
    d.host = disk;
    d.resume = true;
    d.epochs = 2;
    t->fault.error = EINTR; /* nothing may fail now */
    t->fault.for_ever = false;
    CHECK_SAY(saved_run_open(&run, &d) == QUERN_OK, "%s, then: %s", t->what, quern_error());
    if (!run.trainer) return;
    CHECK_SAY(fixture_leftovers(&disk, FIXTURE_DIRECTORY) == 0, "%s: leftovers", t->what);
    CHECK_SAY(fixture_damaged(&disk, FIXTURE_DIRECTORY) == 0, "%s: damage", t->what);
    CHECK_OK(saved_run_fit(&run));
    saved_run_close(&run);
    CHECK_SAY(t->mended || strcmp(run.digest, plain.digest) == 0, "%s: another end", t->what);
}

/* Whether the failure must have been told. What fails while old checkpoints are removed is only
 * logged, and one interruption is no failure. */
static bool is_told(const trial *t) {
    if (t->fault.error == EINTR && !t->fault.for_ever) return false;
    return t->kind == FAULT_WRITE || (t->kind == FAULT_SYNC && t->fault.for_ever);
}

/* False when there is no n-th operation. */
static bool fail_at(trial *t, int64_t n, int cause) {
    snprintf(t->what, sizeof t->what, "kind %d, operation %d%s, %s", (int)t->kind, (int)n,
             t->fault.for_ever ? " and all behind it" : "", strerror(cause));
    trial_begin(t);
    const bool for_ever = t->fault.for_ever;
    t->fault.at = n;
    t->fault.error = cause;
    faults.fault[t->kind] = t->fault;
    const bool told = is_told(t);
    const int32_t failures = t->failures;
    if (n % 2 == 0) faults.read_at_most = faults.write_at_most = 777;
    if (live_once(t, false, 1)) (void)live_once(t, true, 2);
    CHECK_SAY(fault_host_live(&faults) == 0, "%s: %d alive", t->what,
              (int)fault_host_live(&faults));
    const bool fired = fault_host_fired(&faults, t->kind);
    CHECK_SAY(!fired || !told || t->failures > failures, "%s: not told", t->what);
    check_after(t);
    power_disk_end(&t->disk);
    t->fault.for_ever = for_ever;
    return fired;
}

static void plain_run(const saved_run_desc *desc) {
    static trial t;
    t = (trial){.desc = *desc};
    trial_begin(&t);
    saved_run_desc d = t.desc;
    d.host = faults.host;
    d.epochs = 2;
    REQUIRE_OK(saved_run_whole(&plain, &d));
    power_disk_end(&t.disk);
}

static void fail_everywhere(trial *t, bool for_ever) {
    const bool all = t->kind != FAULT_ALLOCATE && getenv("QUERN_TEST_CAUSES") != NULL;
    int64_t n = 1;
    t->fault = (fault){.for_ever = for_ever};
    for (bool fired = true; fired && n < LOOP_MAX && !quern_test_failed(); n++)
        for (int c = 0; c < (all ? CAUSES : 1); c++)
            fired = fail_at(t, n, causes[(n + c) % CAUSES]);
    CHECK(n > 2 && n < LOOP_MAX);
}

static void every_file_operation(bool for_ever) {
    static trial t;
    t = (trial){.desc = {.every = 2, .accumulate = 2, .tail = QUERN_TAIL_CARRY}};
    plain_run(&t.desc);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        t.kind = kinds[i];
        fail_everywhere(&t, for_ever);
    }
    CHECK(t.failures > 40);
}

TEST_CASE(SaveFaults, every_file_operation_may_fail_once) { every_file_operation(false); }

TEST_CASE(SaveFaults, every_file_operation_may_fail_for_ever) { every_file_operation(true); }

static void more_sets(void *self, quern_trainer_desc *desc) {
    quern_evaluation_set *set = self;
    *set = (quern_evaluation_set){.name = "more", .dataset = desc->valid};
    desc->evaluation_sets = set;
    desc->evaluation_set_count = 1;
}

/* Create, save, resume, destroy, with all that a run may hold. */
TEST_CASE(SaveFaults, every_allocation_may_fail_with_each_tail) {
    static const quern_tail tails[] = {QUERN_TAIL_FLUSH, QUERN_TAIL_CARRY, QUERN_TAIL_DROP};
    static trial t;
    quern_evaluation_set set;
    for (int i = 0; i < 3; i++)
        for (int for_ever = 0; for_ever <= (tails[i] == QUERN_TAIL_CARRY); for_ever++) {
            t = (trial){.kind = FAULT_ALLOCATE,
                        .desc = {.every = 2,
                                 .accumulate = 2,
                                 .tail = tails[i],
                                 .patience = 5,
                                 .change = more_sets,
                                 .change_self = &set}};
            plain_run(&t.desc);
            fail_everywhere(&t, for_ever != 0);
            CHECK_SAY(t.failures > 100, "%d", (int)t.failures);
        }
}

static void roll_back(void *self, quern_trainer_desc *desc) {
    (void)self;
    desc->not_finite = QUERN_NOT_FINITE_ROLLBACK;
}

/* Reading a checkpoint inside a fit allocates. */
TEST_CASE(SaveFaults, every_allocation_of_a_rollback_may_fail) {
    static trial t;
    t = (trial){.desc = {.every = 1, .accumulate = 2, .poisoned = 1, .change = roll_back}};
    plain_run(&t.desc);
    t.kind = FAULT_ALLOCATE;
    fail_everywhere(&t, false);
}

/* One save of several fails: told, and the run goes on. */
TEST_CASE(SaveFaults, a_save_that_fails_is_told_and_the_run_goes_on) {
    static trial t;
    t = (trial){.desc = {.every = 4}, .kind = FAULT_RENAME, .fault = {.at = 2, .error = ENOSPC}};
    trial_begin(&t);
    faults.fault[FAULT_RENAME] = t.fault;
    saved_run_desc d = t.desc;
    d.host = faults.host;
    REQUIRE_OK(saved_run_whole(&run, &d));
    CHECK(t.failures == 1 && t.promised == run.result.step);
    CHECK(run.checkpoint[0] != 0);
    power_disk_end(&t.disk);
}
