/* Power cuts: over the operations of a sequence of saves, every position of the log in many
 * combinations of what had and had not reached the disk. A reader must always find a whole
 * checkpoint, never older than the last one that was promised, and nothing damaged; the next writer
 * must find the same and leave nothing behind. QUERN_TEST_STATES: how many states; 20,000 unless
 * set. */
#include "fixture.h"
#include "quern_test.h"
#include "support/power_disk.h"

#include <stdlib.h>

enum { SAVES = 8, STATES = 20000 };

/* With a step that is written again, twice, and old ones retired from the third on. */
static bool save_all(power_disk *disk, const quern_host *host) {
    static const int64_t steps[SAVES] = {10, 20, 30, 30, 40, 50, 50, 50};
    checkpoint_store *store = NULL;
    fixture f;
    if (fixture_store(&store, host, FIXTURE_DIRECTORY) != QUERN_OK) return false;
    bool good = true;
    for (int64_t i = 0; i < SAVES && good; i++) {
        good = checkpoint_store_write(store, fixture_content(&f, steps[i], i + 1)) == QUERN_OK;
        power_disk_mark(disk, i + 1);
        checkpoint_store_retire(store);
    }
    checkpoint_store_destroy(store);
    return good;
}

/* NULL when the disk keeps every promise up to serial `marked`, else what is wrong. */
static const char *judge_reader(const quern_host *host, int64_t marked) {
    const int64_t serial = fixture_latest(host, FIXTURE_DIRECTORY, NULL);
    if (serial == -2) return "no checkpoint can be read";
    if (serial == -1) return "a checkpoint is made of two";
    return serial < marked ? "the latest is older than what was promised" : NULL;
}

static const char *judge(power_disk *cut, int64_t marked) {
    const quern_host host = power_disk_host(cut);
    const char *wrong = judge_reader(&host, marked);
    if (wrong == NULL && fixture_damaged(&host, FIXTURE_DIRECTORY) != 0)
        wrong = "a damaged one has the name of a whole one";
    if (wrong != NULL) return wrong;
    checkpoint_store *store = NULL;
    if (fixture_store(&store, &host, FIXTURE_DIRECTORY) != QUERN_OK)
        return "the next writer cannot begin";
    checkpoint_store_destroy(store);
    wrong = judge_reader(&host, marked);
    if (wrong == NULL && fixture_leftovers(&host, FIXTURE_DIRECTORY) != 0)
        wrong = "something is left over";
    if (wrong == NULL && power_disk_open_files(cut) != 0) wrong = "a file is left open";
    return wrong;
}

/* The writer of a disk that was cut is itself cut: while it recovers, or saves once more. */
static const char *judge_again(power_disk *cut, int64_t marked, uint64_t seed) {
    power_disk again = {0};
    const quern_host host = power_disk_host(cut);
    const int64_t base = cut->log_count;
    checkpoint_store *store = NULL;
    if (fixture_store(&store, &host, FIXTURE_DIRECTORY) != QUERN_OK)
        return "the next writer cannot begin";
    const bool saved = fixture_save(store, 50, SAVES + 1) == QUERN_OK;
    checkpoint_store_destroy(store);
    const int64_t position = base + (int64_t)(seed * 7919 % (uint64_t)(cut->log_count - base + 1));
    power_disk_cut(cut, position, seed, &again);
    const char *wrong = saved ? judge(&again, marked) : "the next writer cannot save";
    power_disk_end(&again);
    return wrong;
}

typedef struct verdict {
    const char *wrong; /* NULL: all is well */
    int64_t position, states;
    uint64_t seed;
} verdict;

