/* Every truncation and every flipped bit of each file of a checkpoint is found; the file is named
 * and the next older checkpoint is used. */
#include "fixture.h"
#include "quern_test.h"
#include "support/power_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool prepare(power_disk *disk) {
    power_disk_begin(disk);
    const quern_host host = power_disk_host(disk);
    checkpoint_store *store = NULL;
    const bool good = fixture_store(&store, &host, FIXTURE_DIRECTORY) == QUERN_OK &&
                      fixture_save(store, 10, 1) == QUERN_OK &&
                      fixture_save(store, 20, 2) == QUERN_OK;
    checkpoint_store_destroy(store);
    return good && fixture_latest(&host, FIXTURE_DIRECTORY, NULL) == 2;
}

typedef struct report {
    char path[128], reason[512];
    int count;
} report;

static void take_report(void *context, const quern_checkpoint_entry *entry) {
    report *r = context;
    snprintf(r->path, sizeof r->path, "%s", entry->path);
    snprintf(r->reason, sizeof r->reason, "%s", entry->reason);
    r->count++;
}

/* The damaged newest one is named with its file, the older one found. */
static bool is_noticed(power_disk *disk, const char *file) {
    const quern_host host = power_disk_host(disk);
    quern_checkpoint *checkpoint = NULL;
    report r = {0};
    const quern_status status =
        checkpoint_latest(&checkpoint, &host, FIXTURE_DIRECTORY, take_report, &r);
    const bool older = checkpoint != NULL && fixture_serial(checkpoint) == 1;
    quern_checkpoint_destroy(checkpoint);
    return status == QUERN_OK && older && r.count == 1 &&
           strcmp(r.path, FIXTURE_DIRECTORY "/step-20") == 0 && strstr(r.reason, file) != NULL;
}

static void damage_each(const char *file) {
    power_disk disk = {0};
    char path[128];
    REQUIRE(prepare(&disk));
    snprintf(path, sizeof path, FIXTURE_DIRECTORY "/step-20/%s", file);
    disk_node *node = power_disk_find(&disk, path);
    REQUIRE(node != NULL && node->bytes > 100);
    const size_t whole = node->bytes;
    for (node->bytes = 0; node->bytes < whole; node->bytes++)
        REQUIRE_SAY(is_noticed(&disk, file), "%s cut to %zu bytes", file, node->bytes);
    for (size_t bit = 0; bit < 8 * whole; bit++) {
        node->data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        REQUIRE_SAY(is_noticed(&disk, file), "%s, bit %zu", file, bit);
        node->data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    disk_write_at(node, whole, (const uint8_t *)"x", 1);
    CHECK(is_noticed(&disk, file));
    node->bytes = whole;
    const quern_host host = power_disk_host(&disk);
    CHECK(fixture_latest(&host, FIXTURE_DIRECTORY, NULL) == 2);
    power_disk_end(&disk);
}

TEST_CASE(CheckpointDamage, every_change_of_the_manifest_is_noticed) {
    damage_each("manifest.json");
}
TEST_CASE(CheckpointDamage, every_change_of_the_model_is_noticed) {
    damage_each("model.safetensors");
}
TEST_CASE(CheckpointDamage, every_change_of_the_state_is_noticed) {
    damage_each("state.safetensors");
}

TEST_CASE(CheckpointDamage, missing_files_and_directories_are_named) {
    static const char *const files[] = {"manifest.json", "model.safetensors", "state.safetensors"};
    for (int i = 0; i < 3; i++) {
        power_disk disk = {0};
        char path[128];
        REQUIRE(prepare(&disk));
        const quern_host host = power_disk_host(&disk);
        snprintf(path, sizeof path, FIXTURE_DIRECTORY "/step-20/%s", files[i]);
        REQUIRE(host.files.unlink(host.files.self, path) == 0);
        CHECK(is_noticed(&disk, files[i]));
        REQUIRE(host.files.make_directory(host.files.self, path) == 0);
        CHECK(is_noticed(&disk, files[i]));
        power_disk_end(&disk);
    }
}

TEST_CASE(CheckpointDamage, nothing_whole_is_an_error_that_names_the_newest) {
    power_disk disk = {0};
    quern_checkpoint *checkpoint = NULL;
    report r = {0};
    REQUIRE(prepare(&disk));
    power_disk_find(&disk, FIXTURE_DIRECTORY "/step-20/manifest.json")->data[5] ^= 1;
    power_disk_find(&disk, FIXTURE_DIRECTORY "/step-10/state.safetensors")->bytes--;
    const quern_host host = power_disk_host(&disk);
    CHECK_STATUS(checkpoint_latest(&checkpoint, &host, FIXTURE_DIRECTORY, take_report, &r),
                 QUERN_INPUT);
    CHECK_ERROR_HAS("none of the 2 checkpoints in " FIXTURE_DIRECTORY " is whole");
    CHECK_ERROR_HAS("step-20/manifest.json: offset");
    CHECK_HAS(r.reason, "step-10/state.safetensors");
    CHECK(checkpoint == NULL && r.count == 2);
    power_disk_end(&disk);
}

/* The manifest of `step` with `from` replaced by `to`, and a digest that is right again. */
static bool rewrite_manifest(power_disk *disk, const char *from, const char *to) {
    disk_node *node = power_disk_find(disk, FIXTURE_DIRECTORY "/step-20/manifest.json");
    static char whole[8192], changed[8192];
    memcpy(whole, node->data, node->bytes);
    whole[node->bytes] = '\0';
    const char *at = strstr(whole, from);
    if (at == NULL) return false;
    int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - whole), whole, to,
                          at + strlen(from));
    const size_t tail = strlen("  \"digest\": \"\"\n}\n") + 32, body = (size_t)length - tail;
    char digest_text[DIGEST_TEXT];
    digest_of(changed, body, digest_text);
    length =
        snprintf(changed + body, sizeof changed - body, "  \"digest\": \"%s\"\n}\n", digest_text);
    node->bytes = 0;
    disk_write_at(node, 0, (const uint8_t *)changed, body + (size_t)length);
    return true;
}

