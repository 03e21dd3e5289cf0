/* Every option of training does what it says: seen in the JSON, the history, or the folder. */
#include "fixture.h"
#include "quern_test.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool begin(temporary *t) {
    return temporary_begin(t) && fixture_csv(t, "table.csv", 90) && fixture_csv(t, "valid.csv", 30);
}

/* Trains with some options and expects the end: "stop_reason", steps and attempts. */
typedef struct outcome {
    const char *reason;
    double steps, attempts, epochs;
    const char *arguments[10];
} outcome;

static json_t *train(temporary *t, const char *const *options, int exit_code) {
    static const char *const fixed[] = {QUERN_COMMAND, "train",   "--model",   "mlp",     "--data",
                                        "table.csv",   "--valid", "valid.csv", "--quiet", "--json",
                                        "--run-dir",   "run",     NULL};
    const char *arguments[ARGUMENT_MAX] = {0};
    int count = 0;
    for (; fixed[count]; count++) arguments[count] = fixed[count];
    bool sized = false;
    for (int i = 0; options[i]; i++) {
        arguments[count++] = options[i];
        sized |= strcmp(options[i], "--batch-size") == 0;
    }
    if (!sized) {
        arguments[count++] = "--batch-size";
        arguments[count++] = "10";
    }
    const run_result *r = run_program(t, &(run_setup){0}, arguments);
    CHECK_SAY(r->exit_code == exit_code, "%s: exit code %d: %s", options[0], r->exit_code,
              r->error);
    return fixture_json(r);
}

static const outcome outcomes[] = {
    {"epochs", 9, 9, 1, {"--log-every", "4"}},
    {"epochs", 18, 18, 2, {"--epochs", "2"}},
    {"steps", 5, 5, 0, {"--steps", "5"}},
    {"samples", 6, 6, 0, {"--max-samples", "55"}},
    {"epochs", 6, 6, 2, {"--epochs", "2", "--train-batches", "3"}},
    {"epochs", 5, 5, 1, {"--accumulate", "2"}},
    {"epochs", 10, 10, 2, {"--accumulate", "2", "--tail", "flush", "--epochs", "2"}},
    {"epochs", 9, 9, 2, {"--accumulate", "2", "--tail", "carry", "--epochs", "2"}},
    {"epochs", 8, 8, 2, {"--accumulate", "2", "--tail", "drop", "--epochs", "2"}},
    {"epochs", 3, 3, 1, {"--accumulate", "4", "--batch-size", "8"}},
    {"epochs", 1, 1, 1, {"--accumulate", "4096"}},
    {"epochs", 4, 4, 4, {"--overfit-batch", "--epochs", "4"}},
    {"callback", 6, 6, 0, {"--patience", "2", "--eval-every", "2", "--lr", "0", "--epochs", "9"}},
};

TEST_CASE(Options, limits_and_windows_end_where_they_say) {
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
        temporary t;
        REQUIRE(begin(&t));
        json_t *object = train(&t, outcomes[i].arguments, 0);
        CHECK_SAY(strcmp(fixture_json_text(object, "stop_reason"), outcomes[i].reason) == 0,
                  "%s: stopped by %s", outcomes[i].arguments[0],
                  fixture_json_text(object, "stop_reason"));
        CHECK_SAY(fixture_json_number(object, "steps") == outcomes[i].steps, "row %zu: %g steps", i,
                  fixture_json_number(object, "steps"));
        CHECK_SAY(fixture_json_number(object, "attempts") == outcomes[i].attempts,
                  "row %zu: %g attempts", i, fixture_json_number(object, "attempts"));
        CHECK_SAY(fixture_json_number(object, "epochs") == outcomes[i].epochs, "row %zu: %g epochs",
                  i, fixture_json_number(object, "epochs"));
        CHECK(strlen(fixture_json_text(object, "digest")) == 32);
        json_decref(object);
        temporary_end(&t);
    }
}

TEST_CASE(Options, the_wall_clock_and_a_stop_file_end_an_endless_run) {
    temporary t;
    REQUIRE(begin(&t));
    json_t *object =
        train(&t, (const char *const[]){"--max-seconds", "0.05", "--steps", "100000000", NULL}, 0);
    CHECK_TEXT(fixture_json_text(object, "stop_reason"), "time");
    CHECK(fixture_json_number(object, "train_seconds") >= 0.05);
    CHECK(fixture_json_number(object, "steps") > 0);
    json_decref(object);
    temporary_end(&t);
    REQUIRE(begin(&t));
    REQUIRE(temporary_write(&t, "stop", "", 0));
    object =
        train(&t, (const char *const[]){"--stop-file", "stop", "--steps", "100000000", NULL}, 0);
    CHECK_TEXT(fixture_json_text(object, "stop_reason"), "stop file");
    CHECK(access(temporary_join(&t, "stop"), F_OK) != 0);
    json_decref(object);
    temporary_end(&t);
    REQUIRE(begin(&t));
    REQUIRE(temporary_write(&t, "stop", "", 0));
    CHECK_HAS(COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--stop-file", "stop",
                      "--run-dir", "run")
                  ->out,
              "training loss       none: no batch was trained on\n");
    temporary_end(&t);
}

