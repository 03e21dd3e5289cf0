/* A newest checkpoint that cannot be read is not a damaged one: whatever fails while it is read,
 * also inside jansson, it is taken or an error is returned, and never an older one in its place. */
#include "fixture.h"
#include "quern_test.h"
#include "support/fault_host.h"
#include "support/power_disk.h"

#include "host/device/device.h"
#include "host/train/safetensors/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOP_MAX = 2000 };

static fault_host faults;

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

typedef struct reading {
    fault_kind kind;
    const char *operation;
} reading;

/* Where closing fails nothing is lost: it is only read. */
static const reading readings[] = {{FAULT_OPEN, "opening"},
                                   {FAULT_READ, "reading at offset"},
                                   {FAULT_INFO, "reading"},
                                   {FAULT_LIST, "listing"},
                                   {FAULT_CLOSE, NULL}};
static const int causes[] = {EMFILE, ENFILE, ENOMEM, EIO, EACCES, EPERM, ESTALE, EINTR};

static void count_unreadable(void *context, const quern_checkpoint_entry *entry) {
    int *count = context;
    count[entry->unreadable] += entry->status != QUERN_OK;
}

static void latest_with(const reading *r, int cause, bool for_ever, int64_t n) {
    quern_checkpoint *checkpoint = NULL;
    faults.fault[r->kind] = (fault){.at = n, .error = cause, .for_ever = for_ever};
    const quern_status status =
        checkpoint_latest(&checkpoint, &faults.host, FIXTURE_DIRECTORY, NULL, NULL);
    const bool failed =
        fault_host_fired(&faults, r->kind) && r->operation != NULL && (cause != EINTR || for_ever);
    CHECK_SAY(status == (failed ? QUERN_INPUT : QUERN_OK), "%s number %d: %s", strerror(cause),
              (int)n, quern_error());
    if (failed) {
        CHECK_ERROR_HAS(r->operation);
        CHECK_ERROR_HAS(FIXTURE_DIRECTORY);
        CHECK_ERROR_HAS(strerror(cause));
        CHECK(checkpoint == NULL);
    } else {
        CHECK_SAY(checkpoint != NULL && fixture_serial(checkpoint) == 2, "%s number %d: an older",
                  strerror(cause), (int)n);
    }
    quern_checkpoint_destroy(checkpoint);
    CHECK(fault_host_live(&faults) == 0);
}

TEST_CASE(CheckpointUnreadable, what_cannot_be_read_is_not_passed_over) {
    power_disk disk = {0};
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    for (size_t k = 0; k < sizeof readings / sizeof *readings; k++)
        for (size_t c = 0; c < sizeof causes / sizeof *causes; c++)
            for (int for_ever = 0; for_ever <= 1; for_ever++) {
                int64_t n = 1;
                for (; n < LOOP_MAX && !quern_test_failed(); n++) {
                    fault_host_begin(&faults, &inner);
                    latest_with(&readings[k], causes[c], for_ever != 0, n);
                    if (!fault_host_fired(&faults, readings[k].kind)) break;
                }
                CHECK(n > 1 && n < LOOP_MAX);
            }
    power_disk_end(&disk);
}

TEST_CASE(CheckpointUnreadable, a_list_tells_it_from_damage) {
    static const int errors[] = {ENOENT, EACCES};
    power_disk disk = {0};
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    for (int i = 0; i < 2; i++) {
        int count[2] = {0};
        fault_host_begin(&faults, &inner);
        faults.fault[FAULT_OPEN] = (fault){.at = 1, .error = errors[i]};
        quern_device device = {.host = faults.host};
        CHECK_OK(quern_checkpoint_list(&device, FIXTURE_DIRECTORY, count_unreadable, count));
        CHECK(count[i] == 1 && count[1 - i] == 0);
    }
    power_disk_end(&disk);
}

/* What is missing or no file at all is damage. */
TEST_CASE(CheckpointUnreadable, what_is_not_there_is_passed_over) {
    static const int absent[] = {ENOENT, ENOTDIR};
    power_disk disk = {0};
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    for (int i = 0; i < 2; i++) {
        fault_host_begin(&faults, &inner);
        faults.fault[FAULT_INFO] = (fault){.at = 1, .error = absent[i]};
        int32_t damaged = 0;
        CHECK(fixture_latest(&faults.host, FIXTURE_DIRECTORY, &damaged) == 1 && damaged == 1);
    }
    power_disk_end(&disk);
}

