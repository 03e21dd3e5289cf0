/* What reads checkpoints: inspect, eval and predict, of whole, damaged and missing ones. */
#include "fixture.h"
#include "quern_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define RUN                                                                                        \
    "train", "--model", "mlp", "--data", "table.csv", "--valid", "valid.csv", "--batch-size",      \
        "10", "--steps", "12", "--save-every", "4", "--quiet", "--json"

static bool begin(temporary *t) {
    if (!temporary_begin(t) || !fixture_csv(t, "table.csv", 90) || !fixture_csv(t, "valid.csv", 30))
        return false;
    return COMMAND(t, RUN, "--run-dir", "run", "--ema", "0.5")->exit_code == 0;
}

static bool exists(temporary *t, const char *name) {
    return access(temporary_join(t, name), F_OK) == 0;
}

/* Turns one bit of a file, somewhere in its middle. */
static bool damage(temporary *t, const char *name) {
    static unsigned char content[1 << 18];
    const long bytes = temporary_read(t, name, content, sizeof content);
    if (bytes < 2 || (size_t)bytes > sizeof content) return false;
    content[bytes / 2] ^= 1;
    return temporary_write(t, name, content, (size_t)bytes);
}

static const char *entry_text(json_t *list, size_t i, const char *key) {
    return fixture_json_text(json_array_get(list, i), key);
}

static double entry_number(json_t *list, size_t i, const char *key) {
    return fixture_json_number(json_array_get(list, i), key);
}

static bool entry_flag(json_t *list, size_t i, const char *key) {
    return json_is_true(json_object_get(json_array_get(list, i), key));
}

TEST_CASE(Checkpoints, inspect_lists_them_newest_first_with_the_damaged_one_named) {
    temporary t;
    REQUIRE(begin(&t));
    json_t *object = fixture_json(COMMAND(&t, "inspect", "run", "--json"));
    json_t *list = json_object_get(object, "checkpoints");
    REQUIRE(json_array_size(list) == 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK(entry_number(list, i, "step") == 12 - 4 * (double)i);
        CHECK(entry_number(list, i, "epoch") == (i == 0 ? 1 : 0));
        CHECK(entry_number(list, i, "bytes") > 3075 * 4 * 4);
        CHECK(entry_flag(list, i, "whole"));
        CHECK(entry_flag(list, i, "latest") == (i == 0));
    }
    CHECK(json_array_size(json_object_get(object, "tensors")) == 4);
    json_decref(object);

    REQUIRE(damage(&t, "run/checkpoints/step-12/state.safetensors"));
    const run_result *r = COMMAND(&t, "inspect", "run/checkpoints", "--json");
    CHECK(r->exit_code == 0);
    object = fixture_json(r);
    list = json_object_get(object, "checkpoints");
    CHECK(!entry_flag(list, 0, "whole") && entry_flag(list, 1, "whole"));
    CHECK(entry_flag(list, 1, "latest"));
    CHECK_HAS(entry_text(list, 0, "reason"), "step-12/state.safetensors");
    json_decref(object);
    r = COMMAND(&t, "inspect", "run");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "step 12         damaged: ");
    CHECK_HAS(r->out, "whole, latest\n  step 4");
    temporary_end(&t);
}

TEST_CASE(Checkpoints, inspect_of_a_run_without_a_usable_one_is_exit_code_3_and_still_lists) {
    temporary t;
    REQUIRE(begin(&t));
    REQUIRE(damage(&t, "run/checkpoints/step-12/model.safetensors"));
    REQUIRE(damage(&t, "run/checkpoints/step-8/manifest.json"));
    REQUIRE(unlink(temporary_join(&t, "run/checkpoints/step-4/manifest.json")) == 0);
    const run_result *r = COMMAND(&t, "inspect", "run", "--json");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "run/checkpoints: no checkpoint there that a run could go on from");
    json_t *object = fixture_json(r);
    CHECK(json_array_size(json_object_get(object, "checkpoints")) == 3);
    json_decref(object);
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--ema", "0.5");
    CHECK_SAY(r->exit_code == 3, "%s", r->error);
    CHECK(exists(&t, "run/model.safetensors") && exists(&t, "run/config.json"));
    temporary_end(&t);
}

