/* Every file operation of a save fails in turn, once and from then on, with each cause that a disk
 * or a quota can give; every allocation too. Whatever happens: a status and a sentence with path
 * and cause, the last promised checkpoint found whole, nothing left over for the next writer. */
#include "fixture.h"
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/power_disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LOOP_MAX = 400 };

static const int causes[] = {ENOSPC, EIO, EDQUOT, EROFS, EACCES, EMFILE, EINTR};
static const fault_kind kinds[] = {
    FAULT_OPEN,   FAULT_READ,   FAULT_WRITE,          FAULT_SYNC, FAULT_CLOSE,           FAULT_INFO,
    FAULT_RENAME, FAULT_UNLINK, FAULT_MAKE_DIRECTORY, FAULT_LIST, FAULT_REMOVE_DIRECTORY};

static bool prepare(power_disk *disk) {
    power_disk_begin(disk);
    const quern_host host = power_disk_host(disk);
    checkpoint_store *store = NULL;
    const bool good = fixture_store(&store, &host, FIXTURE_DIRECTORY) == QUERN_OK &&
                      fixture_save(store, 10, 1) == QUERN_OK &&
                      fixture_save(store, 20, 2) == QUERN_OK;
    checkpoint_store_destroy(store);
    return good;
}

/* Another save and its repetition; *promised moves on with each that succeeds. */
static quern_status save_more(const quern_host *host, int64_t *promised) {
    checkpoint_store *store = NULL;
    quern_status status = fixture_store(&store, host, FIXTURE_DIRECTORY);
    for (int64_t serial = 3; serial <= 4 && status == QUERN_OK; serial++) {
        status = fixture_save(store, 30, serial);
        if (status == QUERN_OK) *promised = serial;
    }
    checkpoint_store_destroy(store);
    return status;
}

static void judge_after(power_disk *disk, int64_t promised, const char *what, int64_t n) {
    const quern_host host = power_disk_host(disk);
    checkpoint_store *store = NULL;
    const int64_t before = fixture_latest(&host, FIXTURE_DIRECTORY, NULL);
    REQUIRE_SAY(before >= promised, "%s %lld: found %lld, promised %lld", what, (long long)n,
                (long long)before, (long long)promised);
    REQUIRE_OK(fixture_store(&store, &host, FIXTURE_DIRECTORY));
    checkpoint_store_destroy(store);
    const int64_t after = fixture_latest(&host, FIXTURE_DIRECTORY, NULL);
    REQUIRE_SAY(after >= promised, "%s %lld: recovery lost one", what, (long long)n);
    CHECK_SAY(fixture_leftovers(&host, FIXTURE_DIRECTORY) == 0, "%s %lld: leftovers", what,
              (long long)n);
    CHECK_SAY(fixture_damaged(&host, FIXTURE_DIRECTORY) == 0, "%s %lld: damage", what,
              (long long)n);
}

static void fail_each(fault_kind kind, int cause, bool for_ever) {
    static fault_host faults;
    power_disk disk = {0};
    int64_t n = 1;
    char what[64];
    snprintf(what, sizeof what, "kind %d, %s, operation", (int)kind, strerror(cause));
    for (; n < LOOP_MAX && !quern_test_failed(); n++) {
        REQUIRE(prepare(&disk));
        const quern_host inner = power_disk_host(&disk);
        int64_t promised = 2;
        fault_host_begin(&faults, &inner);
        faults.fault[kind] = (fault){.at = n, .error = cause, .for_ever = for_ever};
        const quern_status status = save_more(&faults.host, &promised);
        REQUIRE(fault_host_live(&faults) == 0);
        if (status != QUERN_OK) {
            CHECK(status == QUERN_IO || status == QUERN_INPUT);
            CHECK_SAY(fault_is_named(kind, quern_error()), "%s: %s", what, quern_error());
            CHECK_ERROR_HAS("/run");
            CHECK_ERROR_HAS(strerror(cause));
            CHECK_SAY(cause != EINTR || for_ever, "%s %lld: one interruption is no failure", what,
                      (long long)n);
        }
        judge_after(&disk, promised, what, n);
        if (!fault_host_fired(&faults, kind)) break;
    }
    CHECK(n > 1 && n < LOOP_MAX);
    power_disk_end(&disk);
}

TEST_CASE(CheckpointFaults, every_file_operation_may_fail_once) {
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t c = 0; c < sizeof causes / sizeof *causes; c++)
            fail_each(kinds[k], causes[c], false);
}

TEST_CASE(CheckpointFaults, every_file_operation_may_fail_for_ever) {
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t c = 0; c < sizeof causes / sizeof *causes; c++)
            fail_each(kinds[k], causes[c], true);
}

TEST_CASE(CheckpointFaults, a_store_that_failed_once_saves_the_next_time) {
    static fault_host faults;
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    fault_host_begin(&faults, &inner);
    REQUIRE_OK(fixture_store(&store, &faults.host, FIXTURE_DIRECTORY));
    faults.fault[FAULT_WRITE] = (fault){.at = 3, .error = ENOSPC};
    CHECK_STATUS(fixture_save(store, 30, 3), QUERN_IO);
    CHECK_ERROR_HAS("step-30.partial/model.safetensors: No space left on device");
    CHECK(fixture_leftovers(&inner, FIXTURE_DIRECTORY) == 0);
    CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 2);
    CHECK_OK(fixture_save(store, 30, 4));
    CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 4);
    checkpoint_store_destroy(store);
    CHECK(fault_host_live(&faults) == 0);
    power_disk_end(&disk);
}

