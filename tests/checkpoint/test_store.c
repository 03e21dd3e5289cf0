/* What a save holds and what stays: contents come back bit by bit, the golden file of every format
 * version is still read, retention, steps that are written again, what a crash leaves. */
#include "fixture.h"
#include "host/device/device.h"
#include "quern_test.h"
#include "support/power_disk.h"
#include "support/temporary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST_CASE(CheckpointStore, a_checkpoint_comes_back_as_it_was) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    quern_checkpoint *checkpoint = NULL;
    power_disk_begin(&disk);
    quern_device device = {.host = power_disk_host(&disk)};
    REQUIRE_OK(quern_checkpoint_latest(&checkpoint, &device, FIXTURE_DIRECTORY, NULL, NULL));
    CHECK(checkpoint == NULL);
    REQUIRE_OK(fixture_store(&store, &device.host, FIXTURE_DIRECTORY));
    REQUIRE_OK(fixture_save(store, 12, 3));
    CHECK_TEXT(checkpoint_store_path(store), FIXTURE_DIRECTORY "/step-12");
    REQUIRE_OK(quern_checkpoint_latest(&checkpoint, &device, FIXTURE_DIRECTORY, NULL, NULL));
    REQUIRE(checkpoint != NULL);
    CHECK(fixture_serial(checkpoint) == 3);
    const quern_checkpoint_info info = quern_checkpoint_info_get(checkpoint);
    CHECK_TEXT(info.path, FIXTURE_DIRECTORY "/step-12");
    CHECK(info.version == QUERN_CHECKPOINT_VERSION && info.step == 12 && info.attempts == 13);
    CHECK(info.seed == UINT64_MAX - 1 && info.samples == 24);
    CHECK_NEAR(info.metric_value, 0.25, 0);
    CHECK_NEAR(info.train_seconds, 5e-9, 1e-20);
    CHECK_TEXT(info.configuration, "{\"batch_size\":8,\"optimizer\":{\"learning_rate\":0.001}}");
    CHECK_TEXT(info.algorithms, "fc: first heuristic\n");
    quern_checkpoint_destroy(checkpoint);
    checkpoint_store_destroy(store);
    power_disk_end(&disk);
}

/* To make them anew after a new format version: QUERN_TEST_GOLDEN=tests/checkpoint/golden/vN */
TEST_CASE(CheckpointStore, the_golden_file_of_each_version_is_read) {
    quern_device device = {.host = quern_host_default()};
    const char *make = getenv("QUERN_TEST_GOLDEN");
    if (make != NULL) {
        checkpoint_store *store = NULL;
        REQUIRE_OK(fixture_store(&store, &device.host, make));
        REQUIRE_OK(fixture_save(store, 7, 7));
        checkpoint_store_destroy(store);
    }
    for (int version = 1; version <= QUERN_CHECKPOINT_VERSION; version++) {
        quern_checkpoint *checkpoint = NULL;
        char path[512], digest_text[33];
        snprintf(path, sizeof path, QUERN_SOURCE_DIR "/tests/checkpoint/golden/v%d/step-7",
                 version);
        REQUIRE_OK(quern_checkpoint_open(&checkpoint, &device, path));
        CHECK(quern_checkpoint_info_get(checkpoint).version == version);
        CHECK(fixture_serial(checkpoint) == 7);
        REQUIRE_OK(quern_checkpoint_digest(checkpoint, digest_text));
        CHECK_TEXT(digest_text, "4d4e76cc16b758199677857725766ce7");
        quern_checkpoint_destroy(checkpoint);
    }
}

static bool write_golden_now(temporary *t) {
    const quern_host host = quern_host_default();
    checkpoint_store *store = NULL;
    const bool good =
        fixture_store(&store, &host, t->path) == QUERN_OK && fixture_save(store, 7, 7) == QUERN_OK;
    checkpoint_store_destroy(store);
    return good;
}