TEST_CASE(Checkpoints, inspect_of_one_shows_counters_configuration_tensors_and_the_runs_digest) {
    temporary t;
    REQUIRE(begin(&t));
    json_t *run = fixture_json(COMMAND(&t, "train", "--resume", "--run-dir", "run", "--json"));
    json_t *object = fixture_json(COMMAND(&t, "inspect", "run/checkpoints/step-12", "--json"));
    CHECK(strlen(fixture_json_text(object, "digest")) == 32);
    CHECK_TEXT(fixture_json_text(object, "digest"), fixture_json_text(run, "digest"));
    CHECK(fixture_json_number(object, "step") == 12);
    CHECK(fixture_json_number(object, "attempts") == 12);
    CHECK(fixture_json_number(object, "samples") == 120);
    CHECK(fixture_json_number(object, "epoch") == 1);
    CHECK(fixture_json_number(object, "batch") == 3);
    CHECK(json_is_object(json_object_get(object, "configuration")));
    CHECK(json_array_size(json_object_get(object, "tensors")) == 4);
    CHECK(json_array_size(json_object_get(object, "state")) > 12);
    const run_result *r = COMMAND(&t, "inspect", "run/checkpoints/step-12/");
    CHECK(r->exit_code == 0);
    CHECK_HAS(r->out, "step          12 (12 attempts, 120 samples)");
    CHECK_HAS(r->out, "position      epoch 1, batch 3");
    CHECK_HAS(r->out, fixture_json_text(run, "digest"));
    CHECK_HAS(r->out, "average.fc1.weight");
    json_decref(object);
    json_decref(run);
    temporary_end(&t);
}

/* Sums of the same batches in the same order, to be the same number. */
#define BATCH "--batch-size", "10"

static double loss_of(const run_result *r) {
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    json_t *object = fixture_json(r);
    const double loss = fixture_json_number(object, "val/loss");
    CHECK(fixture_json_number(object, "samples") == 30);
    json_decref(object);
    return loss;
}

/* model.safetensors holds what was evaluated, the average; so does what eval makes of step 12. */
TEST_CASE(Checkpoints, eval_takes_a_checkpoint_a_run_or_a_file_from_any_folder) {
    temporary t;
    char path[600];
    REQUIRE(begin(&t));
    json_t *run = fixture_json(COMMAND(&t, "train", "--resume", "--run-dir", "run", "--json"));
    const double loss = fixture_json_number(run, "val/loss");
    json_decref(run);
    CHECK(isfinite(loss) && loss > 0);
    CHECK(loss_of(COMMAND(&t, "eval", "--checkpoint", "run/checkpoints/step-12", "--json",
                          BATCH)) == loss);
    CHECK(loss_of(COMMAND(&t, "eval", "--checkpoint", "run", "--json", BATCH)) == loss);
    CHECK(loss_of(COMMAND(&t, "eval", "--checkpoint", "run/checkpoints", "--json", BATCH)) == loss);
    CHECK(loss_of(COMMAND(&t, "eval", "--run-dir", "run", "--json", BATCH)) == loss);
    CHECK(loss_of(COMMAND(&t, "eval", "run", "--json", BATCH)) == loss);
    CHECK(loss_of(COMMAND(&t, "eval", "run/model.safetensors", "--json", BATCH)) == loss);
    const double earlier = loss_of(COMMAND(&t, "eval", "run/checkpoints/step-4", "--json", BATCH));
    CHECK(isfinite(earlier) && earlier != loss);
    const run_setup elsewhere = {.directory = "/"};
    snprintf(path, sizeof path, "%s/run", t.path);
    CHECK(loss_of(COMMAND_WITH(&t, &elsewhere, "eval", path, "--json", BATCH)) == loss);
    CHECK(loss_of(COMMAND_WITH(&t, &elsewhere, "eval", "--checkpoint", path, "--json", BATCH)) ==
          loss);
    const run_result *r = COMMAND_WITH(&t, &elsewhere, "predict", "--checkpoint", path);
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->out, "\n29,2,");
    /* A run that was killed has no result yet. */
    REQUIRE(unlink(temporary_join(&t, "run/model.safetensors")) == 0);
    CHECK(loss_of(COMMAND(&t, "eval", "run", "--json", BATCH)) == loss);
    temporary_end(&t);
}