/* A resume would take it: it is tried again behind each save until it is gone. */
TEST_CASE(CheckpointFaults, one_that_was_given_up_and_could_not_go_goes_behind_the_next_save) {
    static fault_host faults;
    for (int64_t n = 2; n <= 3; n++) { /* the one of step 10, of step 20 */
        power_disk disk = {0};
        checkpoint_store *store = NULL;
        REQUIRE(prepare(&disk));
        const quern_host inner = power_disk_host(&disk);
        fault_host_begin(&faults, &inner);
        REQUIRE_OK(fixture_store(&store, &faults.host, FIXTURE_DIRECTORY));
        faults.fault[FAULT_RENAME] = (fault){.at = n, .error = EACCES};
        CHECK_OK(fixture_save(store, 4, 3));
        CHECK(fault_host_fired(&faults, FAULT_RENAME));
        CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == n - 1);
        CHECK_OK(fixture_save(store, 8, 4));
        CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 4);
        checkpoint_store_destroy(store);
        CHECK(fault_host_live(&faults) == 0);
        power_disk_end(&disk);
    }
}

/* The two files, the manifest, and both directories. */
TEST_CASE(CheckpointFaults, a_failed_close_is_a_failed_save) {
    static fault_host faults;
    for (int64_t n = 1; n <= 5; n++) {
        power_disk disk = {0};
        checkpoint_store *store = NULL;
        REQUIRE(prepare(&disk));
        const quern_host inner = power_disk_host(&disk);
        fault_host_begin(&faults, &inner);
        REQUIRE_OK(fixture_store(&store, &faults.host, FIXTURE_DIRECTORY));
        faults.fault[FAULT_CLOSE] =
            (fault){.at = (int64_t)faults.count[FAULT_CLOSE] + n, .error = EIO};
        CHECK_STATUS(fixture_save(store, 30, 3), QUERN_IO);
        CHECK_ERROR_HAS("closing " FIXTURE_DIRECTORY);
        checkpoint_store_destroy(store);
        power_disk_end(&disk);
    }
}

TEST_CASE(CheckpointFaults, an_older_one_of_the_step_gets_its_name_back) {
    static fault_host faults;
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    fault_host_begin(&faults, &inner);
    REQUIRE_OK(fixture_store(&store, &faults.host, FIXTURE_DIRECTORY));
    faults.fault[FAULT_RENAME] = (fault){.at = 2, .error = EIO}; /* the first is: aside */
    CHECK_STATUS(fixture_save(store, 20, 3), QUERN_IO);
    CHECK_ERROR_HAS("renaming to step-20 " FIXTURE_DIRECTORY "/step-20.partial: Input/output");
    CHECK(fixture_leftovers(&inner, FIXTURE_DIRECTORY) == 0);
    CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 2);
    CHECK_OK(fixture_save(store, 20, 4));
    CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 4);
    checkpoint_store_destroy(store);
    power_disk_end(&disk);
}

TEST_CASE(CheckpointFaults, short_transfers_change_nothing) {
    static fault_host faults;
    power_disk disk = {0};
    int64_t promised = 0;
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    fault_host_begin(&faults, &inner);
    faults.write_at_most = 3;
    faults.read_at_most = 7;
    CHECK_OK(save_more(&faults.host, &promised));
    CHECK(fixture_latest(&faults.host, FIXTURE_DIRECTORY, NULL) == 4);
    CHECK(fault_host_live(&faults) == 0);
    power_disk_end(&disk);
}

static quern_status save_and_read(const quern_host *host) {
    int64_t promised = 0;
    quern_checkpoint *checkpoint = NULL;
    char digest_text[33];
    quern_status status = save_more(host, &promised);
    if (status == QUERN_OK)
        status = checkpoint_latest(&checkpoint, host, FIXTURE_DIRECTORY, NULL, NULL);
    if (status == QUERN_OK) status = quern_checkpoint_digest(checkpoint, digest_text);
    quern_checkpoint_destroy(checkpoint);
    return status;
}

TEST_CASE(CheckpointFaults, every_allocation_may_fail) {
    static fault_host faults;
    for (int for_ever = 0; for_ever <= 1; for_ever++) {
        int64_t n = 1;
        for (; n < LOOP_MAX; n++) {
            power_disk disk = {0};
            REQUIRE(prepare(&disk));
            const quern_host inner = power_disk_host(&disk);
            fault_host_begin(&faults, &inner);
            faults.fault[FAULT_ALLOCATE] = (fault){.at = n, .for_ever = for_ever != 0};
            const quern_status status = save_and_read(&faults.host);
            REQUIRE(fault_host_live(&faults) == 0);
            const bool fired = fault_host_fired(&faults, FAULT_ALLOCATE);
            CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
            CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) >= 2);
            power_disk_end(&disk);
            if (!fired) break;
        }
        CHECK(n > 10 && n < LOOP_MAX);
    }
}

TEST_CASE(CheckpointFaults, writing_allocates_nothing) {
    static fault_host faults;
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    fault_host_begin(&faults, &inner);
    REQUIRE_OK(fixture_store(&store, &faults.host, FIXTURE_DIRECTORY));
    const int64_t before = faults.count[FAULT_ALLOCATE];
    for (int64_t i = 3; i < 40; i++) REQUIRE_OK(fixture_save(store, 10 * (i / 2), i));
    CHECK(faults.count[FAULT_ALLOCATE] == before);
    checkpoint_store_destroy(store);
    power_disk_end(&disk);
}