/* A changed byte is a changed format: it wants a new version, and a golden file of it. */
TEST_CASE(CheckpointStore, what_is_written_is_the_golden_file_byte_by_byte) {
    static const char *const files[] = {"manifest.json", "model.safetensors", "state.safetensors"};
    temporary t;
    REQUIRE(temporary_begin(&t));
    REQUIRE(write_golden_now(&t));
    for (int i = 0; i < 3; i++) {
        static char expected[8192], found[8192];
        char name[64], path[512];
        if (i == 0 && strcmp(quern_version(), "0.1.0") != 0) continue; /* it names the library */
        snprintf(path, sizeof path, QUERN_SOURCE_DIR "/tests/checkpoint/golden/v%d/step-7/%s",
                 QUERN_CHECKPOINT_VERSION, files[i]);
        snprintf(name, sizeof name, "step-7/%s", files[i]);
        FILE *golden = fopen(path, "rb");
        REQUIRE(golden != NULL);
        const size_t bytes = fread(expected, 1, sizeof expected, golden);
        fclose(golden);
        const long length = temporary_read(&t, name, found, sizeof found);
        CHECK_SAY(length == (long)bytes && memcmp(expected, found, bytes) == 0, "%s differs",
                  files[i]);
    }
    temporary_end(&t);
}

TEST_CASE(CheckpointStore, the_digest_follows_names_and_bytes_and_not_their_order) {
    const quern_host host = quern_host_default();
    fixture f;
    char a[DIGEST_TEXT], b[DIGEST_TEXT], empty[DIGEST_TEXT];
    checkpoint_content content = *fixture_content(&f, 1, 1);
    REQUIRE_OK(content_digest(&host, &content, a));
    const quern_safetensors_entry first = f.state[0];
    f.state[0] = f.state[3];
    f.state[3] = first;
    content.counters.step = 99; /* no tensor */
    REQUIRE_OK(content_digest(&host, &content, b));
    CHECK_TEXT(b, a);
    f.model[1].name = "tablf";
    REQUIRE_OK(content_digest(&host, &content, b));
    CHECK(strcmp(a, b) != 0);
    f.model[1].name = "table";
    f.table[4] ^= 1;
    REQUIRE_OK(content_digest(&host, &content, b));
    CHECK(strcmp(a, b) != 0);
    content.model_count = content.state_count = 0;
    REQUIRE_OK(content_digest(&host, &content, empty));
    CHECK_TEXT(empty, "99aa06d3014798d86001c324468d497f"); /* XXH3-128 of nothing, as xxh128sum */
}

/* Steps in the directory as text, the earliest first. */
static void list_steps(const quern_host *host, char *to, size_t size) {
    generation_list list;
    REQUIRE_OK(generation_list_read(&list, host, FIXTURE_DIRECTORY));
    text t = text_over(to, size);
    for (int64_t i = list.count - 1; i >= 0; i--)
        text_add(&t, "%s%d", t.length > 0 ? " " : "", (int)list.items[i].step);
    generation_list_release(&list, host);
}

/* Steps that are left of 1 … count, as text, with metric(step) = |step - 6|. */
static void save_and_list(const retention_policy *policy, int64_t count, char *to, size_t size) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    fixture f;
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    for (int64_t step = 1; step <= count; step++) {
        if (step % 5 == 1) { /* also over a restart */
            checkpoint_store_destroy(store);
            REQUIRE_OK(checkpoint_store_create(
                &store, &(checkpoint_store_desc){.host = &host,
                                                 .directory = FIXTURE_DIRECTORY,
                                                 .largest = fixture_content(&f, 0, 0),
                                                 .retention = *policy}));
        }
        checkpoint_content content = *fixture_content(&f, step, step);
        content.metric_value = step == 5 ? (double)NAN : fabs((double)step - 6.0);
        REQUIRE_OK(checkpoint_store_write(store, &content));
        checkpoint_store_retire(store);
    }
    checkpoint_store_destroy(store);
    list_steps(&host, to, size);
    CHECK(fixture_damaged(&host, FIXTURE_DIRECTORY) == 0);
    power_disk_end(&disk);
}

TEST_CASE(CheckpointStore, retention_keeps_the_last_the_best_and_the_marked) {
    char left[256];
    save_and_list(&(retention_policy){.keep_last = 2}, 12, left, sizeof left);
    CHECK_TEXT(left, "11 12");
    save_and_list(&(retention_policy){.keep_last = 3, .keep_best = 2}, 12, left, sizeof left);
    CHECK_TEXT(left, "6 7 10 11 12"); /* 5 has no metric; of 7 and 5's like, the newer */
    save_and_list(&(retention_policy){.keep_last = 2, .keep_best = 2, .best_is_largest = true}, 9,
                  left, sizeof left);
    CHECK_TEXT(left, "1 2 8 9");
    save_and_list(&(retention_policy){.keep_last = 2, .keep_every = 4}, 15, left, sizeof left);
    CHECK_TEXT(left, "4 8 12 14 15");
}

