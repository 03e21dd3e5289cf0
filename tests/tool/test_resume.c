/* A run that is killed, or ended by a signal, goes on with --resume and comes to the very state
 * that it would have come to: the same digest, the same history. */
#include "fixture.h"
#include "quern_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGEST_BYTES = 33, RUN_STEPS = 40 };

/* Everything that a checkpoint has to carry: shuffled epochs of 9 batches, windows of 2 with one
 * left over, a schedule with warm-up, an average, early stop and its counts, evaluations. */
#define RUN                                                                                        \
    "train", "--model", "mlp", "--data", "table.csv", "--valid", "valid.csv", "--steps", "40",     \
        "--batch-size", "10", "--accumulate", "2", "--tail", "carry", "--schedule", "cosine",      \
        "--warmup", "5", "--ema", "0.9", "--patience", "50", "--eval-every", "4", "--log-every",   \
        "3", "--save-every", "5", "--seed", "7", "--clip-norm", "1", "--json"

static bool begin(temporary *t) {
    return temporary_begin(t) && fixture_csv(t, "table.csv", 90) && fixture_csv(t, "valid.csv", 30);
}

static void copy_digest(char to[DIGEST_BYTES], json_t *object) {
    snprintf(to, DIGEST_BYTES, "%s", fixture_json_text(object, "digest"));
}

/* The state that the uninterrupted run comes to, in folder "whole". */
static void run_whole(temporary *t, char digest[DIGEST_BYTES]) {
    const run_result *r = COMMAND(t, RUN, "--run-dir", "whole", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == RUN_STEPS);
    CHECK_HAS(fixture_json_text(object, "checkpoint"), "whole/checkpoints/step-40");
    copy_digest(digest, object);
    CHECK(strlen(digest) == 32);
    json_decref(object);
}

/* Line by line, because two long texts are hard to tell apart. */
static void check_same_history(char *found, char *expected) {
    char *next_found = NULL, *next_expected = NULL;
    char *a = strtok_r(found, "\n", &next_found), *b = strtok_r(expected, "\n", &next_expected);
    for (int line = 2; a || b; line++) {
        CHECK_SAY(a && b && strcmp(a, b) == 0, "line %d of the history is\n%s\nexpected\n%s", line,
                  a ? a : "missing", b ? b : "none");
        if (!a || !b || strcmp(a, b) != 0) return;
        a = strtok_r(NULL, "\n", &next_found);
        b = strtok_r(NULL, "\n", &next_expected);
    }
}

/* Resumes "run" to its end and compares it with "whole". */
static void finish(temporary *t, const char *digest) {
    char now[DIGEST_BYTES];
    const run_result *r = COMMAND(t, RUN, "--run-dir", "run", "--resume", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == RUN_STEPS);
    copy_digest(now, object);
    CHECK_TEXT(now, digest);
    json_decref(object);
    char *expected = fixture_metrics(t, "whole"), *found = fixture_metrics(t, "run");
    CHECK(expected[0] != '\0');
    check_same_history(found, expected);
    free(expected);
    free(found);
}

/* The same files byte by byte. */
static void check_same_model(temporary *t, const char *one, const char *other) {
    static char files[2][1 << 16];
    const long a = temporary_read(t, one, files[0], sizeof files[0]);
    const long b = temporary_read(t, other, files[1], sizeof files[1]);
    CHECK(a > 1000 && a == b && memcmp(files[0], files[1], (size_t)a) == 0);
}

TEST_CASE(Resume, a_run_killed_right_after_a_save_comes_to_the_same_state) {
    static const int steps[] = {5, 10, 25, 40};
    temporary t;
    char digest[DIGEST_BYTES], until[600];
    REQUIRE(begin(&t));
    run_whole(&t, digest);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(until, sizeof until, "%s/run/checkpoints/step-%d", t.path, steps[i]);
        const run_setup setup = {.signal = SIGKILL, .until = until};
        const run_result *r =
            i == 0 ? COMMAND_WITH(&t, &setup, RUN, "--run-dir", "run", "--quiet")
                   : COMMAND_WITH(&t, &setup, RUN, "--run-dir", "run", "--resume", "--quiet");
        CHECK_SAY(r->exit_code <= 0, "%s", r->error);
    }
    finish(&t, digest);
    check_same_model(&t, "whole/model.safetensors", "run/model.safetensors");
    temporary_end(&t);
}

