/* test_golden.c - a run's checkpoint of every format version, as it was written then: it is
 * resumed, its state is what was saved, and the run goes on as it would have. */
#include "quern_test.h"
#include "saved_run.h"
#include "temporary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Saved behind the first epoch, with a batch that waits; in the middle of the second. */
static const struct {
    int64_t step, every;
    const char *digests[QUERN_CHECKPOINT_VERSION];
} goldens[] = {
    {3, 0, {"3c67577fbc3f374838d74bdc140e3f60"}},
    {5, 1, {"09207ba737d82cb3320671abfcd8e56e"}},
};
enum { GOLDEN_COUNT = sizeof goldens / sizeof *goldens };

/* The run's last loss here and where the golden file was written: 7 updates of another machine's
 * products. */
#define TOL_OTHER_MACHINE 1e-3

static saved_run whole, resumed;

static saved_run_desc golden_desc(int i, const char *directory) {
    return (saved_run_desc){.directory = directory,
                            .every = goldens[i].every,
                            .accumulate = 2,
                            .tail = QUERN_TAIL_CARRY,
                            .epochs = 3,
                            .patience = 3};
}

/* To make them anew after a new format version: QUERN_TEST_GOLDEN_RUN=tests/train/golden/vN */
static void golden_make(int i, const char *from) {
    const char *to = getenv("QUERN_TEST_GOLDEN_RUN");
    if (to) CHECK(saved_copy(from, to, goldens[i].step));
}

static void digest_at(const char *directory, int64_t step, char to[33]) {
    quern_device *device = NULL;
    quern_checkpoint *checkpoint = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/step-%d", directory, (int)step);
    REQUIRE_OK(quern_device_create(&device, &(quern_device_desc){.kind = QUERN_DEVICE_CPU}));
    CHECK_OK(quern_checkpoint_open(&checkpoint, device, path));
    if (checkpoint) CHECK_OK(quern_checkpoint_digest(checkpoint, to));
    quern_checkpoint_destroy(checkpoint);
    quern_device_destroy(device);
}

/* Where this machine's products have the same bits, event by event; elsewhere nearly. */
static void check_goes_on(int64_t step, bool same_bits) {
    CHECK(resumed.result.step == whole.result.step && resumed.result.epochs == 3);
    CHECK(resumed.result.attempts == whole.result.attempts);
    CHECK(resumed.result.samples == whole.result.samples);
    CHECK_NEAR(resumed.result.valid_loss, whole.result.valid_loss, TOL_OTHER_MACHINE);
    if (!same_bits) return;
    const char *difference = saved_run_difference(&whole, &resumed, step, true);
    CHECK_SAY(!difference, "%s", difference);
}

static void check_golden(int i, int version, const char *local) {
    const char *expected = goldens[i].digests[version - 1];
    temporary t;
    char path[512], found[33] = "";
    REQUIRE(temporary_begin(&t));
    snprintf(path, sizeof path, QUERN_SOURCE_DIR "/tests/train/golden/v%d", version);
    digest_at(path, goldens[i].step, found);
    CHECK_TEXT(found, expected);
    REQUIRE(saved_copy(path, t.path, goldens[i].step));
    saved_run_desc d = golden_desc(i, t.path);
    d.resume = true;
    REQUIRE_OK(saved_run_open(&resumed, &d));
    CHECK_OK(quern_trainer_digest(resumed.trainer, found));
    CHECK_TEXT(found, expected);
    CHECK(!strstr(resumed.log, "no longer bit-identical"));
    CHECK_OK(saved_run_fit(&resumed));
    saved_run_close(&resumed);
    check_goes_on(goldens[i].step, strcmp(local, expected) == 0);
    temporary_end(&t);
}

TEST_CASE(Golden, the_run_of_each_format_version_goes_on) {
    for (int i = 0; i < GOLDEN_COUNT; i++) {
        temporary t;
        char local[33] = "";
        REQUIRE(temporary_begin(&t));
        const saved_run_desc d = golden_desc(i, t.path);
        REQUIRE_OK(saved_run_whole(&whole, &d));
        golden_make(i, t.path);
        digest_at(t.path, goldens[i].step, local);
        for (int version = 1; version <= QUERN_CHECKPOINT_VERSION; version++)
            check_golden(i, version, local);
        temporary_end(&t);
    }
}