TEST_CASE(CheckpointStore, policies_that_could_lose_everything_are_refused) {
    CHECK_STATUS(retention_check(&(retention_policy){.keep_last = 1}), QUERN_INVALID);
    CHECK_ERROR_HAS("at least 2");
    CHECK_STATUS(retention_check(&(retention_policy){0}), QUERN_INVALID);
    CHECK_STATUS(retention_check(&(retention_policy){.keep_last = 2, .keep_best = -1}),
                 QUERN_INVALID);
    CHECK_STATUS(retention_check(&(retention_policy){.keep_last = INT64_MAX}), QUERN_INVALID);
    CHECK_OK(retention_check(&(retention_policy){.keep_last = 2}));
}

/* After going back to an older step, the newest steps in the directory are not the newest saves. */
TEST_CASE(CheckpointStore, the_one_just_written_always_stays) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    quern_checkpoint *checkpoint = NULL;
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    REQUIRE_OK(fixture_store(&store, &host, FIXTURE_DIRECTORY));
    for (int64_t step = 30; step <= 50; step += 10) REQUIRE_OK(fixture_save(store, step, step));
    REQUIRE_OK(fixture_save(store, 20, 99));
    REQUIRE_OK(checkpoint_open(&checkpoint, &host, FIXTURE_DIRECTORY "/step-20"));
    CHECK(fixture_serial(checkpoint) == 99);
    quern_checkpoint_destroy(checkpoint);
    checkpoint_store_destroy(store);
    power_disk_end(&disk);
}

/* A run that began anew: a resume takes the newest step, which must be one of its own. */
TEST_CASE(CheckpointStore, what_was_given_up_goes_and_the_last_written_stay) {
    static const retention_policy policies[] = {{.keep_last = 2},
                                                {.keep_last = 2, .keep_best = 2, .keep_every = 20}};
    for (int i = 0; i < 2; i++) {
        power_disk disk = {0};
        checkpoint_store *store = NULL;
        fixture f;
        char left[64];
        power_disk_begin(&disk);
        const quern_host host = power_disk_host(&disk);
        REQUIRE_OK(checkpoint_store_create(
            &store, &(checkpoint_store_desc){.host = &host,
                                             .directory = FIXTURE_DIRECTORY,
                                             .largest = fixture_content(&f, 0, 0),
                                             .retention = policies[i]}));
        for (int64_t step = 20; step <= 60; step += 10)
            REQUIRE_OK(fixture_save(store, step, 100 + step));
        REQUIRE_OK(fixture_save(store, 9, 9));
        CHECK(fixture_latest(&host, FIXTURE_DIRECTORY, NULL) == 9);
        list_steps(&host, left, sizeof left);
        CHECK_TEXT(left, "9");
        for (int64_t step = 18; step <= 27; step += 9) REQUIRE_OK(fixture_save(store, step, step));
        list_steps(&host, left, sizeof left);
        CHECK_TEXT(left, "18 27");
        CHECK(fixture_latest(&host, FIXTURE_DIRECTORY, NULL) == 27);
        checkpoint_store_destroy(store);
        power_disk_end(&disk);
    }
}

static const char *const held[] = {"model.safetensors", "state.safetensors"};

/* Another process has damaged the newer one since, or the disk: the run goes on from step 50. */
TEST_CASE(CheckpointStore, a_damaged_one_makes_no_whole_one_go) {
    for (int i = 0; i < 4; i++) { /* with the whole one told, and found by reading */
        power_disk disk = {0};
        checkpoint_store *store = NULL;
        quern_checkpoint *resumed = NULL;
        fixture f;
        char path[128], left[64];
        int32_t damaged = 0;
        power_disk_begin(&disk);
        const quern_host host = power_disk_host(&disk);
        REQUIRE_OK(fixture_store(&store, &host, FIXTURE_DIRECTORY));
        for (int64_t step = 50; step <= 60; step += 10) REQUIRE_OK(fixture_save(store, step, step));
        checkpoint_store_destroy(store);
        snprintf(path, sizeof path, FIXTURE_DIRECTORY "/step-60/%s", held[i % 2]);
        disk_node *node = power_disk_find(&disk, path);
        node->data[node->bytes - 1] ^= 1;
        REQUIRE_OK(checkpoint_latest(&resumed, &host, FIXTURE_DIRECTORY, NULL, NULL));
        CHECK(resumed->manifest.content.counters.step == 50);
        REQUIRE_OK(checkpoint_store_create(
            &store, &(checkpoint_store_desc){.host = &host,
                                             .directory = FIXTURE_DIRECTORY,
                                             .largest = fixture_content(&f, 0, 0),
                                             .whole = i < 2 ? resumed : NULL,
                                             .retention = {.keep_last = 2}}));
        quern_checkpoint_destroy(resumed);
        REQUIRE_OK(fixture_save(store, 55, 55));
        list_steps(&host, left, sizeof left);
        CHECK_TEXT(left, "50 55 60");
        CHECK(fixture_latest(&host, FIXTURE_DIRECTORY, &damaged) == 55 && damaged == 1);
        REQUIRE_OK(fixture_save(store, 60, 60)); /* over the damaged one */
        list_steps(&host, left, sizeof left);
        CHECK_TEXT(left, "55 60");
        CHECK(fixture_damaged(&host, FIXTURE_DIRECTORY) == 0);
        checkpoint_store_destroy(store);
        power_disk_end(&disk);
    }
}