TEST_CASE(Resume, a_run_killed_at_random_instants_comes_to_the_same_state) {
    temporary t;
    char digest[DIGEST_BYTES];
    int killed = 0;
    unsigned draw = 12345;
    REQUIRE(begin(&t));
    run_whole(&t, digest);
    for (int i = 0; i < 12; i++) {
        draw = draw * 1103515245u + 12345u;
        const run_setup setup = {.signal = SIGKILL, .delay_us = 1000 + (draw >> 16) % 60000};
        const run_result *r =
            COMMAND_WITH(&t, &setup, RUN, "--run-dir", "run", "--resume", "--quiet");
        CHECK_SAY(r->killed_by == SIGKILL || r->exit_code == 0, "%s", r->error);
        killed += r->killed_by == SIGKILL;
    }
    CHECK(killed > 0);
    finish(&t, digest);
    check_same_model(&t, "whole/model.safetensors", "run/model.safetensors");
    temporary_end(&t);
}

static void check_signals(int number, int exit_code) {
    temporary t;
    char digest[DIGEST_BYTES];
    unsigned draw = (unsigned)number;
    REQUIRE(begin(&t));
    run_whole(&t, digest);
    for (int i = 0; i < 8; i++) {
        draw = draw * 1103515245u + 12345u;
        const run_setup setup = {.signal = number, .delay_us = 8000 + (draw >> 16) % 30000};
        const run_result *r =
            COMMAND_WITH(&t, &setup, RUN, "--run-dir", "run", "--resume", "--quiet");
        if (r->killed_by == number) continue; /* it had not begun yet */
        CHECK_SAY(r->exit_code == exit_code || r->exit_code == 0, "%d: %s", r->exit_code, r->error);
        json_t *object = fixture_json(r);
        CHECK_HAS(fixture_json_text(object, "checkpoint"), "run/checkpoints/step-");
        const char *reason = fixture_json_text(object, "stop_reason");
        if (strcmp(reason, "steps") == 0) /* it was over, and came during the last save if at all */
            CHECK_TEXT(fixture_json_text(object, "digest"), digest);
        else
            CHECK_TEXT(reason, "signal");
        json_decref(object);
    }
    finish(&t, digest);
    temporary_end(&t);
}

TEST_CASE(Resume, a_run_ended_by_sigint_at_random_instants_loses_nothing) {
    check_signals(SIGINT, 130);
}

TEST_CASE(Resume, a_run_ended_by_sigterm_at_random_instants_loses_nothing) {
    check_signals(SIGTERM, 143);
}

/* While the data are read: the validation set's come out of a pipe, behind the signal. */
TEST_CASE(Resume, a_signal_before_the_first_step_ends_the_run_in_order_at_step_0) {
    static const char rows[] = "width,height,label\n0.5,1,0\n4.5,2,1\n8.5,3,2\n";
    temporary t;
    REQUIRE(begin(&t) && unlink(temporary_join(&t, "valid.csv")) == 0);
    REQUIRE(mkfifo(temporary_join(&t, "valid.csv"), 0666) == 0);
    const run_setup setup = {
        .signal = SIGTERM, .pipe = temporary_join(&t, "valid.csv"), .pipe_text = rows};
    const run_result *r =
        COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data", "table.csv", "--valid",
                     "valid.csv", "--steps", "1000", "--run-dir", "run", "--json");
    CHECK_SAY(r->exit_code == 143, "exit code %d: %s", r->exit_code, r->error);
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == 0);
    CHECK_TEXT(fixture_json_text(object, "stop_reason"), "signal");
    CHECK_TEXT(fixture_json_text(object, "checkpoint"), "run/checkpoints/step-0");
    json_decref(object);
    r = COMMAND(&t, "train", "--resume", "--run-dir", "run", "--steps", "3", "--json");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->error, "resumed from run/checkpoints/step-0");
    temporary_end(&t);
}

TEST_CASE(Resume, a_run_that_gets_sighup_at_random_instants_loses_nothing) {
    check_signals(SIGHUP, 0);
}