/* "step-4 step-8", sorted by number. */
static void list_checkpoints(temporary *t, char *out, size_t bytes) {
    size_t length = 0;
    out[0] = '\0';
    for (int step = 0; step <= 64; step++) {
        char name[64];
        snprintf(name, sizeof name, "run/checkpoints/step-%d", step);
        if (access(temporary_join(t, name), F_OK) == 0)
            length += (size_t)snprintf(out + length, bytes - length, "%d ", step);
    }
}

static const struct {
    const char *kept;
    const char *arguments[10];
} retentions[] = {
    {"9 18 27 ", {"--epochs", "3"}},
    {"18 27 ", {"--epochs", "3", "--keep", "2"}},
    {"8 12 14 ", {"--steps", "14", "--save-every", "4"}},
    {"4 8 12 14 ", {"--steps", "14", "--save-every", "4", "--keep", "4"}},
    {"5 10 13 14 ", {"--steps", "14", "--save-every", "1", "--keep", "2", "--keep-every", "5"}},
    {"", {"--steps", "4", "--no-save"}},
    {"", {"--fast-dev-run"}},
};

TEST_CASE(Options, checkpoints_are_kept_as_asked) {
    for (size_t i = 0; i < sizeof retentions / sizeof *retentions; i++) {
        temporary t;
        char kept[200];
        REQUIRE(begin(&t));
        json_t *object = train(&t, retentions[i].arguments, 0);
        list_checkpoints(&t, kept, sizeof kept);
        CHECK_TEXT(kept, retentions[i].kept);
        CHECK(json_is_string(json_object_get(object, "checkpoint")) == (kept[0] != '\0'));
        CHECK(strlen(fixture_json_text(object, "digest")) == 32);
        json_decref(object);
        temporary_end(&t);
    }
}

/* The step with the lowest val/loss of the history; that loss grows in the end. */
static int best_step(temporary *t) {
    char *history = fixture_metrics(t, "run");
    double best = INFINITY;
    int step = -1;
    for (char *line = strtok(history, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        const double loss = fixture_json_number(object, "val/loss");
        if (strcmp(fixture_json_text(object, "event"), "eval_end") == 0 && loss < best) {
            best = loss;
            step = (int)fixture_json_number(object, "step");
        }
        json_decref(object);
    }
    free(history);
    return step;
}

TEST_CASE(Options, the_best_checkpoint_is_kept) {
    temporary t;
    char kept[200], expected[32];
    REQUIRE(begin(&t));
    json_decref(train(&t,
                      (const char *const[]){"--keep",
                                            "2",
                                            "--keep-best",
                                            "1",
                                            "--eval-every",
                                            "4",
                                            "--save-every",
                                            "4",
                                            "--steps",
                                            "40",
                                            "--optimizer",
                                            "sgd",
                                            "--lr",
                                            "0.01",
                                            "--weight-decay",
                                            "1",
                                            "--schedule",
                                            "multi_step",
                                            "--milestones",
                                            "22",
                                            "--gamma",
                                            "60",
                                            NULL},
                      0));
    list_checkpoints(&t, kept, sizeof kept);
    snprintf(expected, sizeof expected, "%d 36 40 ", best_step(&t));
    CHECK(best_step(&t) > 0 && best_step(&t) < 36);
    CHECK_TEXT(kept, expected);
    temporary_end(&t);
}

static int count_of(const char *text, const char *needle) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, needle)) != NULL; at++) count++;
    return count;
}

TEST_CASE(Options, evaluations_come_as_often_as_asked_and_see_as_much) {
    temporary t;
    REQUIRE(begin(&t));
    json_decref(train(&t, (const char *const[]){"--eval-every", "3", "--steps", "9", NULL}, 0));
    char *history = fixture_metrics(&t, "run");
    CHECK(count_of(history, "\"event\": \"eval_end\"") == 3);
    free(history);
    temporary_end(&t);
    REQUIRE(begin(&t));
    json_t *object = train(
        &t,
        (const char *const[]){"--sanity-batches", "1", "--eval-batches", "1", "--steps", "3", NULL},
        0);
    CHECK(isfinite(fixture_json_number(object, "val/loss")));
    json_decref(object);
    history = fixture_metrics(&t, "run");
    CHECK(count_of(history, "\"event\": \"eval_end\"") == 1);
    free(history);
    temporary_end(&t);
}

/* The rate of the last log line. */
static double last_rate(temporary *t) {
    char *history = fixture_metrics(t, "run"), *at = history, *last = NULL;
    while ((at = strstr(at, "\"train/learning_rate\": ")) != NULL) last = at++;
    const double rate = last ? strtod(last + 23, NULL) : NAN;
    free(history);
    return rate;
}