static quern_status store_of_three(checkpoint_store **out, const quern_host *host) {
    fixture f;
    return checkpoint_store_create(out,
                                   &(checkpoint_store_desc){.host = host,
                                                            .directory = FIXTURE_DIRECTORY,
                                                            .largest = fixture_content(&f, 0, 0),
                                                            .retention = {.keep_last = 3}});
}

/* Wherever it is among those of a past that was given up. */
TEST_CASE(CheckpointStore, a_damaged_one_stays_where_others_were_given_up) {
    for (int i = 0; i < 6; i++) {
        const int broken = 40 + 10 * (i / 2);
        power_disk disk = {0};
        checkpoint_store *store = NULL;
        char path[128], left[64], expected[64];
        int32_t damaged = 0;
        power_disk_begin(&disk);
        const quern_host host = power_disk_host(&disk);
        REQUIRE_OK(store_of_three(&store, &host));
        for (int64_t step = 40; step <= 60; step += 10) REQUIRE_OK(fixture_save(store, step, step));
        snprintf(path, sizeof path, FIXTURE_DIRECTORY "/step-%d/%s", broken, held[i % 2]);
        disk_node *node = power_disk_find(&disk, path);
        node->data[node->bytes - 1] ^= 1;
        checkpoint_store_destroy(store);
        REQUIRE_OK(store_of_three(&store, &host));
        REQUIRE_OK(fixture_save(store, 9, 9));
        list_steps(&host, left, sizeof left);
        snprintf(expected, sizeof expected, "9 %d", broken);
        CHECK_TEXT(left, expected);
        CHECK(fixture_latest(&host, FIXTURE_DIRECTORY, &damaged) == 9 && damaged == 1);
        REQUIRE_OK(fixture_save(store, broken, broken)); /* it is whole again, and given up again */
        REQUIRE_OK(fixture_save(store, 10, 10));
        list_steps(&host, left, sizeof left);
        CHECK_TEXT(left, "9 10");
        checkpoint_store_destroy(store);
        power_disk_end(&disk);
    }
}

/* The best by what was measured before are not the best by what is measured now. */
TEST_CASE(CheckpointStore, values_of_another_metric_are_none) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    fixture f;
    char left[64];
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    for (int64_t step = 1; step <= 6; step++) {
        checkpoint_content content = *fixture_content(&f, step, step);
        content.metric = step <= 3 ? "val/loss" : "val/accuracy";
        content.metric_value = step <= 3 ? 0.1 : 0.5 + 0.1 * (double)step;
        if (step == 1 || step == 4) {
            checkpoint_store_destroy(store);
            REQUIRE_OK(checkpoint_store_create(
                &store, &(checkpoint_store_desc){.host = &host,
                                                 .directory = FIXTURE_DIRECTORY,
                                                 .largest = &content,
                                                 .retention = {.keep_last = 2, .keep_best = 1}}));
        }
        REQUIRE_OK(checkpoint_store_write(store, &content));
        checkpoint_store_retire(store);
    }
    checkpoint_store_destroy(store);
    list_steps(&host, left, sizeof left);
    CHECK_TEXT(left, "4 5 6");
    power_disk_end(&disk);
}