/* Only the run's end is saved but for the signal, which changes nothing else. */
TEST_CASE(Resume, sighup_saves_and_the_run_goes_on) {
    char digests[2][DIGEST_BYTES];
    temporary t;
    REQUIRE(begin(&t));
    for (int i = 0; i < 2; i++) {
        const run_setup setup = {.signal = i == 0 ? SIGHUP : 0};
        const char *folder = i == 0 ? "told" : "untold";
        const run_result *r = COMMAND_WITH(
            &t, &setup, "train", "--model", "mlp", "--data", "table.csv", "--steps", "3000",
            "--save-every", "1000000", "--log-every", "1", "--run-dir", folder, "--json");
        CHECK_SAY(r->exit_code == 0 && r->killed_by == 0, "%d: %s", r->exit_code, r->error);
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "stop_reason"), "steps");
        copy_digest(digests[i], object);
        json_decref(object);
        object = fixture_json(COMMAND(&t, "inspect", folder, "--json"));
        const json_t *list = json_object_get(object, "checkpoints");
        CHECK(json_array_size(list) == (i == 0 ? 2 : 1));
        CHECK(fixture_json_number(json_array_get(list, 0), "step") == 3000);
        const double step = fixture_json_number(json_array_get(list, 1), "step");
        CHECK_SAY(i == 1 || (step > 0 && step < 3000), "saved at %g", step);
        json_decref(object);
    }
    CHECK_TEXT(digests[0], digests[1]);
    temporary_end(&t);
}

/* Nothing is written any more, neither a checkpoint nor the model, and no digest is taken. */
TEST_CASE(Resume, a_second_signal_ends_the_run_at_once) {
    for (int i = 0; i < 2; i++) {
        temporary t;
        REQUIRE(begin(&t));
        const run_setup setup = {.signal = SIGINT, .twice = SIGTERM};
        const run_result *r =
            COMMAND_WITH(&t, &setup, "train", "--model", "mlp", "--data", "table.csv",
                         "--batch-size", "8", "--steps", "100000000", "--log-every", "1", "--json",
                         "--run-dir", "run", i == 0 ? "--no-save" : "--save-every=1000000000");
        CHECK_SAY(r->exit_code == 143, "exit code %d, killed by %d: %s", r->exit_code, r->killed_by,
                  r->error);
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "stop_reason"), "signal");
        CHECK(json_is_null(json_object_get(object, "digest")));
        CHECK(json_is_null(json_object_get(object, "checkpoint")));
        CHECK(access(temporary_join(&t, "run/model.safetensors"), F_OK) != 0);
        CHECK(rmdir(temporary_join(&t, "run/checkpoints")) == 0 || i == 0); /* it is empty */
        json_decref(object);
        temporary_end(&t);
    }
}

static bool is_over(const run_result *r) { return strstr(r->error, "nothing was left to train"); }

/* It changes nothing but what the caller is told. */
TEST_CASE(Resume, a_signal_behind_the_fit_lets_all_be_written_and_is_the_exit_code) {
    static const int numbers[] = {SIGINT, SIGTERM};
    temporary t;
    char digest[DIGEST_BYTES];
    REQUIRE(begin(&t));
    run_whole(&t, digest);
    for (int i = 0; i < 2; i++) {
        REQUIRE(unlink(temporary_join(&t, "whole/model.safetensors")) == 0);
        const run_setup setup = {.signal = numbers[i], .ready = is_over, .held_output = true};
        const run_result *r =
            COMMAND_WITH(&t, &setup, "train", "--resume", "--run-dir", "whole", "--json");
        CHECK_SAY(r->exit_code == 128 + numbers[i], "exit code %d, killed by %d: %s", r->exit_code,
                  r->killed_by, r->error);
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "digest"), digest);
        CHECK_TEXT(fixture_json_text(object, "stop_reason"), "steps");
        CHECK(fixture_json_number(object, "val/loss") > 0);
        CHECK(access(temporary_join(&t, "whole/model.safetensors"), F_OK) == 0);
        json_decref(object);
    }
    temporary_end(&t);
}