TEST_CASE(CheckpointUnreadable, a_directory_that_may_hold_something_whole_gets_no_writer) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    REQUIRE(prepare(&disk));
    const quern_host inner = power_disk_host(&disk);
    REQUIRE(inner.files.make_directory(inner.files.self, FIXTURE_DIRECTORY "/step-20.replaced") ==
            0);
    quern_status status = QUERN_IO; /* of those that only sync a folder */
    for (int64_t n = 1; status == QUERN_IO && n < LOOP_MAX; n++) {
        fault_host_begin(&faults, &inner);
        faults.fault[FAULT_OPEN] = (fault){.at = n, .error = EACCES};
        status = fixture_store(&store, &faults.host, FIXTURE_DIRECTORY);
    }
    CHECK(status == QUERN_INPUT && store == NULL);
    CHECK_ERROR_HAS("opening " FIXTURE_DIRECTORY "/step-20/manifest.json: Permission denied");
    CHECK_OK(fixture_store(&store, &inner, FIXTURE_DIRECTORY));
    checkpoint_store_destroy(store);
    CHECK(fixture_latest(&inner, FIXTURE_DIRECTORY, NULL) == 2);
    power_disk_end(&disk);
}

/* jansson's own allocations: the n-th fails, and all behind it when for_ever. */
static struct {
    int64_t count, at;
    bool for_ever;
} plan;

static void *failing_malloc(size_t bytes) {
    plan.count++;
    if (plan.count == plan.at || (plan.for_ever && plan.count > plan.at)) return NULL;
    return malloc(bytes);
}

static void plan_begin(int64_t at, bool for_ever) {
    plan.count = 0;
    plan.at = at;
    plan.for_ever = for_ever;
    json_set_alloc_funcs(failing_malloc, free);
}

static bool plan_end(void) {
    json_set_alloc_funcs(malloc, free);
    return plan.count >= plan.at;
}

TEST_CASE(CheckpointUnreadable, no_allocation_inside_jansson_passes_for_damage) {
    power_disk disk = {0};
    REQUIRE(prepare(&disk));
    const quern_host host = power_disk_host(&disk);
    for (int for_ever = 0; for_ever <= 1; for_ever++) {
        int64_t n = 1;
        for (; n < LOOP_MAX && !quern_test_failed(); n++) {
            quern_checkpoint *checkpoint = NULL;
            plan_begin(n, for_ever != 0);
            const quern_status status =
                checkpoint_latest(&checkpoint, &host, FIXTURE_DIRECTORY, NULL, NULL);
            const bool fired = plan_end();
            CHECK_SAY(!fired || !for_ever || status == QUERN_HOST_MEMORY, "number %d: %s: %s",
                      (int)n, quern_status_name(status), quern_error());
            CHECK_SAY(status == QUERN_OK || checkpoint == NULL, "number %d", (int)n);
            if (checkpoint != NULL) CHECK(quern_checkpoint_info_get(checkpoint).step == 20);
            quern_checkpoint_destroy(checkpoint);
            if (!fired) break;
        }
        CHECK(n > 50 && n < LOOP_MAX);
    }
    power_disk_end(&disk);
}

TEST_CASE(CheckpointUnreadable, no_allocation_inside_jansson_makes_a_file_or_record_lie) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a_name_of_many_letters\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
        "      ";
    const quern_host host = quern_host_default();
    uint8_t file[8 + sizeof header - 1 + 4] = {(uint8_t)(sizeof header - 1)};
    memcpy(file + 8, header, sizeof header - 1);
    for (int64_t n = 1;; n++) {
        quern_safetensors *parsed = NULL;
        bool exact = false;
        plan_begin(n, true);
        const quern_status status = safetensors_parse(&parsed, &host, "f", file, sizeof file);
        const bool fired = plan_end();
        CHECK_STATUS(status, fired ? QUERN_HOST_MEMORY : QUERN_OK);
        quern_safetensors_destroy(parsed);
        plan_begin(n, true);
        const quern_status compared =
            quern_checkpoint_compare("{\"a\":1}", "{\"a\":2}", &exact, NULL, NULL);
        CHECK_STATUS(compared, plan_end() ? QUERN_HOST_MEMORY : QUERN_OK);
        if (!fired || quern_test_failed()) break;
    }
}