static const struct {
    double share; /* of --lr at the last update */
    const char *lr;
    const char *arguments[10];
} rates[] = {
    {0.25, "1e-6", {"--schedule", "step", "--period", "3", "--gamma", "0.5", "--steps", "9"}},
    {0.25,
     "1e-6",
     {"--schedule", "multi_step", "--milestones", "2,4", "--gamma", "0.5", "--steps", "6"}},
    {0.55, "1e-6", {"--schedule", "linear", "--final-scale", "0.5", "--steps", "10"}},
    {0.0625, "1e-6", {"--schedule", "polynomial", "--power", "2", "--steps", "4"}},
    {0.2,
     "1e-6",
     {"--schedule", "warmup_stable_decay", "--decay", "9", "--final-scale", "0.1", "--steps",
      "10"}},
    {0.14644660940672627,
     "1e-6",
     {"--schedule", "cosine_restarts", "--period", "2", "--period-factor", "2", "--steps", "6"}},
    {1.0 / 3, "1e-6", {"--warmup", "9", "--warmup-kind", "exponential", "--steps", "5"}},
    {5.0 / 9, "1e-6", {"--warmup", "9", "--steps", "5"}},
    /* Nothing moves: the first evaluation is the best one, and two more are more than one. */
    {0.1, "1e-30", {"--plateau", "1", "--epochs", "4"}},
};

TEST_CASE(Options, schedules_take_their_options) {
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        temporary t;
        REQUIRE(begin(&t));
        const char *arguments[20] = {"--lr", rates[i].lr, "--log-every", "1"};
        for (int k = 0; rates[i].arguments[k]; k++) arguments[4 + k] = rates[i].arguments[k];
        json_decref(train(&t, arguments, 0));
        const double lr = strtod(rates[i].lr, NULL);
        CHECK_NEAR(last_rate(&t) / lr, rates[i].share, 1e-9);
        temporary_end(&t);
    }
}

static void digest_of(char digest[33], const char *const *arguments) {
    temporary t;
    REQUIRE(begin(&t));
    json_t *object = train(&t, arguments, 0);
    snprintf(digest, 33, "%s", fixture_json_text(object, "digest"));
    json_decref(object);
    temporary_end(&t);
}

/* Each leads to another state than the run without it; --ema-warmup to another average. */
TEST_CASE(Options, clipping_and_averaging_change_the_state) {
    static const char *const rows[][6] = {
        {"--steps", "5"},
        {"--steps", "5", "--clip-norm", "0.01"},
        {"--steps", "5", "--clip-value", "0.001"},
        {"--steps", "5", "--ema", "0.9"},
        {"--steps", "5", "--ema", "0.9", "--ema-warmup"},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    char digests[ROWS][33];
    for (int i = 0; i < ROWS; i++) digest_of(digests[i], rows[i]);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < i; k++)
            CHECK_SAY(strcmp(digests[i], digests[k]) != 0, "rows %d and %d: %s", i, k, digests[i]);
    char again[33];
    digest_of(again, rows[4]);
    CHECK_TEXT(again, digests[4]);
}

/* A rate that makes the weights infinite: STOP fails, SKIP and ROLLBACK fail when it goes on. */
TEST_CASE(Options, what_is_not_finite_stops_skips_or_rolls_back) {
    static const char *const policies[] = {"stop", "skip", "rollback"};
    for (int i = 0; i < 3; i++) {
        temporary t;
        REQUIRE(begin(&t));
        const char *arguments[] = {"--lr",
                                   "1e30",
                                   "--optimizer",
                                   "sgd",
                                   "--on-nonfinite",
                                   policies[i],
                                   "--steps",
                                   "20",
                                   "--save-every",
                                   "1",
                                   "--keep",
                                   "2",
                                   i > 0 ? "--nonfinite-limit" : NULL,
                                   "3",
                                   NULL};
        json_t *object = train(&t, arguments, 9);
        CHECK_TEXT(fixture_json_text(object, "status"), "NOT_FINITE");
        CHECK_TEXT(fixture_json_text(object, "stop_reason"), "failure");
        const double skipped =
            fixture_json_number(object, "attempts") - fixture_json_number(object, "steps");
        CHECK_SAY(i == 0 ? skipped <= 1 : skipped >= 3, "%s: %g skipped", policies[i], skipped);
        json_decref(object);
        CHECK(access(temporary_join(&t, "run/model.safetensors"), F_OK) != 0);
        temporary_end(&t);
    }
}

TEST_CASE(Options, a_table_is_validated_on_another_with_as_many_columns) {
    static const char narrow[] = "a,label\n1,0\n2,1\n";
    temporary t;
    REQUIRE(begin(&t));
    REQUIRE(temporary_write(&t, "narrow.csv", narrow, sizeof narrow - 1));
    const run_result *r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--valid",
                                  "narrow.csv", "--batch-size", "10", "--run-dir", "run");
    CHECK(r->exit_code == 3);
    CHECK_HAS(r->error, "table.csv has 2 columns beside the label, narrow.csv has 1");
    r = COMMAND(&t, "train", "--model", "mlp", "--data", "table.csv", "--valid", "none.csv");
    CHECK(r->exit_code == 3);
    r = COMMAND(&t, "train", "--model", "mlp", "--data", "synthetic", "--valid", "valid.csv");
    CHECK(r->exit_code == 2);
    CHECK_HAS(r->error, "--valid: synthetic is no .csv file");
    temporary_end(&t);
}