TEST_CASE(Resume, a_finished_run_does_nothing_and_prints_the_same_digest) {
    temporary t;
    char digest[DIGEST_BYTES];
    REQUIRE(begin(&t));
    run_whole(&t, digest);
    char *before = fixture_metrics(&t, "whole");
    static char page[2][1 << 20];
    const long page_bytes = temporary_read(&t, "whole/report.html", page[0], sizeof page[0]);
    CHECK(page_bytes > 0);
    for (int i = 0; i < 2; i++) {
        const run_result *r = COMMAND(&t, "train", "--resume", "--run-dir", "whole", "--json");
        CHECK(temporary_read(&t, "whole/report.html", page[1], sizeof page[1]) == page_bytes);
        CHECK(memcmp(page[0], page[1], sizeof page[0]) == 0); /* also its throughput */
        CHECK_SAY(r->exit_code == 0, "%s", r->error);
        CHECK_HAS(r->error, "the run was over, ended by steps: nothing was left to train");
        json_t *object = fixture_json(r);
        CHECK_TEXT(fixture_json_text(object, "digest"), digest);
        CHECK_TEXT(fixture_json_text(object, "stop_reason"), "steps");
        CHECK(fixture_json_number(object, "steps") == RUN_STEPS);
        CHECK_HAS(fixture_json_text(object, "checkpoint"), "step-40");
        json_decref(object);
    }
    char *after = fixture_metrics(&t, "whole");
    check_same_history(after, before);
    free(before);
    free(after);
    temporary_end(&t);
}

/* No file comes, goes or changes, whatever was asked for. */
TEST_CASE(Resume, a_refused_or_finished_one_leaves_the_folder_byte_by_byte) {
    static const char *const more[][3] = {{NULL},
                                          {"--data", "other.csv"},
                                          {"--optimizer", "sgd"},
                                          {"--model", "lenet"},
                                          {"--batch-size", "0"}};
    static const int codes[] = {0, 3, 3, 2, 2};
    temporary t;
    REQUIRE(begin(&t));
    REQUIRE(fixture_csv(&t, "other.csv", 60));
    CHECK(COMMAND(&t, RUN, "--run-dir", "run", "--quiet")->exit_code == 0);
    char *before = fixture_content(&t, "run");
    CHECK_HAS(before, "./checkpoints/step-40/manifest.json\n");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        const run_result *r =
            COMMAND(&t, "train", "--resume", "--run-dir", "run", more[i][0], more[i][1]);
        CHECK_SAY(r->exit_code == codes[i], "case %d: %d: %s", (int)i, r->exit_code, r->error);
        char *after = fixture_content(&t, "run");
        check_same_history(after, before);
        free(after);
        free(before);
        before = fixture_content(&t, "run");
    }
    free(before);
    temporary_end(&t);
}

/* 14 updates and 26 more are 40. The cosine is one over as many updates as are planned. */
TEST_CASE(Resume, what_is_not_given_is_as_it_was_also_from_another_folder) {
    temporary t;
    char folder[600];
    REQUIRE(begin(&t));
    CHECK(COMMAND(&t, RUN, "--run-dir", "a", "--schedule", "constant", "--quiet")->exit_code == 0);
    CHECK(COMMAND(&t, RUN, "--run-dir", "b", "--schedule", "constant", "--steps", "14", "--quiet")
              ->exit_code == 0);
    snprintf(folder, sizeof folder, "%s/b", t.path);
    const run_setup elsewhere = {.directory = "/"};
    const run_result *r = COMMAND_WITH(&t, &elsewhere, "train", "--resume", "--run-dir", folder,
                                       "--steps", "40", "--json");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->error, "resumed from ");
    CHECK_HAS(r->error, "step_limit");
    json_t *object = fixture_json(r);
    CHECK(fixture_json_number(object, "steps") == RUN_STEPS);
    json_decref(object);
    check_same_model(&t, "a/checkpoints/step-40/model.safetensors",
                     "b/checkpoints/step-40/model.safetensors");
    temporary_end(&t);
}

