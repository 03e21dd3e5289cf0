/* Allocations and file operations that fail while a run saves and resumes: always a status and a
 * sentence, no leak, and what was durable before stays. */
#include "quern_test.h"
#include "saved_run.h"
#include "support/fault_host.h"
#include "temporary.h"

#include <stdio.h>
#include <string.h>

static saved_run run;
static fault_host faults;

static int64_t no_sync(void *self, int64_t file) {
    (void)self;
    (void)file;
    return 0;
}

/* Counted and failed above, and quick below. */
static void faults_begin(void) {
    quern_host inner = quern_host_default();
    inner.files.sync = no_sync;
    fault_host_begin(&faults, &inner);
}

/* Create, two epochs with a save every three updates, resume, two more. */
static quern_status save_and_resume(temporary *t) {
    saved_run_desc d = {.host = faults.host, .directory = t->path, .every = 3, .epochs = 1};
    const quern_status s = saved_run_whole(&run, &d);
    if (s != QUERN_OK) return s;
    d.resume = true;
    d.epochs = 2;
    return saved_run_whole(&run, &d);
}

/* The disk works again: whatever is there, a run comes of it. */
static void check_usable(temporary *t, int64_t n) {
    const saved_run_desc d = {.directory = t->path, .every = 3, .epochs = 2, .resume = true};
    CHECK_SAY(saved_run_whole(&run, &d) == QUERN_OK, "after fault %d: %s", (int)n, quern_error());
    CHECK(run.result.step == 12 && run.checkpoint[0]);
}

static int64_t fail_everywhere(fault_kind kind, bool for_ever, int64_t stride,
                               quern_status expected) {
    int64_t n = 1, failures = 0;
    for (;; n += stride) {
        temporary t = {{0}, {0}};
        if (!temporary_begin(&t)) return -1;
        faults_begin();
        faults.fault[kind] = (fault){.at = n, .for_ever = for_ever};
        const quern_status s = save_and_resume(&t);
        CHECK_SAY(fault_host_live(&faults) == 0, "%d alive after fault %d",
                  (int)fault_host_live(&faults), (int)n);
        const bool fired = fault_host_fired(&faults, kind);
        if (s != QUERN_OK) {
            failures++;
            CHECK_SAY(s == expected || s == QUERN_INPUT, "fault %d: %s: %s", (int)n,
                      quern_status_name(s), quern_error());
            CHECK(quern_error()[0] != 0);
        }
        if (kind != FAULT_ALLOCATE) check_usable(&t, n);
        temporary_end(&t);
        if (!fired) break;
    }
    return failures;
}

TEST_CASE(SaveFaults, every_allocation) {
    const int64_t failures = fail_everywhere(FAULT_ALLOCATE, false, 1, QUERN_HOST_MEMORY);
    CHECK_SAY(failures > 50, "%d", (int)failures);
}

TEST_CASE(SaveFaults, writes_and_syncs) {
    CHECK(fail_everywhere(FAULT_WRITE, true, 5, QUERN_IO) > 3);
    CHECK(fail_everywhere(FAULT_SYNC, true, 5, QUERN_IO) > 3);
    CHECK(fail_everywhere(FAULT_WRITE, false, 3, QUERN_IO) >= 0);
    CHECK(fail_everywhere(FAULT_SYNC, false, 5, QUERN_IO) >= 0);
}

TEST_CASE(SaveFaults, opens_closes_and_renames) {
    static const fault_kind kinds[] = {FAULT_OPEN,           FAULT_CLOSE, FAULT_RENAME,
                                       FAULT_MAKE_DIRECTORY, FAULT_LIST,  FAULT_READ};
    for (int i = 0; i < 6; i++) {
        CHECK(fail_everywhere(kinds[i], false, 3, QUERN_IO) >= 0);
        CHECK(fail_everywhere(kinds[i], true, 3, QUERN_IO) > 0);
    }
}

typedef struct told {
    int durable, failed;
    char reason[256];
} told;

static quern_action listen(void *self, const quern_event *e) {
    told *t = self;
    if (e->kind != QUERN_EVENT_save_durable) return QUERN_CONTINUE;
    t->durable += e->status == QUERN_OK;
    if (e->status == QUERN_OK) return QUERN_CONTINUE;
    t->failed++;
    snprintf(t->reason, sizeof t->reason, "%s", e->reason);
    return QUERN_CONTINUE;
}

/* One save of several fails: told, and the run goes on. */
TEST_CASE(SaveFaults, a_save_that_fails_is_told_and_the_run_goes_on) {
    temporary t = {{0}, {0}};
    told heard = {0};
    REQUIRE(temporary_begin(&t));
    faults_begin();
    faults.fault[FAULT_RENAME] = (fault){.at = 2, .error = 28}; /* ENOSPC */
    REQUIRE_OK(saved_run_whole(&run, &(saved_run_desc){.host = faults.host,
                                                       .directory = t.path,
                                                       .every = 4,
                                                       .hook = listen,
                                                       .hook_self = &heard}));
    CHECK(heard.failed == 1 && heard.durable == 4);
    CHECK_HAS(heard.reason, "No space left on device");
    CHECK(run.checkpoint[0] != 0);
    temporary_end(&t);
}