TEST_CASE(CheckpointDamage, a_whole_manifest_that_lies_is_refused) {
    static const char *const lies[][3] = {
        {"\"step\": 20", "\"step\": -1", "\"step\" is missing or not a count"},
        {"\"step\": 20", "\"step\": 1.5", "\"step\" is missing or not a count"},
        {"\"step\": 20", "\"step\": 20, \"step\": 20", "duplicate"},
        {"\"step\": 20", "\"step\": 99999999999999999999", "too big"},
        {"\"attempts\": 21,", "", "\"attempts\" is missing"},
        {"quern checkpoint", "another format", "another format"},
        {"\"version\": 1", "\"version\": 0", "\"version\""},
        {"\"seed\": \"18446744073709551614\"", "\"seed\": \"18446744073709551616\"", "\"seed\""},
        {"\"seed\": \"18446744073709551614\"", "\"seed\": \" 1\"", "\"seed\""},
        {"\"early_stop\": \"", "\"early_stop\": \"a", "early_stop"},
        {"\"early_stop\": \"02", "\"early_stop\": \"0G", "early_stop"},
        {"\"configuration\": {", "\"configuration\": [], \"c\": {", "\"configuration\""},
        {"\"callbacks\": {", "\"callbacks\": 3, \"c\": {", "\"callbacks\""},
        {"\"files\": {", "\"files\": {\"x\": 1,", "\"files\""},
        {"\"xxh3_128\": \"", "\"xxh3_128\": \"0", "xxh3_128"},
        {"\"bytes\": ", "\"bytes\": 9000000000000000000, \"b\": ", "bytes"},
        {"\"metric\": {\"name\": \"val/loss\"", "\"metric\": {\"name\": 3", "\"name\""},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        power_disk disk = {0};
        quern_checkpoint *checkpoint = NULL;
        REQUIRE(prepare(&disk));
        const quern_host host = power_disk_host(&disk);
        REQUIRE_SAY(rewrite_manifest(&disk, lies[i][0], lies[i][1]), "case %zu", i);
        CHECK_STATUS(checkpoint_open(&checkpoint, &host, FIXTURE_DIRECTORY "/step-20"),
                     QUERN_INPUT);
        CHECK_ERROR_HAS("step-20/manifest.json");
        CHECK_ERROR_HAS(lies[i][2]);
        power_disk_end(&disk);
    }
}

/* Otherwise the run would silently go on from an older state than the one that is there. */
TEST_CASE(CheckpointDamage, a_newer_format_is_refused_and_never_passed_over) {
    power_disk disk = {0};
    quern_checkpoint *checkpoint = NULL;
    REQUIRE(prepare(&disk));
    const quern_host host = power_disk_host(&disk);
    REQUIRE(rewrite_manifest(&disk, "\"version\": 1", "\"version\": 2"));
    CHECK_STATUS(checkpoint_latest(&checkpoint, &host, FIXTURE_DIRECTORY, NULL, NULL),
                 QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("format version 2");
    CHECK_ERROR_HAS("reads versions up to 1");
    CHECK(checkpoint == NULL);
    power_disk_end(&disk);
}