TEST_CASE(Resume, without_a_checkpoint_a_run_begins_and_says_so) {
    temporary t;
    REQUIRE(begin(&t));
    const run_result *r = COMMAND(&t, RUN, "--run-dir", "new", "--resume", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->error, "new/checkpoints holds no checkpoint: the run begins anew");
    json_decref(fixture_json(r));
    /* Killed before its first save: what its history holds is not the new run's. */
    CHECK(COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--batch-size", "10",
                  "--steps", "5", "--run-dir", "unsaved", "--no-save", "--quiet")
              ->exit_code == 0);
    char *before = fixture_metrics(&t, "unsaved");
    r = COMMAND(&t, "train", "--resume", "--run-dir", "unsaved");
    CHECK_SAY(r->exit_code == 0, "%s", r->error);
    CHECK_HAS(r->error, "holds no checkpoint: the run begins anew");
    char *after = fixture_metrics(&t, "unsaved");
    check_same_history(after, before);
    free(before);
    free(after);
    temporary_end(&t);
}

TEST_CASE(Resume, a_folder_that_is_no_run_or_in_use_is_refused_and_left_alone) {
    temporary t;
    REQUIRE(begin(&t));
    CHECK(COMMAND(&t, RUN, "--run-dir", "run", "--quiet")->exit_code == 0);
    const run_result *r = COMMAND(&t, RUN, "--run-dir", "run");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "expected an empty or new folder, found ");
    CHECK_HAS(r->error, "; --resume goes on with the run in it");
    const int folder = open(temporary_join(&t, "run"), O_RDONLY);
    REQUIRE(folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0);
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "run directory run: another process is training in it");
    close(folder);
    CHECK(COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--quiet")->exit_code == 0);
    temporary_end(&t);
}

TEST_CASE(Resume, another_model_and_a_late_average_are_refused_in_the_words_of_the_options) {
    temporary t;
    REQUIRE(temporary_begin(&t));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "synthetic", "--steps",
                                  "3", "--run-dir", "run", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%d: %s", r->exit_code, r->error);
    r = COMMAND(&t, "train", "--resume", "--run-dir", "run", "--model", "lenet");
    CHECK_SAY(r->exit_code == 3, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->error, "--resume: the run in run has the model mlp, not lenet");
    r = COMMAND(&t, "train", "--resume", "--run-dir", "run", "--ema", "0.9");
    CHECK_SAY(r->exit_code == 3, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->error, "--resume: the run in run keeps no moving average: --ema cannot begin");
    r = COMMAND(&t, "train", "--resume", "--run-dir", "run", "--steps", "5", "--quiet");
    CHECK_SAY(r->exit_code == 0, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->out, "5 updates");
    CHECK(strstr(r->error, "the run was over") == NULL);
    temporary_end(&t);
}

TEST_CASE(Resume, a_refused_resume_leaves_the_run_as_it_was) {
    temporary t;
    REQUIRE(begin(&t));
    static const char moved[] = "width,height,label\n";
    char table[4096];
    size_t length = (size_t)snprintf(table, sizeof table, "%s", moved);
    for (int i = 0; i < 90; i++)
        length +=
            (size_t)snprintf(table + length, sizeof table - length, "%d,%d,%d\n", i, i % 3, i % 3);
    REQUIRE(temporary_write(&t, "moved.csv", table, length));
    REQUIRE(fixture_csv(&t, "other.csv", 60));
    CHECK(COMMAND(&t, RUN, "--run-dir", "run", "--quiet")->exit_code == 0);
    char *before = fixture_metrics(&t, "run");
    const run_result *r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--data", "other.csv");
    CHECK_SAY(r->exit_code == 3, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->error, "data.samples was 90, is 60");
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--data", "moved.csv");
    CHECK_SAY(r->exit_code == 3, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->error, "--resume: the run in run had other data");
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--seed", "8");
    CHECK_SAY(r->exit_code == 0, "%d: %s", r->exit_code, r->error);
    CHECK_HAS(r->error, "warning: resume: seed was");
    r = COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--optimizer", "sgd");
    CHECK_SAY(r->exit_code == 3, "%d: %s", r->exit_code, r->error);
    char *after = fixture_metrics(&t, "run");
    check_same_history(after, before);
    free(before);
    free(after);
    CHECK(COMMAND(&t, RUN, "--run-dir", "run", "--resume", "--quiet")->exit_code == 0);
    temporary_end(&t);
}