TEST_CASE(CheckpointStore, names_are_read_strictly_and_foreign_files_stay) {
    generation g;
    CHECK(generation_parse("step-0", &g) && g.step == 0 && g.kind == GENERATION_WHOLE);
    CHECK(generation_parse("step-120.replaced", &g) && g.step == 120);
    CHECK(!generation_parse("step-", &g) && !generation_parse("step-01", &g));
    CHECK(!generation_parse("step--1", &g) && !generation_parse("step-1.bak", &g));
    CHECK(!generation_parse("step-1000000000000000000", &g) && !generation_parse("latest", &g));
    temporary t;
    checkpoint_store *store = NULL;
    const quern_host host = quern_host_default();
    char byte;
    REQUIRE(temporary_begin(&t));
    REQUIRE(temporary_write(&t, "notes", "x", 1));
    REQUIRE(host.files.make_directory(NULL, temporary_join(&t, "step-4.partial")) == 0);
    REQUIRE(temporary_write(&t, "step-4.partial/manifest.json", "{", 1));
    REQUIRE(host.files.make_directory(NULL, temporary_join(&t, "step-5.partial")) == 0);
    REQUIRE(temporary_write(&t, "step-5.partial/mine", "x", 1));
    REQUIRE_OK(fixture_store(&store, &host, t.path));
    checkpoint_store_destroy(store);
    CHECK(temporary_read(&t, "notes", &byte, 1) == 1);
    CHECK(temporary_read(&t, "step-5.partial/mine", &byte, 1) == 1);
    CHECK(fixture_leftovers(&host, t.path) == 1); /* step-4.partial is gone */
    temporary_end(&t);
}

TEST_CASE(CheckpointStore, contents_that_no_file_can_hold_are_refused) {
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    fixture f;
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    checkpoint_content content = *fixture_content(&f, 1, 1);
    checkpoint_store_desc desc = {.host = &host,
                                  .directory = FIXTURE_DIRECTORY,
                                  .largest = &content,
                                  .retention = {.keep_last = 2}};
    f.model[1].name = "fc.weight";
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INTERNAL);
    CHECK_ERROR_HAS("two tensors of a checkpoint are named fc.weight");
    f.model[1].name = "__metadata__";
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INTERNAL);
    f.model[1].name = "table";
    content.configuration = "[1]";
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INVALID);
    content.configuration = "{";
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INVALID);
    CHECK(store == NULL && disk.log_count == 0);
    REQUIRE_OK(fixture_store(&store, &host, FIXTURE_DIRECTORY));
    content.configuration = "{}";
    content.counters.samples = -1;
    CHECK_STATUS(checkpoint_store_write(store, &content), QUERN_INTERNAL);
    CHECK_ERROR_HAS("samples");
    CHECK(fixture_leftovers(&host, FIXTURE_DIRECTORY) == 0);
    checkpoint_store_destroy(store);
    power_disk_end(&disk);
}

/* What would be written, and then be refused by whoever resumes from it. */
TEST_CASE(CheckpointStore, contents_that_no_reader_takes_are_refused) {
    enum { MANY = 330000, NAME_BYTES = 16, LONG = 12 << 20 };
    power_disk disk = {0};
    checkpoint_store *store = NULL;
    fixture f;
    power_disk_begin(&disk);
    const quern_host host = power_disk_host(&disk);
    checkpoint_content content = *fixture_content(&f, 1, 1);
    checkpoint_store_desc desc = {.host = &host,
                                  .directory = FIXTURE_DIRECTORY,
                                  .largest = &content,
                                  .retention = {.keep_last = 2}};
    char *record = malloc(LONG), *names = malloc((size_t)MANY * NAME_BYTES);
    quern_safetensors_entry *entries = calloc(MANY, sizeof *entries);
    REQUIRE(record && names && entries);
    memset(record, '\n', LONG - 1);
    record[LONG - 1] = '\0';
    content.algorithms = record;
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("the manifest of this run's checkpoints may come to 75");
    REQUIRE_OK(fixture_store(&store, &host, FIXTURE_DIRECTORY));
    CHECK_STATUS(checkpoint_store_admit(store, &content), QUERN_INVALID);
    CHECK_ERROR_HAS("the manifest of this run's checkpoints may come to 75");
    REQUIRE_OK(fixture_save(store, 1, 1)); /* as large as before */
    checkpoint_store_destroy(store);
    content.algorithms = "";
    for (int i = 0; i < MANY; i++) {
        char *name = names + (size_t)i * NAME_BYTES;
        snprintf(name, NAME_BYTES, "t%d", i);
        entries[i] = (quern_safetensors_entry){.name = name, .rank = 1};
    }
    content.state = entries;
    content.state_count = MANY;
    CHECK_STATUS(checkpoint_store_create(&store, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("the header of a file of this run's checkpoints may come to 11");
    free(record);
    free(names);
    free(entries);
    power_disk_end(&disk);
}