/* All positions from `first` on, `seeds` combinations each; stops at the first that is wrong. */
static verdict judge_all(const power_disk *disk, int64_t first, uint64_t seeds) {
    verdict v = {0};
    power_disk cut = {0};
    for (uint64_t seed = 0; seed < seeds && v.wrong == NULL; seed++) {
        for (int64_t p = first; p <= disk->log_count && v.wrong == NULL; p++) {
            const int64_t marked = power_disk_marked(disk, p);
            power_disk_cut(disk, p, seed, &cut);
            v.wrong = seed % 4 == 3 || seed == 1 ? judge_again(&cut, marked, seed + (uint64_t)p)
                                                 : judge(&cut, marked);
            v.position = p;
            v.seed = seed;
            v.states++;
        }
    }
    power_disk_end(&cut);
    return v;
}

TEST_CASE(CheckpointPower, every_cut_leaves_what_was_promised) {
    const char *wanted_text = getenv("QUERN_TEST_STATES");
    const int64_t wanted = wanted_text != NULL ? strtoll(wanted_text, NULL, 10) : STATES;
    power_disk disk = {0};
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    REQUIRE(save_all(&disk, &host));
    CHECK(disk.log_count > 100);
    const uint64_t seeds = (uint64_t)(wanted / (disk.log_count + 1) + 1);
    const verdict v = judge_all(&disk, 0, seeds);
    CHECK_SAY(v.wrong == NULL, "cut after operation %lld, combination %llu: %s",
              (long long)v.position, (unsigned long long)v.seed, v.wrong);
    CHECK(v.states >= wanted);
    power_disk_end(&disk);
}

/* The writer is killed, the next one recovers and saves once more, and then the power goes: what
 * the first one did and did not sync is still open. */
static const char *judge_killed(const power_disk *disk, int64_t killed, uint64_t seeds) {
    power_disk left = {0}, cut = {0};
    checkpoint_store *store = NULL;
    const char *wrong = NULL;
    power_disk_kill(disk, killed, &left);
    const quern_host host = power_disk_host(&left);
    if (fixture_store(&store, &host, FIXTURE_DIRECTORY) != QUERN_OK)
        wrong = "the next writer cannot begin";
    if (wrong == NULL && fixture_save(store, 50, SAVES + 1) != QUERN_OK)
        wrong = "the next writer cannot save";
    checkpoint_store_destroy(store);
    const int64_t marked = power_disk_marked(disk, killed);
    for (int64_t p = killed; p <= left.log_count && wrong == NULL; p++) {
        for (uint64_t seed = 0; seed < seeds && wrong == NULL; seed++) {
            power_disk_cut(&left, p, seed == 0 ? 0 : seed + (uint64_t)(31 * killed + p), &cut);
            wrong = judge(&cut, marked);
        }
    }
    power_disk_end(&cut);
    power_disk_end(&left);
    return wrong;
}

TEST_CASE(CheckpointPower, a_killed_writer_and_then_a_cut_lose_nothing) {
    power_disk disk = {0};
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    REQUIRE(save_all(&disk, &host));
    for (int64_t p = 0; p <= disk.log_count; p++) {
        const char *wrong = judge_killed(&disk, p, 2);
        REQUIRE_SAY(wrong == NULL, "killed after operation %lld: %s", (long long)p, wrong);
    }
    power_disk_end(&disk);
}

/* The proof that the tests above can fail, and that no sync of the protocol is there in vain. */
TEST_CASE(CheckpointPower, leaving_out_any_one_sync_loses_something) {
    int64_t syncs = 1;
    for (int64_t n = 1; n <= syncs; n++) {
        power_disk disk = {0};
        power_disk_begin(&disk);
        disk.ignore_sync = n;
        const quern_host host = power_disk_host(&disk);
        REQUIRE(save_all(&disk, &host));
        syncs = disk.sync_count;
        const verdict v = judge_all(&disk, 0, 40);
        CHECK_SAY(v.wrong != NULL, "sync %lld of %lld is not missed", (long long)n,
                  (long long)syncs);
        power_disk_end(&disk);
    }
    CHECK(syncs >= 5 * SAVES);
}