/* The sign of NaN means nothing, and printf shows it. */
TEST_CASE(Checkpoints, a_nan_is_printed_without_a_sign) {
    static unsigned char file[1 << 16];
    temporary t;
    REQUIRE(begin(&t));
    const long bytes = temporary_read(&t, "run/model.safetensors", file, sizeof file);
    REQUIRE(bytes > 1000 && (size_t)bytes < sizeof file);
    memcpy(file + bytes - 4, "\x00\x00\xc0\xff", 4); /* in the last layer's bias */
    REQUIRE(temporary_write(&t, "run/model.safetensors", file, (size_t)bytes));
    const run_result *r = COMMAND(&t, "predict", "run");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->out, ",nan");
    CHECK(strstr(r->out, "-nan") == NULL);
    r = COMMAND(&t, "eval", "run");
    CHECK_HAS(r->out, "loss     nan\n");
    CHECK(strstr(r->out, "-nan") == NULL && strstr(r->error, "-nan") == NULL);
    json_decref(fixture_json(COMMAND(&t, "eval", "run", "--json")));
    temporary_end(&t);
}

/* Writes the checkpoint's manifest as a later version of quern would, its own digest included. */
static bool make_newer(temporary *t, const char *name) {
    static char text[1 << 16], newer[1 << 16];
    const long bytes = temporary_read(t, name, text, sizeof text - 1);
    char *version = bytes > 0 ? strstr(text, "\"version\": 1,") : NULL;
    char *digest = version ? strstr(version, "  \"digest\": ") : NULL;
    if (!digest) return false;
    *digest = '\0';
    int length = snprintf(newer, sizeof newer, "%.*s\"version\": 999,%s", (int)(version - text),
                          text, version + strlen("\"version\": 1,"));
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(newer, (size_t)length));
    length += snprintf(newer + length, sizeof newer - (size_t)length, "  \"digest\": \"");
    for (size_t i = 0; i < sizeof canonical.digest; i++)
        length +=
            snprintf(newer + length, sizeof newer - (size_t)length, "%02x", canonical.digest[i]);
    length += snprintf(newer + length, sizeof newer - (size_t)length, "\"\n}\n");
    return temporary_write(t, name, newer, (size_t)length);
}

/* An older one in its place would take a run back without a word. */
TEST_CASE(Checkpoints, one_of_a_newer_format_is_exit_code_2_and_nothing_is_taken_in_its_place) {
    temporary t;
    REQUIRE(begin(&t));
    REQUIRE(make_newer(&t, "run/checkpoints/step-12/manifest.json"));
    static const char *const commands[] = {"eval", "predict", "inspect"};
    for (size_t i = 0; i < 3; i++) {
        const run_result *r = COMMAND(&t, commands[i], "run/checkpoints/step-12");
        CHECK_SAY(r->exit_code == 2, "%s: %d: %s", commands[i], r->exit_code, r->error);
        CHECK_HAS(r->error, "999");
    }
    CHECK(COMMAND(&t, "eval", "--checkpoint", "run")->exit_code == 2);
    const run_result *r = COMMAND(&t, "inspect", "run/checkpoints");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->out, "step 12         newer: ");
    CHECK_SAY(strstr(r->out, ", latest") == NULL, "%s", r->out); /* no run would take another */
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--ema", "0.5");
    CHECK_SAY(r->exit_code == 2, "%d: %s", r->exit_code, r->error);
    CHECK(exists(&t, "run/checkpoints/step-4/manifest.json"));
    temporary_end(&t);
}

TEST_CASE(Checkpoints, a_damaged_one_is_named_with_exit_code_3_and_the_next_older_is_taken) {
    temporary t;
    REQUIRE(begin(&t));
    REQUIRE(damage(&t, "run/checkpoints/step-12/model.safetensors"));
    static const char *const commands[] = {"eval", "predict", "inspect"};
    for (size_t i = 0; i < 3; i++) {
        const run_result *r = COMMAND(&t, commands[i], "run/checkpoints/step-12");
        CHECK_SAY(r->exit_code == 3, "%s: %d", commands[i], r->exit_code);
        CHECK_HAS(r->error, "run/checkpoints/step-12/model.safetensors");
        CHECK_TEXT(r->out, "");
    }
    const double older = loss_of(COMMAND(&t, "eval", "run/checkpoints/step-8", "--json"));
    const run_result *r = COMMAND(&t, "eval", "--checkpoint", "run", "--json");
    CHECK_HAS(r->error, "step-12");
    CHECK(loss_of(r) == older);
    CHECK(COMMAND(&t, "eval", "--checkpoint", "run/checkpoints/step-99")->exit_code == 3);
    REQUIRE(mkdir(temporary_join(&t, "step-1"), 0777) == 0);
    r = COMMAND(&t, "eval", "step-1");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "step-1/manifest.json");
    r = COMMAND(&t, "inspect", ".");
    CHECK(r->exit_code == 3);
    r = COMMAND(&t, "eval", "--checkpoint", "run/model.safetensors");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "--weights takes one");
    temporary_end(&t);
}
